"""Why a gate is red, and what to try next: calibration, weights, advice.

It may import `api`, `baseline` and all below; the assertions that tell its findings stand above.
"""

"""The public functions for scripts and notebooks, which measure and compare and raise no verdict.

It may import `baseline`, `results`, `pipeline`, the crafts and the ground; assertions, which call
these functions, stand above.
"""

"""Fitting the latency estimate to counted instructions and published times.

The package estimates with the coefficients that come out of this; nothing of it is installed.
"""

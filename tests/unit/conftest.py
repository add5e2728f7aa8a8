"""TFLM's interpreter, and hypothesis without chance: the same examples in every run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from pytest_edgequant.isolation import IsolatedProcess

settings.register_profile(
    "edgequant-unit",
    deadline=None,
    derandomize=True,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("edgequant-unit")


@pytest.fixture(scope="module")
def tflm() -> Iterator[IsolatedProcess]:
    """The child process in which the `tflite-micro` wheel is asked."""
    pytest.importorskip("tflite_micro", reason="there is a wheel for Linux x86-64 only")
    process = IsolatedProcess("TFLM", timeout=60)
    yield process
    process.close()

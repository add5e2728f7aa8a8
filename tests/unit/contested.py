"""Evaluation sets on which the small int8 model loses as many samples as a test wants."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pytest_edgequant.api.convert import load_variant

Tiny = Mapping[str, Path]


def decisions(tiny: Tiny) -> tuple[Any, Any, Any]:
    """Random images, and what float32 and int8 take them for."""
    x = np.random.default_rng(0).uniform(0, 1, (6000, 8, 8, 1)).astype(np.float32)
    first, second = (
        np.asarray(load_variant(tiny[form]).predict(x)).argmax(axis=1)
        for form in ("float32", "int8")
    )
    return x, first, second


def contested(tiny: Tiny, lost: int, count: int) -> tuple[Any, Any]:
    """Samples with the float32 model's decisions as labels, of which int8 loses that many."""
    x, y, other = decisions(tiny)
    changed, same = np.flatnonzero(y != other), np.flatnonzero(y == other)
    assert len(changed) >= lost
    chosen = np.concatenate([changed[:lost], same[: count - lost]])
    return x[chosen], y[chosen]

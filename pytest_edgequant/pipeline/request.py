"""Where representative samples are to come from, and those that were found."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_edgequant.records import HeldOut

if TYPE_CHECKING:
    from pytest_edgequant.conversion.calibration import Calibration
    from pytest_edgequant.conversion.qat.recipe import Training


def _nothing() -> Any:
    return None


@dataclasses.dataclass(frozen=True)
class CalibrationRequest:
    """Where representative samples come from; asked only when a conversion needs them.

    `samples` gives what the user defined, or None; then `dataset` is split, and `preprocess` gives
    the function that its samples go through, or None. `split_applies` tells that this dataset is
    also evaluated on, so that every variant must leave the split out.
    `training` gives what a trained variant is trained with; without `samples` it is calibrated
    with these too.
    """

    samples: Callable[[], Any] = _nothing
    training: Callable[[], Any] = _nothing
    dataset: Callable[[], Any] = _nothing
    preprocess: Callable[[], Any] = _nothing
    split_applies: bool = False


@dataclasses.dataclass(frozen=True)
class Representative:
    """What a variant is calibrated and trained with, and what its evaluation must leave out."""

    calibration: Calibration | None = None
    training: Training | None = None
    held_out: HeldOut | None = None

"""The test process's side of a training: one call an epoch to the child, with progress shown."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pytest_edgequant.conversion.qat import worker
from pytest_edgequant.conversion.tensorflow_worker import Converted
from pytest_edgequant.isolation import IsolatedProcess

if TYPE_CHECKING:
    from pytest_edgequant.conversion.qat.training import Progress
    from pytest_edgequant.conversion.source import Order


def describe(progress: Progress) -> str:
    """One line: epoch, loss, and how far from the float model."""
    text = f"epoch {progress.epoch + 1} of {progress.epochs} at most"
    if not math.isnan(progress.loss):
        text += f", loss {progress.loss:.4g}, validation drop {progress.score.drop:.4g}"
    return text


def train(
    process: IsolatedProcess, origin: worker.Origin, where: str, order: Order, unrolled: bool
) -> Converted:
    """Train and give the converted file.

    Raises what `worker.begin` raises, `TrainingError` when the loss becomes NaN.
    """
    assert order.training is not None
    with order.progress(f"preparing to train {where}"):
        progress: Progress = process.call(
            worker.begin,
            origin,
            where,
            order.calibration,
            order.training,
            unrolled=unrolled,
            dense_per_channel=order.dense_per_channel,
        )
    while not progress.finished:
        with order.progress(f"training {where}: {describe(progress)}"):
            progress = process.call(worker.run_epoch)
    converted: Converted = process.call(worker.finish)
    return converted

"""The test process's side of a training: one call an epoch to the child, with progress shown."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_edgequant.conversion.order import Converted, Order
from pytest_edgequant.conversion.qat import legacy, worker
from pytest_edgequant.errors import NotDerivableError, TrainingError, missing_extra
from pytest_edgequant.isolation import IsolatedProcess

if TYPE_CHECKING:
    from pytest_edgequant.conversion.qat.training import Progress


def describe(progress: Progress) -> str:
    """The loss, and how far from the float model; empty before the first epoch."""
    if math.isnan(progress.loss):
        return ""
    return f"loss {progress.loss:.4g}, validation drop {progress.score.drop:.4g}"


def _is_legacy(order: Order, where: str) -> bool:
    """Whether to train through tensorflow-model-optimization."""
    assert order.training is not None
    assert order.description is not None
    engine, keras_2 = order.training.recipe.engine, order.description.legacy_keras
    if engine == "tfmot":
        if not keras_2:
            raise TrainingError(
                f"{where}: qat_int8: tensorflow-model-optimization trains tf_keras models alone; "
                "leave `engine` out of the recipe"
            )
        if not legacy.installed():
            raise missing_extra("training through tensorflow-model-optimization", "qat")
        return True
    # It gives recurrent layers no ranges inside: they would stay float.
    return engine is None and keras_2 and not order.description.recurrent and legacy.installed()


def train(
    process: IsolatedProcess,
    origin: worker.Origin,
    where: str,
    order: Order,
    unrolled: bool,
    legacy_path: Callable[[], AbstractContextManager[str]],
) -> Converted:
    """Train and give the converted file.

    `legacy_path` gives a tf_keras model as a file. Raises what `worker.begin` raises,
    `TrainingError` when the loss becomes NaN.
    """
    assert order.training is not None
    note = ""
    if _is_legacy(order, where):
        try:
            return _train_legacy(process, where, order, legacy_path)
        except NotDerivableError as error:
            if order.training.recipe.engine is not None:
                raise
            note = f"trained by this package's own simulation: {error}"
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
    converted = _run(process, where, order, progress)
    return replace(converted, notes=(*converted.notes, *([note] if note else [])))


def _train_legacy(
    process: IsolatedProcess,
    where: str,
    order: Order,
    legacy_path: Callable[[], AbstractContextManager[str]],
) -> Converted:
    child = IsolatedProcess("tf_keras trainer", process.timeout, environment=legacy.ENVIRONMENT)
    try:
        with legacy_path() as path, order.progress(f"preparing to train {where}"):
            progress: Progress = child.call(
                worker.begin_legacy,
                path,
                where,
                order.training,
                dense_per_channel=order.dense_per_channel,
            )
        return _run(child, where, order, progress)
    finally:
        child.close()


def _run(process: IsolatedProcess, where: str, order: Order, progress: Progress) -> Converted:
    with order.progress(f"training {where}") as step:
        while not progress.finished:
            step.at(progress.epoch, progress.epochs, "epochs at most", describe(progress))
            progress = process.call(worker.run_epoch)
    converted: Converted = process.call(worker.finish)
    return converted

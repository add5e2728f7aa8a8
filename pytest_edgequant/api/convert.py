"""Variants for scripts and notebooks: converted from a model, or around a file as it is."""

from __future__ import annotations

import dataclasses
from typing import Any

from pytest_edgequant.errors import SettingsError, user_facing
from pytest_edgequant.pipeline.current import current_pipeline
from pytest_edgequant.pipeline.request import CalibrationRequest
from pytest_edgequant.records import Target, Variant
from pytest_edgequant.wording import shown


def load_variant(model: Any, where: str = "model") -> Variant:
    """A Variant as it is, or one around the path or bytes of a .tflite, whatever its form."""
    if isinstance(model, Variant):
        return model
    return current_pipeline().variant(model, "as_is", CalibrationRequest(), where=where)


def for_target(variant: Any, target: Target | str | None) -> tuple[Variant, Target | None]:
    """The variant as it is judged: on the target asked for, else the one that it carries."""
    loaded = load_variant(variant)
    if target is not None and not isinstance(target, str | Target):
        raise SettingsError(
            f"target: expected a target's name or a Target, got {shown(target)}; "
            "`edgequant targets` lists the names"
        )
    if isinstance(target, str):
        target = current_pipeline().targets.get(target)
    found = target or loaded.target
    if found is not None:  # one that was made in Python has been read from no file
        from pytest_edgequant.targets.cores import check_runtime

        check_runtime(found, {"runtime": found.runtime}, f"the target {found.name}")
    if found is not None and found is not loaded.target:
        loaded = dataclasses.replace(loaded, target=found)
    return loaded, found


@user_facing
def convert(
    model: Any,
    variant: str,
    *,
    calibration: Any = None,
    training: Any = None,
    name: str | None = None,
    target: Target | str | None = None,
    dense_per_channel: bool = False,
    strip: bool = False,
) -> Variant:
    """Convert a model to a variant, from the cache where it was made before.

    `model` is a Keras 3 or tf_keras model object, a path (.keras, .h5, SavedModel folder, .tflite),
    or the bytes of a .tflite. `variant` is a form's name ("int8", ...). `calibration` are
    representative samples: an array (N, ...), list, generator, `tf.data.Dataset`, or a dict by
    input name; the integer variants need them, 100 at least. `training` is what "qat_int8" is
    fine-tuned with: (x, y) of the training set, or a `TrainingRecipe`; it is calibrated with
    samples of it unless `calibration` is given. `dense_per_channel` quantizes fully
    connected weights per channel, which TFLM before August 2024 computes wrongly. `strip` takes off
    what the device never reads (see `strip_model`).

    Raises `ModelError`, `CalibrationError`, `ConversionError` (naming tensors and operators),
    `NotDerivableError`, `MissingExtraError`, `UnknownNameError`; for "qat_int8" also
    `DatasetError` and `TrainingError`.
    """
    pipeline = current_pipeline()
    profile = pipeline.targets.get(target) if isinstance(target, str) else target
    return pipeline.variant(
        model,
        variant,
        CalibrationRequest(samples=lambda: calibration, training=lambda: training),
        model_name=name,
        target=profile,
        dense_per_channel=dense_per_channel,
        strip=strip or None,
        where="model",
    )

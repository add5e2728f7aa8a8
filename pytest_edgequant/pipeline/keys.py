"""By what the pipeline finds in the cache what was made before."""

from __future__ import annotations

import os

from pytest_edgequant.cache import digest, versions
from pytest_edgequant.conversion.order import Order
from pytest_edgequant.conversion.source import Source
from pytest_edgequant.measure.evaluation.processor import machine

REVISION = 3
"""Raised when our own code makes other files, or measures otherwise, from the same inputs."""
_ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
"""With another order of sums, TensorFlow trains to other weights; it converts to the same bytes."""
_TRAINING_LIBRARIES = ("tensorflow-model-optimization", "numpy")


def conversion_key(source: Source, order: Order) -> str:
    """All that the files of a family depend on, and what is noted beside them."""
    family, calibration, training = order.spec.family, order.calibration, order.training
    return digest(
        "convert",
        REVISION,
        family,
        source.fingerprint,
        source.toolchain,
        # Ranges are found by running the float model here; notes name where samples came from.
        [calibration.fingerprint, calibration.origin, machine()] if calibration else None,
        order.dense_per_channel and family not in ("float32", "float16"),
        [training.fingerprint, versions(_TRAINING_LIBRARIES), os.environ.get(_ONEDNN)]
        if training
        else None,
    )

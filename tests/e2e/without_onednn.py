"""What runs in a child in which TensorFlow has no oneDNN, as on processors without AVX-512."""

from __future__ import annotations

from typing import Any

from pytest_edgequant.conversion.qat import worker
from pytest_edgequant.conversion.qat.kernels import (
    KERNELS,
    Call,
    padding_of,
    samples,
    strides_of,
)

ENVIRONMENT = {"TF_ENABLE_ONEDNN_OPTS": "0"}


def _native(tf: Any, call: Call) -> Any:
    """TensorFlow's own dilated convolution, which has a gradient with oneDNN alone."""
    dilations = [call.option("dilationHFactor", 1), call.option("dilationWFactor", 1)]
    data, kernel = samples(call.value(0)), call.value(1).tensor
    return tf.nn.conv2d(data, kernel, strides_of(call), padding_of(call), dilations=dilations)


def _epoch(*arguments: Any) -> Any:
    worker.begin(*arguments, unrolled=False, dense_per_channel=False)
    return worker.run_epoch()


def train(*arguments: Any) -> tuple[Any, Any]:
    """An epoch, and what a training came to."""
    progress = _epoch(*arguments)
    return progress, worker.finish()


def train_natively(*arguments: Any) -> Any:
    """An epoch with TensorFlow's own convolutions."""
    ours, KERNELS["CONV_2D"] = KERNELS["CONV_2D"], _native
    try:
        return _epoch(*arguments)
    finally:
        KERNELS["CONV_2D"] = ours

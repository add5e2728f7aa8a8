"""Rules of accelerators: what their compilers take, and what stays on the CPU beside them."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_edgequant.measure.legality.rule import Severity, place, rule
from pytest_edgequant.records import Target
from pytest_edgequant.tflite.form import detect_form
from pytest_edgequant.tflite.graph import Graph

COMPILED_OPERATORS = {"ethos-u": "ethos-u", "edgetpu": "edgetpu-custom-op"}
"""The custom operator that an accelerator's compiler puts into a model, by accelerator."""

# coral.ai/docs/edgetpu/models-intro, "Supported operations".
_EDGE_TPU = frozenset(
    """
    ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D EXPAND_DIMS FULLY_CONNECTED
    L2_NORMALIZATION LOGISTIC LSTM MAXIMUM MAX_POOL_2D MEAN MINIMUM MUL PACK PAD PRELU QUANTIZE
    REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR
    RSQRT SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM TANH
    TRANSPOSE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM
    """.split()
)

# nxp-imx/ethos-u-vela@090f18a55fcd: SUPPORTED_OPS.md, "TFLite Summary Table".
_ETHOS_U = frozenset(
    """
    ABS ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D EXPAND_DIMS FULLY_CONNECTED
    HARD_SWISH LEAKY_RELU LOGISTIC MAXIMUM MAX_POOL_2D MEAN MINIMUM MUL PACK PAD PRELU QUANTIZE RELU
    RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR SHAPE SLICE SOFTMAX SPLIT
    SPLIT_V SQUEEZE STRIDED_SLICE SUB TANH TRANSPOSE_CONV UNPACK
    """.split()
)
_NPU_TYPES = {"INT8", "UINT8", "INT16", "INT32"}


def _has(family: str, target: Target) -> bool:
    return (target.accelerator or "").startswith(family)


def compiled_operator(target: Target) -> str | None:
    """The custom operator of models compiled for the target's accelerator, if it has one."""
    return next((code for family, code in COMPILED_OPERATORS.items() if _has(family, target)), None)


def _compiled(graph: Graph) -> bool:
    return any(o.custom_code in COMPILED_OPERATORS.values() for _, o in graph.operators())


@rule("Edge TPU", lambda target: _has("edgetpu", target), Severity.WARNING)
def edge_tpu_quantized(graph: Graph, target: Target) -> Iterator[str]:
    """The Edge TPU takes fully quantized 8-bit models only, others run on the CPU beside it"""
    form = detect_form(graph)
    if not _compiled(graph) and form not in ("int8", "uint8_io", "int8_float_io"):
        yield f"the model is {form}. Use int8 or uint8_io"


@rule("Edge TPU", lambda target: _has("edgetpu", target), Severity.WARNING)
def edge_tpu_operators(graph: Graph, target: Target) -> Iterator[str]:
    """From the first operator that the Edge TPU doesn't have, a model runs on the CPU"""
    if next(iter(edge_tpu_quantized.check(graph, target)), None) is not None:
        return
    for subgraph, operator in graph.operators():
        if operator.name not in (*_EDGE_TPU, "CUSTOM", "DEQUANTIZE"):
            yield f"{place(subgraph, operator)} and what comes after it. Replace it"
            return


@rule("Ethos-U", lambda target: _has("ethos-u", target), Severity.WARNING)
def ethos_u_operators(graph: Graph, target: Target) -> Iterator[str]:
    """What Vela can't place on the Ethos-U runs on the CPU beside it"""
    for subgraph, operator in graph.operators():
        if operator.name in ("CUSTOM", "QUANTIZE", "DEQUANTIZE"):
            continue
        types = {subgraph.tensors[i].type for i in (*operator.inputs, *operator.outputs) if i >= 0}
        if operator.name not in _ETHOS_U:
            yield f"{place(subgraph, operator)} is no operator of the NPU"
        elif not types <= (_NPU_TYPES | {"INT64"}):
            yield f"{place(subgraph, operator)} is not quantized. Use int8"


RULES = (edge_tpu_quantized, edge_tpu_operators, ethos_u_operators)

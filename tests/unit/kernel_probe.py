"""Asking the `tflite-micro` wheel what each operator's kernel takes.

One model of one operator for every combination of types of its roles; what allocates and runs is
accepted. Then with each constant input given at run time, to find those that must be constant.
`python tests/unit/kernel_probe.py` (with the package on the path) prints the table that the rules
read, `pytest_edgequant/measure/legality/tflm_kernels.toml`; `test_legality.py` asks again.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from model_building import BUILTIN_CODES, tensor

from pytest_edgequant.errors import CannotRunError, IsolatedProcessError
from pytest_edgequant.isolation import IsolatedProcess
from pytest_edgequant.measure.arena import tflm_worker
from pytest_edgequant.tflite.edit import pack

NUMPY = {
    "FLOAT32": np.float32,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT32": np.uint32,
    "BOOL": np.bool_,
    "INT4": np.int8,
}
CHOICES = {
    "I": ("INT32", "INT64"),  # indices, axes, shapes
    "W": ("FLOAT32", "INT8", "INT16", "INT4", "UINT8"),
    "V": ("FLOAT32", "INT8", "INT16"),
    "S": ("FLOAT32", "INT8", "INT16"),
}
BIAS = {"FLOAT32": "FLOAT32", "INT16": "INT64"}
PLAIN = dict.fromkeys(("INT8", "INT16", "UINT8", "INT4"), (0.5, 0))
OUTPUTS: tuple[Mapping[str, tuple[float, int]], ...] = (
    PLAIN,
    PLAIN | {"INT8": (1 / 256, -128), "INT16": (1 / 32768, 0), "INT32": (0.25, 0)},
    PLAIN | {"INT8": (1 / 128, 0), "UINT8": (1 / 128, 128)},
    PLAIN | {"INT8": (1 / 16, 127), "INT16": (1 / 65536, -32768)},
)
"""Scales and zero points of outputs by type: some kernels ask for certain ones."""


@dataclass(frozen=True)
class Slot:
    """One tensor of a probe: its role (a letter, or a fixed type), shape, and data if constant."""

    role: str
    shape: tuple[int, ...]
    data: Any = None
    variable: bool = False


@dataclass(frozen=True)
class Probe:
    """An operator to ask about; `variadic` inputs or outputs may be repeated in a model."""

    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    table: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def slots(self) -> tuple[Slot, ...]:
        return (*self.inputs, *self.outputs)

    @property
    def roles(self) -> list[str]:
        """The letters whose types are tried, in order of their first tensor; not the bias."""
        letters = (slot.role for slot in self.slots if len(slot.role) == 1)
        return [role for role in dict.fromkeys(letters) if role != "B"]

    @property
    def signature(self) -> str:
        """The roles by position, a run of equal ones that may be longer as `T*`."""

        def written(slots: tuple[Slot, ...]) -> str:
            roles = ["-" if slot.role == "B" else slot.role for slot in slots]
            repeated = len(roles) > 1 and len(set(roles)) == 1 and self.table in VARIADIC
            return f"{roles[0]}*" if repeated else " ".join(roles)

        return f"{written(self.inputs)} > {written(self.outputs)}"


VARIADIC = ("ConcatenationOptions", "PackOptions", "UnpackOptions", "SplitOptions", "AddNOptions")
VARIADIC += ("SplitVOptions",)


def s(role: str, *shape: int, data: Any = None, variable: bool = False) -> Slot:
    return Slot(role, shape, data, variable)


def p(inputs: Any, outputs: Any, table: str = "", **options: Any) -> Probe:
    def several(given: Any) -> tuple[Slot, ...]:
        return (given,) if isinstance(given, Slot) else tuple(given)

    return Probe(several(inputs), several(outputs), table, options)


# Over 60 lines: a table with a line for each operator.
def _probes() -> dict[str, Probe]:
    t, image = s("T", 1, 4), s("T", 1, 4, 4, 4)
    pads, pair = s("I", 2, 2, data=[[0, 0], [1, 1]]), s("I", 2, data=[8, 8])
    conv = {"strideW": 1, "strideH": 1, "dilationWFactor": 1, "dilationHFactor": 1, "padding": 0}
    pool = {"strideW": 2, "strideH": 2, "filterWidth": 2, "filterHeight": 2, "padding": 1}
    found = {
        name: p(t, t)
        for name in (
            "ABS CEIL COS ELU EXP FLOOR HARD_SWISH LOG LOGICAL_NOT LOG_SOFTMAX NEG RELU RELU6 "
            "ROUND RSQRT SIN SQRT SQUARE ZEROS_LIKE"
        ).split()
    }
    for name in ("ADD", "SUB", "MUL", "DIV"):
        found[name] = p((t, t), t, f"{name.capitalize()}Options")
    for name in ("MAXIMUM", "MINIMUM"):
        found[name] = p((t, t), t, "MaximumMinimumOptions")
    for name in ("FLOOR_DIV", "FLOOR_MOD"):
        found[name] = p((t, s("T", 1, 4, data=1)), t)
    for name in ("SQUARED_DIFFERENCE", "LOGICAL_AND", "LOGICAL_OR"):
        found[name] = p((t, t), t)
    for name in ("EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "NOT_EQUAL"):
        found[name] = p((t, t), s("BOOL", 1, 4))
    for name in ("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"):
        found[name] = p(image, s("T", 1, 2, 2, 4), "Pool2DOptions", **pool)
    for name, table in (("ARG_MAX", "ArgMaxOptions"), ("ARG_MIN", "ArgMinOptions")):
        found[name] = p((t, s("I", data=1)), s("O", 1), table, outputType=2)
    for name in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ALL"):
        axes = s("I", 2, data=[1, 2])
        found[name] = p((image, axes), s("T", 1, 4), "ReducerOptions", keepDims=False)
    grid = (s("I", 2, data=2), s("I", 2, 2, data=0))
    slices = (s("I", 2, data=0), s("I", 2, data=[1, 2]), s("I", 2, data=1))
    found |= {
        "ADD_N": p((t, t, t), t, "AddNOptions"),
        "BATCH_MATMUL": p(
            (s("T", 1, 2, 4), s("W", 1, 4, 3)), s("T", 1, 2, 3), "BatchMatMulOptions"
        ),
        "BATCH_TO_SPACE_ND": p((s("T", 4, 2, 2, 1), *grid), s("T", 1, 4, 4, 1)),
        "BROADCAST_ARGS": p((s("I", 2, data=4), s("I", 2, data=4)), s("I", 2)),
        "BROADCAST_TO": p((t, s("I", 2, data=[3, 4])), s("T", 3, 4)),
        "CAST": p(s("A", 1, 4), s("O", 1, 4)),
        "CONCATENATION": p((t, t), s("T", 1, 8), "ConcatenationOptions", axis=1),
        "CONV_2D": p(
            (image, s("W", 4, 3, 3, 4, data=1), s("B", 4, data=1)), image, "Conv2DOptions", **conv
        ),
        "CUMSUM": p((t, s("I", data=1)), t, "CumsumOptions"),
        "DEPTHWISE_CONV_2D": p(
            (image, s("W", 1, 3, 3, 4, data=1), s("B", 4, data=1)),
            image,
            "DepthwiseConv2DOptions",
            depthMultiplier=1,
            **conv,
        ),
        "DEPTH_TO_SPACE": p(image, s("T", 1, 8, 8, 1), "DepthToSpaceOptions", blockSize=2),
        "DEQUANTIZE": p(s("A", 1, 4), s("O", 1, 4)),
        "DYNAMIC_UPDATE_SLICE": p((s("T", 4, 4), s("T", 2, 4), s("I", 2, data=0)), s("T", 4, 4)),
        "EMBEDDING_LOOKUP": p((s("I", 2, data=1), s("W", 4, 4, data=1)), s("O", 2, 4)),
        "EXPAND_DIMS": p((t, s("I", data=0)), s("T", 1, 1, 4)),
        "FILL": p((s("I", 2, data=[1, 4]), s("T", data=1)), t),
        "FULLY_CONNECTED": p(
            (t, s("W", 3, 4, data=1), s("B", 3, data=1)),
            s("T", 1, 3),
            "FullyConnectedOptions",
            keepNumDims=True,
        ),
        "GATHER": p((s("T", 4, 4), s("I", 2, data=1)), s("T", 2, 4), "GatherOptions", axis=0),
        "GATHER_ND": p((s("T", 4, 4), s("I", 2, 1, data=1)), s("T", 2, 4)),
        "L2_NORMALIZATION": p(t, s("T", 1, 4), "L2NormOptions"),
        "LEAKY_RELU": p(t, t, "LeakyReluOptions", alpha=0.1),
        "LOGISTIC": p(t, s("T", 1, 4)),
        "MIRROR_PAD": p((t, pads), s("T", 1, 6), "MirrorPadOptions", mode=0),
        "PACK": p((t, t), s("T", 2, 1, 4), "PackOptions", valuesCount=2, axis=0),
        "PAD": p((t, pads), s("T", 1, 6)),
        "PADV2": p((t, pads, s("C", data=1)), s("T", 1, 6)),
        "PRELU": p((s("T", 1, 2, 2, 4), s("T", 1, 1, 4, data=1)), s("T", 1, 2, 2, 4)),
        "QUANTIZE": p(s("A", 1, 4), s("O", 1, 4)),
        "RESHAPE": p((t, s("I", 2, data=[2, 2])), s("T", 2, 2), "ReshapeOptions", newShape=[2, 2]),
        "RESIZE_BILINEAR": p((image, pair), s("T", 1, 8, 8, 4), "ResizeBilinearOptions"),
        "RESIZE_NEAREST_NEIGHBOR": p(
            (image, pair), s("T", 1, 8, 8, 4), "ResizeNearestNeighborOptions"
        ),
        "REVERSE_V2": p((t, s("I", 1, data=1)), t),
        "SELECT_V2": p((s("BOOL", 1, 4), t, t), t),
        "SHAPE": p(t, s("O", 2), "ShapeOptions", outType=2),
        "SLICE": p((t, *slices[:2]), s("T", 1, 2)),
        "SOFTMAX": p(s("A", 1, 4), s("O", 1, 4), "SoftmaxOptions", beta=1.0),
        "SPACE_TO_BATCH_ND": p((s("T", 1, 4, 4, 1), *grid), s("T", 4, 2, 2, 1)),
        "SPACE_TO_DEPTH": p(image, s("T", 1, 2, 2, 16), "SpaceToDepthOptions", blockSize=2),
        "SPLIT": p((s("I", data=1), t), (s("T", 1, 2), s("T", 1, 2)), "SplitOptions", numSplits=2),
        "SPLIT_V": p(
            (t, s("I", 2, data=[1, 3]), s("I", data=1)),
            (s("T", 1, 1), s("T", 1, 3)),
            "SplitVOptions",
            numSplits=2,
        ),
        "SQUEEZE": p(t, s("T", 4), "SqueezeOptions", squeezeDims=[0]),
        "STRIDED_SLICE": p((t, *slices), s("T", 1, 2), "StridedSliceOptions"),
        "SVDF": p(
            (
                t,
                s("W", 2, 4, data=1),
                s("V", 2, 3, data=1),
                s("B", 2, data=0),
                s("S", 1, 6, variable=True),
            ),
            s("O", 1, 2),
            "SVDFOptions",
            rank=1,
        ),
        "TANH": p(t, s("T", 1, 4)),
        "TRANSPOSE": p((t, s("I", 2, data=[1, 0])), s("T", 4, 1)),
        "TRANSPOSE_CONV": p(
            (
                s("INT32", 4, data=[1, 8, 8, 4]),
                s("W", 4, 2, 2, 4, data=1),
                image,
                s("B", 4, data=1),
            ),
            s("T", 1, 8, 8, 4),
            "TransposeConvOptions",
            strideW=2,
            strideH=2,
            padding=0,
        ),
        "UNPACK": p(s("T", 2, 4), (s("T", 4), s("T", 4)), "UnpackOptions", num=2, axis=0),
    }
    return found


PROBES = _probes()


def _bytes(slot: Slot, kind: str) -> bytes:
    data = np.zeros(slot.shape, NUMPY[kind])
    data[...] = slot.data
    raw = data.tobytes()
    return raw[: (len(raw) + 1) // 2] if kind == "INT4" else raw


def build(
    name: str,
    probe: Probe,
    types: Mapping[str, str],
    outputs: Mapping[str, tuple[float, int]] = PLAIN,
    inputs: Mapping[str, tuple[float, int]] = PLAIN,
) -> bytes:
    """The model of one operator with the types of its roles filled in.

    `outputs` and `inputs` are the scales and zero points of its tensors by type.
    """
    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT()]
    code = schema.OperatorCodeT()
    code.builtinCode = BUILTIN_CODES[name]
    code.deprecatedBuiltinCode = min(BUILTIN_CODES[name], 127)
    code.version = 1
    model.operatorCodes = [code]
    graph = schema.SubGraphT()
    graph.tensors = []
    for position, slot in enumerate(probe.slots):
        kind = types.get(slot.role, slot.role)
        given = inputs if position < len(probe.inputs) else outputs
        if slot.role == "B" and kind != "FLOAT32":
            given = {kind: (0.25, 0)}
        scales, zeros = zip(given[kind]) if kind in given else ((), ())
        made = tensor(f"t{position}", slot.shape, kind, scales=scales, zero_points=zeros)
        made.isVariable = slot.variable
        if slot.data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(_bytes(slot, kind), np.uint8)
            made.buffer = len(model.buffers)
            model.buffers.append(buffer)
        graph.tensors.append(made)
    operator = schema.OperatorT()
    operator.inputs = np.arange(len(probe.inputs), dtype=np.int32)
    operator.outputs = np.arange(len(probe.inputs), len(graph.tensors), dtype=np.int32)
    if probe.table:
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, probe.table)
        operator.builtinOptions = getattr(schema, f"{probe.table}T")()
        for key, value in probe.options.items():
            setattr(operator.builtinOptions, key, value)
    free = [i for i, slot in enumerate(probe.inputs) if slot.data is None and not slot.variable]
    graph.inputs, graph.outputs = np.asarray(free, np.int32), operator.outputs
    graph.operators = [operator]
    model.subgraphs = [graph]
    return pack(model)


def combinations(probe: Probe) -> Iterator[dict[str, str]]:
    """Every choice of types for the roles; the bias has the type that goes with the data."""
    roles = probe.roles
    for kinds in itertools.product(*(CHOICES.get(role, tuple(NUMPY)) for role in roles)):
        types = dict(zip(roles, kinds, strict=True))
        types["B"] = BIAS.get(types.get("T", ""), "INT32")
        yield types


def ask(tflm: IsolatedProcess, content: bytes) -> str:
    """What TFLM has against a model; empty where it runs it."""
    try:
        tflm.call(tflm_worker.measure, content)
    except (CannotRunError, IsolatedProcessError) as error:
        return str(error)
    return ""


def accepted(tflm: IsolatedProcess, name: str) -> list[str]:
    """The types of the roles, in their order, that the kernel takes."""
    probe = PROBES[name]
    return [
        " ".join(types[role] for role in probe.roles)
        for types in combinations(probe)
        if any(not ask(tflm, build(name, probe, types, outputs)) for outputs in OUTPUTS)
    ]


def constant(tflm: IsolatedProcess, name: str) -> list[int]:
    """The positions of inputs that must be constant, as TFLM says of a run-time one."""
    probe, found = PROBES[name], []
    types = dict.fromkeys(probe.roles, "FLOAT32") | {"I": "INT32", "B": "FLOAT32"}
    for position, slot in enumerate(probe.inputs):
        if slot.data is None:
            continue
        inputs = list(probe.inputs)
        inputs[position] = dataclasses.replace(slot, data=None)
        asked = dataclasses.replace(probe, inputs=tuple(inputs))
        if "Non-constant" in ask(tflm, build(name, asked, types)):
            found.append(position)
    return found


def table(tflm: IsolatedProcess) -> dict[str, dict[str, Any]]:
    """Everything that the wheel says, as the table of the package has it."""
    found = {}
    for name in sorted(PROBES):
        entry: dict[str, Any] = {
            "tensors": PROBES[name].signature,
            "accepts": accepted(tflm, name),
        }
        positions = constant(tflm, name)
        found[name] = entry | ({"constant": positions} if positions else {})
    return found


def main() -> None:
    from importlib.metadata import version

    tflm = IsolatedProcess("TFLM", timeout=60)
    print(f"# What TFLM's kernels take, as the tflite-micro wheel {version('tflite-micro')} says;")
    print("# written by tests/unit/kernel_probe.py. `tensors` are the roles of inputs > outputs")
    print("# (T the data, W weights, I indices, - not looked at, T* any number of them), `accepts`")
    print("# the types of the roles in order, `constant` the inputs that must be constant.")
    for name, entry in table(tflm).items():
        rows = ", ".join(f'"{row}"' for row in entry["accepts"])
        print(f'\n[{name}]\ntensors = "{entry["tensors"]}"\naccepts = [{rows}]')
        if "constant" in entry:
            print(f"constant = {entry['constant']}")
    tflm.close()


if __name__ == "__main__":
    main()

"""Asking TFLM and LiteRT whether an operator's kernel heeds the scales and zero points in a file.

A model of one operator is quantized some way; the same model with every quantized tensor as
float32 (constants dequantized) is run by LiteRT's float kernels. What an integer kernel gives must
be that float result, stored with the output's scale and zero point, to a few steps.
"""

# Over 400 lines: one recipe an operator, in one table.

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from kernel_probe import BIAS, NUMPY, PROBES, Probe
from model_building import BUILTIN_CODES, TENSOR_TYPES, tensor

from pytest_edgequant.errors import CannotRunError, IsolatedProcessError
from pytest_edgequant.isolation import IsolatedProcess
from pytest_edgequant.measure.legality.tflm import kernels
from pytest_edgequant.tflite.edit import pack, tensor_data, unpack

QUANTIZED = ("INT8", "INT16", "UINT8")


@dataclass(frozen=True)
class Scaled:
    """Scales and zero points of one tensor; several are per channel along `axis`."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int = 0


def build(
    name: str,
    probe: Probe,
    kinds: Sequence[str],
    scaled: Mapping[int, Scaled],
    data: Mapping[int, Any],
) -> bytes:
    """A model of one operator, its tensors' types, scales and stored data given by position."""
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
    for position, (slot, kind) in enumerate(zip(probe.slots, kinds, strict=True)):
        given = scaled.get(position)
        made = tensor(
            f"t{position}",
            slot.shape,
            kind,
            scales=given.scales if given else (),
            zero_points=given.zero_points if given else (),
            axis=given.axis if given else 0,
        )
        made.isVariable = slot.variable
        if slot.data is not None:
            values = np.zeros(slot.shape, NUMPY[kind])
            values[...] = data.get(position, slot.data)
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            made.buffer = len(model.buffers)
            model.buffers.append(buffer)
        graph.tensors.append(made)
    operator = schema.OperatorT()
    count = len(probe.inputs)
    operator.inputs = np.arange(count, dtype=np.int32)
    operator.outputs = np.arange(count, len(probe.slots), dtype=np.int32)
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


def dequantized(values: Any, made: Any) -> Any:
    """Stored values of a schema's tensor as real ones."""
    rank, scales = len(values.shape), np.asarray(made.quantization.scale, np.float64)
    zeros = np.asarray(made.quantization.zeroPoint, np.float64)
    if len(scales) > 1:
        shape = [1] * rank
        shape[made.quantization.quantizedDimension] = -1
        scales, zeros = scales.reshape(shape), zeros.reshape(shape)
    return (values.astype(np.float64) - zeros) * scales


def has_scale(made: Any) -> bool:
    quantization = made.quantization
    return quantization is not None and quantization.scale is not None and len(quantization.scale)


def in_float(content: bytes) -> bytes:
    """The same model with every quantized tensor as float32."""
    model = unpack(content)
    graph = model.subgraphs[0]
    for index, made in enumerate(graph.tensors):
        if not has_scale(made):
            continue
        raw = tensor_data(model, index)
        if raw:
            kind = NUMPY[TENSOR_TYPES[made.type]]
            values = np.frombuffer(raw, kind).reshape(made.shape)
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(
                dequantized(values, made).astype(np.float32).tobytes(), np.uint8
            )
            made.buffer = len(model.buffers)
            model.buffers.append(buffer)
        made.type, made.quantization = schema.TensorType.FLOAT32, None
    return pack(model)


# -- in a child process: the kernels may abort -----------------------------------------------------


def run_tflm(content: bytes, samples: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """The outputs of TFLM for samples, each a list of stored inputs."""
    from pytest_edgequant.measure.arena.tflm_worker import interpreter_that_runs

    interpreter = interpreter_that_runs(content)
    count = len(unpack(content).subgraphs[0].outputs)
    found = []
    for sample in samples:
        interpreter.reset()
        for position, values in enumerate(sample):
            interpreter.set_input(values, position)
        interpreter.invoke()
        found.append([interpreter.get_output(i).copy() for i in range(count)])
    return found


def run_litert(
    content: bytes, samples: Sequence[Sequence[Any]], reference: bool = False
) -> list[list[Any]]:
    """The outputs of LiteRT for samples, by its default or its reference kernels."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.BUILTIN_REF if reference else OpResolverType.AUTO
    try:
        interpreter = Interpreter(
            model_content=content, experimental_op_resolver_type=resolver, num_threads=1
        )
        interpreter.allocate_tensors()
        found = []
        for sample in samples:
            interpreter.reset_all_variables()
            for details, values in zip(interpreter.get_input_details(), sample, strict=True):
                interpreter.set_tensor(details["index"], values)
            interpreter.invoke()
            found.append(
                [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]
            )
    except (RuntimeError, ValueError) as error:
        raise CannotRunError(" ".join(str(error).split())[:300]) from None
    return found


# -- cases ----------------------------------------------------------------------------------------

LIMITS = {"INT8": (-128, 127), "INT16": (-32768, 32767), "UINT8": (0, 255)}
INPUTS = {
    "INT8": Scaled((0.047,), (-3,)),
    "UINT8": Scaled((0.047,), (125,)),
    "INT16": Scaled((0.0002,), (0,)),
}
WEIGHTS = {"INT8": Scaled((0.01,), (0,)), "INT16": Scaled((0.0001,), (0,))}
FIXED = {
    "INT8": (Scaled((1 / 256,), (-128,)), Scaled((1 / 128,), (0,)), Scaled((1 / 16,), (127,))),
    "INT16": (Scaled((1 / 32768,), (0,)), Scaled((1 / 65536,), (-32768,))),
    "UINT8": (),
}
PRODUCTS = {
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "FULLY_CONNECTED": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
    "SVDF": (4, 2, 3),
}
"""Positions of data, weights and bias; the bias' scale is the product of the other two."""

WRONG, ROUNDED, MANY = 6.0, 1.0, 0.05
"""A value more than 6 steps off is wrong, one within a step is right; so many wrong ones make a
wrong kernel. What lies between is neither: integers that are divided or added up are a few steps
off. Of int16 four steps count as one."""


@dataclass
class Case:
    """An operator with the types of its tensors, their scales, and samples to run it on."""

    name: str
    probe: Probe
    kinds: list[str]
    scaled: dict[int, Scaled] = field(default_factory=dict)
    data: dict[int, Any] = field(default_factory=dict)
    samples: list[list[Any]] = field(default_factory=list)

    @property
    def content(self) -> bytes:
        return build(self.name, self.probe, self.kinds, self.scaled, self.data)

    def role(self, position: int) -> str:
        slot, count = self.probe.slots[position], len(self.probe.inputs)
        where = f"input {position}" if position < count else f"output {position - count}"
        return f"{where} ({slot.role}{', constant' if slot.data is not None else ''})"

    def having(self, position: int, scaled: Scaled | None) -> Case:
        """The case with another quantization of one tensor, its bias following."""
        changed = {p: s for p, s in self.scaled.items() if p != position}
        if scaled is not None:
            changed[position] = scaled
        triple = PRODUCTS.get(self.name)
        if triple is not None and position in triple[:2] and {*triple} <= {*changed}:
            changed[triple[2]] = self.bias(changed)
        return dataclasses.replace(self, scaled=changed)

    def bias(self, scaled: Mapping[int, Scaled]) -> Scaled:
        data, weights, _ = PRODUCTS[self.name]
        extent = self.probe.inputs[PRODUCTS[self.name][2]].shape[0]
        several = scaled[weights].scales
        several = several if len(several) == extent else several[:1]
        scales = tuple(scaled[data].scales[0] * s for s in several)
        return Scaled(scales, (0,) * len(scales))


def case(name: str, types: Mapping[str, str], seed: int = 1) -> Case:
    """An operator on random data, its inputs quantized in a plain way, its outputs not yet."""
    probe, chance = PROBES[name], np.random.default_rng(seed)
    made = Case(name, probe, [types.get(slot.role, slot.role) for slot in probe.slots])
    for position, slot in enumerate(probe.inputs):
        kind = made.kinds[position]
        if name == "QUANTIZE" and kind == "INT32":
            made.scaled[position] = Scaled((0.003,), (0,))
        if slot.role == "I" or kind not in LIMITS:
            continue
        low, high = LIMITS[kind]
        scaled = INPUTS[kind]
        if slot.role in "WV" and slot.data is not None:
            scaled = WEIGHTS[kind]
        if slot.variable:
            scaled = Scaled((0.2,) if kind == "INT8" else (0.001,), (0,))
        if name == "RSQRT":
            scaled = Scaled(scaled.scales, (low if kind == "INT8" else 0,))
        made.scaled[position] = scaled
        if slot.data is not None:
            made.data[position] = chance.integers(low + 1, high + 1, slot.shape)
            if not slot.shape:
                made.data[position] = 77  # far from zero, where scales would not matter
    if name in PRODUCTS and {*PRODUCTS[name][:2]} <= {*made.scaled}:
        position = PRODUCTS[name][2]
        made.scaled[position] = made.bias(made.scaled)
        made.data[position] = chance.integers(-9000, 9000, probe.inputs[position].shape)
    if name == "QUANTIZE" and made.kinds[-1] == "INT32":
        made.scaled[len(made.kinds) - 1] = Scaled((0.003,), (0,))
    made.samples = [_sample(made, chance) for _ in range(12)]
    return made


def _sample(made: Case, chance: np.random.Generator) -> list[Any]:
    found = []
    for slot, kind in zip(made.probe.inputs, made.kinds, strict=False):
        if slot.data is not None or slot.variable:
            continue
        low, high = {"BOOL": (0, 1)}.get(kind, LIMITS.get(kind, (-50, 50)))
        if made.name == "RSQRT":
            low = low + 5 if kind == "INT8" else 100
        low = 0 if kind == "UINT32" else low
        if made.name in ("EQUAL", "NOT_EQUAL"):
            low, high = 20, 24  # so that some are equal
        found.append(chance.integers(low, high + 1, slot.shape).astype(NUMPY[kind]))
    return found


def outputs_of(made: Case) -> list[int]:
    """The positions of quantized outputs."""
    count = len(made.probe.inputs)
    return [p for p in range(count, len(made.kinds)) if made.kinds[p] in LIMITS]


def calibrated(litert: IsolatedProcess, made: Case) -> dict[int, Scaled]:
    """Scales of the outputs by the range of their values."""
    plain = made
    for position in outputs_of(made):
        plain = plain.having(position, Scaled((1.0,), (0,)))
    values, found = truth(litert, plain), {}
    count = len(made.probe.inputs)
    for position in outputs_of(made):
        taken = np.concatenate([v[position - count].ravel() for v in values]).astype(np.float64)
        low, high = min(taken.min(), 0.0), max(taken.max(), 1e-6)
        if made.kinds[position] == "INT16":
            found[position] = Scaled((max(-low, high) / 32767,), (0,))
        else:
            scale = (high - low) / 255
            zero = round(LIMITS[made.kinds[position]][0] - low / scale)
            found[position] = Scaled((scale,), (zero,))
    return found


def truth(litert: IsolatedProcess, made: Case) -> list[list[Any]]:
    """The real values of the outputs, by LiteRT's float kernels."""
    graph = unpack(made.content).subgraphs[0]
    tensors = [graph.tensors[i] for i in graph.inputs]
    real = [
        [
            dequantized(v, t).astype(np.float32) if has_scale(t) else v
            for v, t in zip(sample, tensors, strict=True)
        ]
        for sample in made.samples
    ]
    if made.name in ("QUANTIZE", "DEQUANTIZE"):
        return real
    if made.name == "BROADCAST_TO":
        return [[np.broadcast_to(r[0], made.probe.outputs[0].shape)] for r in real]
    found: list[list[Any]] = litert.call(run_litert, in_float(made.content), real)
    return found


def steps_off(made: Case, got: list[list[Any]], want: list[list[Any]]) -> Any:
    """How far each value is off, in steps of its output."""
    graph = unpack(made.content).subgraphs[0]
    found = []
    for position, index in enumerate(graph.outputs):
        tensor_made = graph.tensors[index]
        given = np.stack([g[position] for g in got])
        real = np.stack([w[position] for w in want])
        if given.dtype == np.bool_:
            off = np.where(given == real.astype(np.bool_), 0.0, np.inf)
        elif has_scale(tensor_made):
            kind = TENSOR_TYPES[tensor_made.type]
            shape = [1] * given.ndim
            scales = np.asarray(tensor_made.quantization.scale, np.float64)
            if len(scales) > 1:
                shape[1 + tensor_made.quantization.quantizedDimension] = -1
            stored = real / scales.reshape(shape) + tensor_made.quantization.zeroPoint[0]
            stored = np.clip(stored, *LIMITS.get(kind, (-(2**31), 2**31 - 1)))
            off = np.abs(stored - given.astype(np.float64)) / (4 if kind == "INT16" else 1)
        else:
            unit = max(np.abs(real).max() / 127, 1e-9) if given.dtype.kind == "f" else 0.1
            off = np.abs(given.astype(np.float64) - real.astype(np.float64)) / unit
        found.append(off.ravel())
    return np.concatenate(found)


def outcome(tflm: IsolatedProcess, litert: IsolatedProcess, made: Case) -> str:
    """What TFLM makes of it: "refused", "right", "wrong", or "near" where it can't be told."""
    try:
        got = tflm.call(run_tflm, made.content, made.samples)
    except (CannotRunError, IsolatedProcessError, RuntimeError):
        return "refused"
    off = steps_off(made, got, truth(litert, made))
    if (~(off <= WRONG)).mean() > MANY:
        return "wrong"
    return "right" if off.max() <= ROUNDED else "near"


def saturated(litert: IsolatedProcess, made: Case) -> bool:
    """Whether the outputs' scales leave no room for the values: any kernel would be right."""
    off = count = 0
    first = len(made.probe.inputs)
    for values in truth(litert, made):
        for position in outputs_of(made):
            scaled, (low, high) = made.scaled[position], LIMITS[made.kinds[position]]
            stored = values[position - first] / scaled.scales[0] + scaled.zero_points[0]
            off += int(((stored < low - 1) | (stored > high + 1)).sum())
            count += stored.size
    return off > 0.2 * count


def based(tflm: IsolatedProcess, litert: IsolatedProcess, made: Case) -> tuple[Case, bool]:
    """The case with scales of its outputs that TFLM computes rightly, and whether there are any."""
    outputs = outputs_of(made)
    if not outputs:
        return made, outcome(tflm, litert, made) in ("right", "near")
    kind = made.kinds[outputs[0]]
    casts = made.name == "CAST"
    alike = [s for p, s in sorted(made.scaled.items()) if casts or made.kinds[p] == kind]
    choices = [dict.fromkeys(outputs, scaled) for scaled in alike[:1]]
    with contextlib.suppress(CannotRunError):
        choices.append(calibrated(litert, made))
    choices += [dict.fromkeys(outputs, scaled) for scaled in FIXED[kind]]
    tried = [dataclasses.replace(made, scaled={**made.scaled, **choice}) for choice in choices]
    for wanted in ("right", "near"):
        for choice in tried:
            if outcome(tflm, litert, choice) == wanted and not saturated(litert, choice):
                return choice, True
    return tried[0], False


def variations(made: Case) -> Iterator[tuple[str, Case]]:
    """Each tensor's scale, zero point and number of scales changed, one at a time; and all."""
    for position, scaled in sorted(made.scaled.items()):
        kind, role = made.kinds[position], made.role(position)
        for factor in (2.0, 0.5, 1.1):
            scales = tuple(s * factor for s in scaled.scales)
            yield (
                f"{role}: scale * {factor}",
                made.having(position, Scaled(scales, scaled.zero_points)),
            )
        shifts = {"INT16": (900, -900), "INT32": (5000, -5000), "INT64": (5000, -5000)}
        for shift in shifts.get(kind, (9, -9)):
            zeros = tuple(z + shift for z in scaled.zero_points)
            low, high = LIMITS.get(kind, (-(2**31), 2**31 - 1))
            if all(low <= zero <= high for zero in zeros):
                yield (
                    f"{role}: zero point {shift:+}",
                    made.having(position, Scaled(scaled.scales, zeros)),
                )
        for axis, extent in enumerate(made.probe.slots[position].shape):
            if extent > 1:
                scales = tuple(scaled.scales[0] * (0.6, 1.7, 0.8)[i % 3] for i in range(extent))
                yield (
                    f"{role}: a scale for each of dimension {axis}",
                    made.having(position, Scaled(scales, scaled.zero_points * extent, axis)),
                )
    of_int16 = "INT16" in made.kinds and "INT8" not in made.kinds
    for other in (Scaled((0.0004,), (500,)) if of_int16 else Scaled((0.09,), (7,)),):
        changed = {p: other if made.kinds[p] in LIMITS else s for p, s in made.scaled.items()}
        yield f"all: {other}", dataclasses.replace(made, scaled=changed)


def combinations(name: str) -> Iterator[dict[str, str]]:
    """The types that the kernel takes with quantized data among them."""
    kernel = kernels()[name]
    for row in sorted(kernel.accepts):
        types = dict(zip(kernel.roles(), row, strict=True))
        if {*row} & {*QUANTIZED} and types.get("I") != "INT64" and "INT4" not in row:
            yield types | {"B": BIAS.get(types.get("T", ""), "INT32")}

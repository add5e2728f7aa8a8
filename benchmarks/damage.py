"""Damaged .tflite files, made of whole ones: what a broken disk or a stranger may hand in."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

HUGE = (2**31 - 1, 2**31, 2**32 - 1, 2**16, 0xFFFF, 0x80000000, 1 << 24, 0)


def _flipped(content: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        damaged[chance.randrange(8, len(damaged))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def _cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def _overwritten(content: bytes, chance: random.Random) -> bytes:
    """Words of four bytes replaced by sizes that can't be."""
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = 4 * chance.randrange(2, len(damaged) // 4)
        struct.pack_into("<I", damaged, at, chance.choice(HUGE))
    return bytes(damaged)


def _moved(content: bytes, chance: random.Random) -> bytes:
    """A piece of the file in another place."""
    size = chance.choice((4, 8, 16, 64))
    source = chance.randrange(8, max(len(content) - size, 9))
    target = chance.randrange(8, max(len(content) - size, 9))
    return content[:target] + content[source : source + size] + content[target + size :]


def _rewritten(change: Callable[[Any, random.Random], None]) -> Callable[..., bytes]:
    """A change of the schema's objects, packed anew: the file is whole, the model is not."""

    def made(content: bytes, chance: random.Random) -> bytes:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            change(model, chance)
        builder = flatbuffers.Builder(1024)
        try:
            builder.Finish(model.Pack(builder), b"TFL3")
        except Exception:  # what the schema can't write is no file
            return content
        return bytes(builder.Output())

    return made


def _some_operator(model: Any, chance: random.Random) -> Any:
    return chance.choice(list(model.subgraphs[0].operators))


def _some_tensor(model: Any, chance: random.Random) -> Any:
    return chance.choice(list(model.subgraphs[0].tensors))


def _indices(model: Any, chance: random.Random) -> None:
    """An operator's, or the graph's, tensors: others, fewer, none."""
    count = len(model.subgraphs[0].tensors)
    owner = chance.choice((_some_operator(model, chance), model.subgraphs[0]))
    side = chance.choice(("inputs", "outputs"))
    now = [] if getattr(owner, side) is None else [int(i) for i in getattr(owner, side)]
    others = [chance.randrange(-1, count) for _ in now]
    ways = (now[:-1], now[1:], [], now[::-1], others, now * 3, [*now, chance.randrange(count)])
    setattr(owner, side, np.asarray(chance.choice(ways), np.int32))


def _shape(model: Any, chance: random.Random) -> None:
    tensor = _some_tensor(model, chance)
    now = [] if tensor.shape is None else [int(i) for i in tensor.shape]
    huge = [chance.choice((2**31 - 1, 2**20, 0, 1)) for _ in now or (0,)]
    ways = (now[:-1], [], [1] * chance.choice((5, 9, 40)), huge, [0] * len(now), now[::-1])
    tensor.shape = np.asarray(chance.choice(ways), np.int32)


def _type(model: Any, chance: random.Random) -> None:
    _some_tensor(model, chance).type = chance.randrange(20)


def _buffer(model: Any, chance: random.Random) -> None:
    _some_tensor(model, chance).buffer = chance.randrange(len(model.buffers))


def _scales(model: Any, chance: random.Random) -> None:
    tensor = _some_tensor(model, chance)
    found = tensor.quantization or schema.QuantizationParametersT()
    count = chance.choice((0, 1, 2, 7))
    values = (0.0, 1.0, 0.1, -1.0, float("inf"), float("nan"), 1e-45, 3e38)
    found.scale = np.asarray([chance.choice(values) for _ in range(count)], np.float32)
    points = [chance.choice((0, 1, 2**62, -(2**40))) for _ in range(count)]
    found.zeroPoint = np.asarray(points, np.int64)
    found.quantizedDimension = chance.choice((0, 1, 3, 9, -1))
    tensor.quantization = found


def _operator_code(model: Any, chance: random.Random) -> None:
    code = chance.choice(list(model.operatorCodes))
    code.builtinCode = chance.randrange(210)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = chance.choice((1, 2, 99, -5))


def _options(model: Any, chance: random.Random) -> None:
    """Options of another operator, or none, or other numbers in them."""
    operator = _some_operator(model, chance)
    way = chance.randrange(3)
    if way == 0:
        other = _some_operator(model, chance)
        operator.builtinOptions = other.builtinOptions
        operator.builtinOptionsType = other.builtinOptionsType
    elif way == 1:
        operator.builtinOptions, operator.builtinOptionsType = None, 0
    elif operator.builtinOptions is not None:
        for name, value in vars(operator.builtinOptions).items():
            if type(value) is int and chance.random() < 0.5:
                setattr(operator.builtinOptions, name, chance.choice((0, 1, 7, 100)))


def _control_flow(model: Any, chance: random.Random) -> None:
    """Subgraphs that call themselves or each other, or that are not there."""
    number = len(model.subgraphs)
    operator = _some_operator(model, chance)
    kind = chance.choice(("If", "While"))
    options = getattr(schema, f"{kind}OptionsT")()
    for name in vars(options):
        setattr(options, name, chance.choice((0, number - 1, number, number + 7, -1)))
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, kind.upper())
    code.deprecatedBuiltinCode, code.version = code.builtinCode, 1
    model.operatorCodes = [*model.operatorCodes, code]
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.builtinOptions = options
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{kind}Options")
    if number < 8:
        model.subgraphs = [*model.subgraphs, model.subgraphs[0]]


def _metadata(model: Any, chance: random.Random) -> None:
    """A memory plan that is none, names that clash, signatures that name other tensors."""
    buffer = schema.BufferT()
    count = len(model.subgraphs[0].tensors)
    plan = [1, 0, chance.choice((count, 0, -1, 2**31 - 1))]
    plan += [chance.choice((-1, 0, 16, -7, 2**31 - 16)) for _ in range(count)]
    buffer.data = np.frombuffer(struct.pack(f"<{len(plan)}i", *plan), np.uint8)
    model.buffers = [*model.buffers, buffer]
    entry = schema.MetadataT()
    entry.name, entry.buffer = b"OfflineMemoryAllocation", len(model.buffers) - 1
    model.metadata = [entry]
    for signature in model.signatureDefs or []:
        for ends in (signature.inputs, signature.outputs):
            for end in ends or []:
                end.tensorIndex = chance.choice((end.tensorIndex, 0, count, 2**31))
    _some_tensor(model, chance).name = chance.choice((b"", b"x" * 5000, b"\xff\xfe", b"a;b;c"))


def _doubled(model: Any, chance: random.Random) -> None:
    owner = model.subgraphs[0]
    name = chance.choice(("operators", "tensors", "subgraphs"))
    if name == "subgraphs":
        model.subgraphs = [*model.subgraphs, *model.subgraphs][:8]
    else:
        setattr(owner, name, [*getattr(owner, name), *getattr(owner, name)])


KINDS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "bits flipped": _flipped,
    "cut off": _cut,
    "sizes overwritten": _overwritten,
    "bytes moved": _moved,
    "indices": _rewritten(_indices),
    "shapes": _rewritten(_shape),
    "types": _rewritten(_type),
    "buffers": _rewritten(_buffer),
    "scales": _rewritten(_scales),
    "operators": _rewritten(_operator_code),
    "options": _rewritten(_options),
    "subgraphs": _rewritten(_control_flow),
    "metadata": _rewritten(_metadata),
    "doubled": _rewritten(_doubled),
}
"""Ways to damage a file, by name."""


def damaged(content: bytes, seed: int) -> tuple[str, bytes]:
    """A damaged file, the same for the same seed, and how it was damaged."""
    chance = random.Random(seed)
    kind = chance.choice(list(KINDS))
    return kind, KINDS[kind](content, chance)

"""Integer resource variables as TensorFlow's converter leaves them, made right.

With its quantization of variables the converter reads and assigns integers. But the subgraph that
sets them before the first inference (CALL_ONCE) still assigns floats, and the bytes of 0.0 are not
the integer that stands for 0; and what is assigned may have another scale than what is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_edgequant.tflite import schema
from pytest_edgequant.tflite.edit import (
    add_tensor,
    builtin_code_index,
    operator_code,
)
from pytest_edgequant.tflite.rewrite import NotRewritableError, Rewrite

_BUILTIN = schema.BuiltinOperator
_TYPES: dict[int, Any] = {
    schema.TensorType.INT8: np.int8,
    schema.TensorType.INT16: np.int16,
    schema.TensorType.UINT8: np.uint8,
}


@dataclass(frozen=True)
class _Grid:
    """Type, scale and zero point of a tensor of quantized integers."""

    kind: int
    scale: float
    point: int

    def parameters(self) -> Any:
        found = schema.QuantizationParametersT()
        found.scale = np.asarray([self.scale], np.float32)
        found.zeroPoint = np.asarray([self.point], np.int64)
        return found


@dataclass(frozen=True)
class _Access:
    """A variable that is read or assigned: its name, where, and the value's tensor."""

    name: str
    operator: Any
    tensor: Any

    @property
    def assigns(self) -> bool:
        """Whether the value is an input."""
        return len(self.operator.inputs) == 2


def _text(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name or "")


def _accesses(model: Any, graph: Any) -> Iterator[_Access]:
    """The readings and assignments of variables in a subgraph."""
    handles: dict[int, str] = {}
    for operator in graph.operators or []:
        code = operator_code(model, operator)
        if code == _BUILTIN.VAR_HANDLE:
            options = operator.builtinOptions
            names = (_text(options.container), _text(options.sharedName))
            handles[int(operator.outputs[0])] = "/".join(filter(None, names))
        elif code in (_BUILTIN.READ_VARIABLE, _BUILTIN.ASSIGN_VARIABLE):
            name = handles.get(int(operator.inputs[0]))
            reads = code == _BUILTIN.READ_VARIABLE
            value = operator.outputs[0] if reads else operator.inputs[1]
            if name is not None:
                yield _Access(name, operator, graph.tensors[int(value)])


def _grid(tensor: Any) -> _Grid | None:
    """The grid of a tensor of integers with one scale; None for others."""
    parameters = tensor.quantization
    if tensor.type not in _TYPES or parameters is None or parameters.scale is None:
        return None
    scales = np.ravel(parameters.scale)
    # Symmetric types may come without zero points.
    points = np.ravel(parameters.zeroPoint) if parameters.zeroPoint is not None else [0]
    return _Grid(tensor.type, float(scales[0]), int(points[0])) if len(scales) == 1 else None


def _store(model: Any, tensor: Any, grid: _Grid) -> None:
    """Make a float constant the integers that stand for its values."""
    raw = np.asarray(model.buffers[tensor.buffer].data, np.uint8).tobytes()
    values = np.frombuffer(raw, np.float32)
    kind = _TYPES[grid.kind]
    limits = np.iinfo(kind)
    whole = np.clip(np.rint(values / grid.scale) + grid.point, limits.min, limits.max)
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(whole.astype(kind).tobytes(), np.uint8)
    tensor.buffer = len(model.buffers)
    model.buffers.append(buffer)
    tensor.type, tensor.quantization = grid.kind, grid.parameters()


def _rescale(model: Any, access: _Access, grid: _Grid) -> None:
    """Put a QUANTIZE before an assignment, from the value's own grid to the variable's."""
    main, source = model.subgraphs[0], access.tensor
    index = add_tensor(model, source.name + b"_state", source.shape, grid.kind)
    main.tensors[index].quantization = grid.parameters()
    quantize = schema.OperatorT()
    quantize.opcodeIndex = builtin_code_index(model, _BUILTIN.QUANTIZE)
    quantize.inputs = np.asarray([access.operator.inputs[1]], np.int32)
    quantize.outputs = np.asarray([index], np.int32)
    access.operator.inputs = np.asarray([access.operator.inputs[0], index], np.int32)
    place = next(i for i, o in enumerate(main.operators) if o is access.operator)
    main.operators.insert(place, quantize)


def _read_grids(accesses: list[_Access]) -> dict[str, _Grid]:
    found: dict[str, _Grid] = {}
    for access in accesses:
        grid = None if access.assigns else _grid(access.tensor)
        if grid is not None and found.setdefault(access.name, grid) != grid:
            raise NotRewritableError(
                f"the state {access.name!r} is read with different scales; give it to the model as "
                "an input and take it as an output"
            )
    return found


@dataclass(frozen=True)
class QuantizeState(Rewrite):
    """Set and assign a model's integer variables on the grid that they are read on.

    1. A value that is assigned on another grid goes through a QUANTIZE first.
    2. A float constant that a subgraph assigns before the first inference becomes the integers that
       stand for it.
    3. A variable that is read on different grids is refused: no grid holds both.
    """

    needless = "no integer variable is set or assigned on another grid than it is read on"

    def edit(self, model: Any) -> bool:
        main = model.subgraphs[0]
        main.tensors, main.operators = list(main.tensors or []), list(main.operators or [])
        inside = list(_accesses(model, main))
        grids = _read_grids(inside)
        changed = False
        for access in inside:
            own, wanted = _grid(access.tensor), grids.get(access.name)
            if access.assigns and own is not None and wanted is not None and own != wanted:
                _rescale(model, access, wanted)
                changed = True
        for graph in model.subgraphs[1:]:
            for access in _accesses(model, graph):
                tensor, wanted = access.tensor, grids.get(access.name)
                is_float = tensor.type == schema.TensorType.FLOAT32
                constant = model.buffers[tensor.buffer].data is not None
                if access.assigns and wanted is not None and is_float and constant:
                    _store(model, tensor, wanted)
                    changed = True
        return changed

"""A copy of a model whose int8 convolutions take several neighbouring pixels as one.

Kernels compute whole tiles of channels: XNNPACK's for AMX, for instance, 64 output channels of up
to 64 input channels at a time, however few there are. A convolution of few channels has most of
that wasted. Folding `f` neighbours of a row into the channels makes it one of `f` times the output
channels over a narrower picture: the same numbers in the same order in memory, the filter's values
repeated, zeros where a tap lies outside of a pixel's window.

Every integer sum has the same terms, and zeros, so it is the same whatever its order. That the
same kernel then scales and rounds it the same way is not known from here: whoever runs the copy
compares it with the deployed file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.tflite import schema
from pytest_edgequant.tflite.edit import (
    add_tensor,
    builtin_code_index,
    operator_code,
    tensor_data,
)
from pytest_edgequant.tflite.rewrite import NotRewritableError, Rewrite

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEAST_GAIN = 1.3
"""A convolution is folded where its tiles get fewer by this factor: folding copies tensors."""
_MOST_WEIGHTS = 1 << 20


@dataclass(frozen=True)
class Tiles:
    """What a kernel computes at once: pixels, output channels, input channels of one tap."""

    pixels: int
    outputs: int
    inputs: int


KERNELS = {
    # XNNPACK's qs8_qc8w_igemm_*_16x64c4__avx512amx
    "amx": Tiles(16, 64, 64),
    # XNNPACK's *c8__avx512vnni, *c8__avx2: 16 or 8 output channels, 8 input channels
    "vector": Tiles(1, 16, 8),
}


@dataclass(frozen=True)
class _Conv:
    """A convolution's figures along rows (`width`), and what folding needs of the rest."""

    height: int
    width: int
    channels: int
    out_height: int
    out_width: int
    out_channels: int
    kernel_height: int
    kernel_width: int
    stride: int
    same: bool

    @property
    def before(self) -> int:
        """Pixels of padding at the left."""
        if not self.same:
            return 0
        whole = (self.out_width - 1) * self.stride + self.kernel_width - self.width
        return max(whole, 0) // 2


@dataclass(frozen=True)
class _Fold:
    """`factor` output pixels in one, `taps` folded pixels wide, the first `left` of them before."""

    factor: int
    taps: int
    left: int


def _folds(conv: _Conv) -> Iterator[_Fold]:
    for factor in range(2, conv.out_width + 1):
        group = factor * conv.stride
        if conv.out_width % factor or (conv.width % group and factor < conv.out_width):
            continue
        if factor == conv.out_width:  # a whole row is one pixel
            yield _Fold(factor, 1, 0)
            continue
        folded, result = conv.width // group, conv.out_width // factor
        left = -(-conv.before // group)
        reach = (factor - 1) * conv.stride + conv.kernel_width - 1 - conv.before
        right = max(reach // group, 0)
        if conv.same:
            # The padding that SAME gives a kernel of left + 1 + right taps must lie so.
            left, right = max(left, right - 1), max(left, right)
            fits = folded == result
        else:
            fits = folded - right == result
        if fits:
            yield _Fold(factor, left + 1 + right, left)


def _cost(conv: _Conv, fold: _Fold | None, tiles: Tiles) -> int:
    """Multiplications, with those that tiles waste."""
    factor, taps = (fold.factor, fold.taps) if fold else (1, conv.kernel_width)
    whole = fold is not None and factor == conv.out_width
    inputs = conv.channels * (conv.width if whole else factor * conv.stride if fold else 1)
    pixels = conv.out_height * (conv.out_width // factor)
    return (
        _up(pixels, tiles.pixels)
        * conv.kernel_height
        * taps
        * _up(inputs, tiles.inputs)
        * _up(conv.out_channels * factor, tiles.outputs)
    )


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


def _folded_filter(conv: _Conv, fold: _Fold, weights: NDArray[np.int8]) -> NDArray[np.int8]:
    """The filter (factor * outputs, kernel height, taps, group * channels)."""
    whole = fold.factor == conv.out_width
    group = conv.width if whole else fold.factor * conv.stride
    shape = (fold.factor, conv.out_channels, conv.kernel_height, fold.taps * group, conv.channels)
    result = np.zeros(shape, np.int8)
    for place in range(fold.factor):
        first = place * conv.stride - conv.before + fold.left * group
        for tap in range(conv.kernel_width):
            if 0 <= first + tap < fold.taps * group:
                result[place, :, :, first + tap] = weights[:, :, tap]
    return result.reshape(
        fold.factor * conv.out_channels, conv.kernel_height, fold.taps, group * conv.channels
    )


class _Folding:
    """A model whose convolutions are being folded; `count` is how many were."""

    def __init__(self, model: Any, tiles: Tiles) -> None:
        self.model = model
        self.graph = model.subgraphs[0]
        self.tiles = tiles
        self.count = 0

    def run(self) -> None:
        self.graph.tensors = list(self.graph.tensors)
        operators = []
        for operator in self.graph.operators or []:
            found = self._fold_of(operator)
            operators += [operator] if found is None else self._apply(operator, *found)
        self.graph.operators = operators

    def _data(self, index: int) -> bytes:
        return tensor_data(self.model, index)

    def _fold_of(self, operator: Any) -> tuple[_Conv, _Fold] | None:
        conv = self._foldable(operator)
        if conv is None:
            return None
        best = min(_folds(conv), key=lambda fold: _cost(conv, fold, self.tiles), default=None)
        if best is None:
            return None
        gains = _cost(conv, best, self.tiles) * _LEAST_GAIN < _cost(conv, None, self.tiles)
        weights = conv.out_channels * best.factor * conv.kernel_height * best.taps
        small = weights * conv.width * conv.channels <= _MOST_WEIGHTS
        return (conv, best) if gains and small else None

    def _foldable(self, operator: Any) -> _Conv | None:
        """The figures of an int8 convolution of one sample with a constant, symmetric filter."""
        if operator_code(self.model, operator) != schema.BuiltinOperator.CONV_2D:
            return None
        options, given = operator.builtinOptions, [int(i) for i in operator.inputs]
        tensors = [self.graph.tensors[i] for i in (*given[:2], int(operator.outputs[0]))]
        if (
            options is None
            or len(given) != 3
            or any(t.type != schema.TensorType.INT8 for t in tensors)
        ):
            return None
        if any(t.shape is None or len(t.shape) != 4 or not all(t.shape) for t in tensors):
            return None
        x, w, y = ([int(extent) for extent in t.shape] for t in tensors)
        quantization = tensors[1].quantization
        symmetric = (
            quantization is not None
            and quantization.scale is not None
            and quantization.zeroPoint is not None
            and not np.any(np.asarray(quantization.zeroPoint))
        )
        dense = options.dilationHFactor == options.dilationWFactor == 1 and w[3] == x[3]
        whole = len(self._data(given[1])) == math.prod(w) and len(self._data(given[2])) == 4 * w[0]
        if not (symmetric and dense and whole and x[0] == y[0] == 1):
            return None
        return _Conv(
            height=x[1],
            width=x[2],
            channels=x[3],
            out_height=y[1],
            out_width=y[2],
            out_channels=y[3],
            kernel_height=w[1],
            kernel_width=w[2],
            stride=int(options.strideW),
            same=options.padding == schema.Padding.SAME,
        )

    def _apply(self, operator: Any, conv: _Conv, fold: _Fold) -> list[Any]:
        given, result = [int(i) for i in operator.inputs], int(operator.outputs[0])
        weights = np.frombuffer(self._data(given[1]), np.int8).reshape(
            conv.out_channels, conv.kernel_height, conv.kernel_width, conv.channels
        )
        folded = _folded_filter(conv, fold, weights)
        width = 1 if fold.factor == conv.out_width else conv.width // (fold.factor * conv.stride)
        x = self._like(given[0], (1, conv.height, width, folded.shape[3]))
        y = self._like(result, (1, conv.out_height, conv.out_width // fold.factor, len(folded)))
        bias = np.tile(np.frombuffer(self._data(given[2]), np.int32), fold.factor)
        inputs = [
            x,
            self._constant(given[1], folded, fold.factor),
            self._constant(given[2], bias, fold.factor),
        ]
        before, after = self._reshape(given[0], x), self._reshape(y, result)
        operator.inputs, operator.outputs = np.asarray(inputs, np.int32), np.asarray([y], np.int32)
        operator.builtinOptions.strideW = 1
        self.count += 1
        return [before, operator, after]

    def _like(self, index: int, shape: Any) -> int:
        old = self.graph.tensors[index]
        made = add_tensor(self.model, b"folded", shape, old.type)
        self.graph.tensors[made].quantization = old.quantization
        return made

    def _constant(self, index: int, values: NDArray[Any], factor: int) -> int:
        """A constant of so many times the channels along axis 0, with the quantization of each."""
        old = self.graph.tensors[index]
        made = add_tensor(self.model, b"folded", values.shape, old.type, values)
        given = old.quantization
        if given is not None and given.scale is not None and given.zeroPoint is not None:
            quantization = schema.QuantizationParametersT()
            times = factor if len(given.scale) > 1 else 1
            quantization.scale = np.tile(np.asarray(given.scale, np.float32), times)
            quantization.zeroPoint = np.tile(np.asarray(given.zeroPoint, np.int64), times)
            quantization.quantizedDimension = given.quantizedDimension
            self.graph.tensors[made].quantization = quantization
        return made

    def _reshape(self, given: int, result: int) -> Any:
        shape = np.asarray(self.graph.tensors[result].shape, np.int32)
        kind = schema.TensorType.INT32
        constant = add_tensor(self.model, b"shape", shape.shape, kind, shape)
        operator = schema.OperatorT()
        operator.opcodeIndex = builtin_code_index(self.model, schema.BuiltinOperator.RESHAPE)
        operator.inputs = np.asarray([given, constant], np.int32)
        operator.outputs = np.asarray([result], np.int32)
        operator.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
        operator.builtinOptions = schema.ReshapeOptionsT()
        operator.builtinOptions.newShape = shape
        return operator


@dataclass(frozen=True)
class FoldPixels(Rewrite):
    """Fold a model's int8 convolutions where such tiles gain by it.

    1. A whole row is one pixel, where tiles are that large: a convolution of one tap.
    2. `factor` neighbours of a row are one pixel, of a SAME or VALID convolution of any stride.
    3. What is dilated, of several samples, or has a filter that is computed or not symmetric stays,
       and so does what would get too many weights.
    """

    needless = "no convolution gains by folding"
    tiles: Tiles

    def edit(self, model: Any) -> bool:
        if len(model.subgraphs) > 1:
            raise NotRewritableError("the model has several subgraphs")
        folding = _Folding(model, self.tiles)
        folding.run()
        if not folding.count:
            return False
        model.metadata = None
        return True

"""TFLite's operators that move data: shapes, slices, concatenation, padding, resizing."""

from __future__ import annotations

from typing import Any

import numpy as np

from pytest_edgequant.conversion.qat import convolutions
from pytest_edgequant.conversion.qat.indexing import all_repeated
from pytest_edgequant.conversion.qat.kernels import (
    Call,
    Value,
    aligned,
    axes_of,
    computes,
    samples,
)

OPERATORS = convolutions.OPERATORS
"""Every operator that can be simulated: this module is the last that adds some."""


@computes("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def _reshape(tf: Any, call: Call) -> Any:
    return call.value(0).tensor  # every output is given its shape afterwards


@computes("TRANSPOSE")
def _transpose(tf: Any, call: Call) -> Any:
    order = [0, *(int(a) + 1 for a in call.value(1).constant)]
    return tf.transpose(call.value(0).tensor, order)


@computes("CONCATENATION")
def _concatenation(tf: Any, call: Call) -> Any:
    rank = len(call.shapes[0])
    axis = int(call.operator.options.get("axis", 0)) % rank + 1
    return tf.concat(all_repeated(tf, call), axis)


@computes("PACK")
def _pack(tf: Any, call: Call) -> Any:
    rank = len(call.shapes[0])
    return tf.stack(all_repeated(tf, call), int(call.operator.options.get("axis", 0)) % rank + 1)


@computes("UNPACK")
def _unpack(tf: Any, call: Call) -> Any:
    source = call.value(0)
    axis = int(call.operator.options.get("axis", 0)) % len(source.shape)
    return tf.unstack(source.tensor, num=source.shape[axis], axis=axis + 1)


@computes("SPLIT")
def _split(tf: Any, call: Call) -> Any:
    axis = int(call.value(0).constant.reshape(-1)[0]) % len(call.value(1).shape)
    return tf.split(call.value(1).tensor, len(call.shapes), axis + 1)


@computes("SPLIT_V")
def _split_v(tf: Any, call: Call) -> Any:
    axis = int(call.value(2).constant.reshape(-1)[0]) % len(call.value(0).shape)
    return tf.split(call.value(0).tensor, [s[axis] for s in call.shapes], axis + 1)


@computes("SLICE")
def _slice(tf: Any, call: Call) -> Any:
    begin = [0, *(int(b) for b in call.value(1).constant)]
    return tf.slice(call.value(0).tensor, begin, [-1, *call.shapes[0]])


@computes("STRIDED_SLICE")
def _strided_slice(tf: Any, call: Call) -> Any:
    begin, end, strides = ([int(v) for v in call.value(i).constant] for i in (1, 2, 3))
    masks = {
        name: int(call.operator.options.get(option, 0)) << 1
        for name, option in (
            ("end_mask", "endMask"),
            ("ellipsis_mask", "ellipsisMask"),
            ("new_axis_mask", "newAxisMask"),
            ("shrink_axis_mask", "shrinkAxisMask"),
        )
    }
    return tf.strided_slice(
        call.value(0).tensor,
        [0, *begin],
        [0, *end],
        [1, *strides],
        begin_mask=(int(call.operator.options.get("beginMask", 0)) << 1) | 1,
        **{**masks, "end_mask": masks["end_mask"] | 1},
    )


@computes("GATHER")
def _gather(tf: Any, call: Call) -> Any:
    table, indices = call.value(0), call.value(1)
    axis = int(call.operator.options.get("axis", 0)) % max(len(table.shape), 1)
    if not table.batched:
        return tf.gather(table.tensor, tf.cast(indices.tensor, tf.int32), axis=axis)
    if indices.batched:
        return tf.gather(
            table.tensor, tf.cast(indices.tensor, tf.int32), axis=axis + 1, batch_dims=1
        )
    return tf.gather(table.tensor, indices.constant, axis=axis + 1)


@computes("EMBEDDING_LOOKUP")
def _embedding_lookup(tf: Any, call: Call) -> Any:
    return tf.gather(call.value(1).tensor, tf.cast(call.value(0).tensor, tf.int32))


def _pads(value: Value) -> Any:
    return np.concatenate([[[0, 0]], value.constant.reshape(-1, 2)])


@computes("PAD")
def _pad(tf: Any, call: Call) -> Any:
    return tf.pad(call.value(0).tensor, _pads(call.value(1)))


@computes("PADV2")
def _pad_v2(tf: Any, call: Call) -> Any:
    filler = tf.reshape(call.value(2).tensor, ())
    source = call.value(0).tensor
    return tf.pad(source - filler, _pads(call.value(1))) + filler


@computes("MIRROR_PAD")
def _mirror_pad(tf: Any, call: Call) -> Any:
    mode = "SYMMETRIC" if call.option("mode") == 1 else "REFLECT"
    return tf.pad(call.value(0).tensor, _pads(call.value(1)), mode=mode)


@computes("TILE")
def _tile(tf: Any, call: Call) -> Any:
    return tf.tile(call.value(0).tensor, [1, *(int(m) for m in call.value(1).constant)])


@computes("BROADCAST_TO")
def _broadcast_to(tf: Any, call: Call) -> Any:
    rank = len(call.shapes[0])
    source = aligned(tf, call.value(0), rank)
    return tf.broadcast_to(source, tf.concat([tf.shape(source)[:1], call.shapes[0]], 0))


@computes("REVERSE_V2")
def _reverse(tf: Any, call: Call) -> Any:
    source = call.value(0)
    return tf.reverse(source.tensor, [a + 1 for a in axes_of(call.value(1), len(source.shape))])


@computes("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
def _resize(tf: Any, call: Call) -> Any:
    raw = tf.raw_ops
    function = (
        raw.ResizeBilinear if call.operator.name == "RESIZE_BILINEAR" else raw.ResizeNearestNeighbor
    )
    return function(
        images=samples(call.value(0)),
        size=[int(v) for v in call.value(1).constant],
        align_corners=bool(call.option("alignCorners")),
        half_pixel_centers=bool(call.option("halfPixelCenters")),
    )


@computes("DEPTH_TO_SPACE")
def _depth_to_space(tf: Any, call: Call) -> Any:
    return tf.nn.depth_to_space(samples(call.value(0)), call.option("blockSize"))


@computes("SPACE_TO_DEPTH")
def _space_to_depth(tf: Any, call: Call) -> Any:
    return tf.nn.space_to_depth(samples(call.value(0)), call.option("blockSize"))

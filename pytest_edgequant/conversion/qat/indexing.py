"""TFLite's operators that address by index or count samples themselves: gather, update, batches.

Their index tensors may be constants or computed, one for each sample.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pytest_edgequant.conversion.qat.kernels import Call, Value, computes


def repeated(tf: Any, value: Value, count: Any) -> Any:
    """A constant repeated for every sample; what has samples stays as it is."""
    if value.batched:
        return value.tensor
    tensor = tf.convert_to_tensor(value.tensor)
    return tf.broadcast_to(tensor[tf.newaxis], tf.concat([[count], tf.shape(tensor)], 0))


def all_repeated(tf: Any, call: Call) -> list[Any]:
    """Every input with samples in front."""
    values = [v for v in call.inputs if v is not None]
    count = next(tf.shape(v.tensor)[0] for v in values if v.batched)
    return [repeated(tf, v, count) for v in values]


def _numbered(tf: Any, indices: Any) -> Any:
    """Indices (samples, ..., k) with the sample's own number before each."""
    indices = tf.cast(indices, tf.int32)
    numbers = tf.range(tf.shape(indices)[0])
    numbers = tf.reshape(numbers, (-1, *([1] * (len(indices.shape) - 1))))
    return tf.concat([tf.broadcast_to(numbers, tf.shape(indices[..., :1])), indices], -1)


@computes("GATHER_ND")
def _gather_nd(tf: Any, call: Call) -> Any:
    table, indices = call.value(0), call.value(1)
    if not table.batched:
        return tf.gather_nd(table.tensor, tf.cast(indices.tensor, tf.int32))
    tensor, places = all_repeated(tf, call)
    return tf.gather_nd(tensor, _numbered(tf, places))


@computes("DYNAMIC_UPDATE_SLICE")
def _dynamic_update_slice(tf: Any, call: Call) -> Any:
    whole, part, start = all_repeated(tf, call)
    inner = call.value(1).shape
    last = [a - b for a, b in zip(call.shapes[0], inner, strict=True)]
    start = tf.clip_by_value(tf.cast(start, tf.int32), 0, last)
    # Where every element of the part goes: its own place in it, moved by the start.
    grid = np.moveaxis(np.indices(inner, np.int32), 0, -1)
    places = grid[np.newaxis] + tf.reshape(start, (-1, *([1] * len(inner)), len(inner)))
    return tf.tensor_scatter_nd_update(whole, _numbered(tf, places), part)


@computes("TOPK_V2")
def _top_k(tf: Any, call: Call) -> Any:
    return tf.math.top_k(call.value(0).tensor, call.shapes[0][-1])


def _blocks(call: Call) -> tuple[list[int], int]:
    sizes = [int(b) for b in call.value(1).constant]
    return sizes, int(np.prod(sizes))


@computes("SPACE_TO_BATCH_ND")
def _space_to_batch(tf: Any, call: Call) -> Any:
    source, (sizes, count) = call.value(0), _blocks(call)
    flat = tf.reshape(source.tensor, (-1, *source.shape[1:]))
    found = tf.space_to_batch(flat, sizes, call.value(2).constant.reshape(-1, 2))
    # TensorFlow counts blocks first, then samples and batch; here samples come first.
    rest = call.shapes[0][1:]
    parted = tf.reshape(found, (count, -1, source.shape[0], *rest))
    return tf.transpose(parted, (1, 0, 2, *range(3, 3 + len(rest))))


@computes("BATCH_TO_SPACE_ND")
def _batch_to_space(tf: Any, call: Call) -> Any:
    source, (sizes, count) = call.value(0), _blocks(call)
    rest = source.shape[1:]
    parted = tf.reshape(source.tensor, (-1, count, source.shape[0] // count, *rest))
    ordered = tf.transpose(parted, (1, 0, 2, *range(3, 3 + len(rest))))
    crops = call.value(2).constant.reshape(-1, 2)
    return tf.batch_to_space(tf.reshape(ordered, (-1, *rest)), sizes, crops)


@computes("FILL")
def _fill(tf: Any, call: Call) -> Any:
    value = all_repeated(tf, call)[1]
    shape = call.shapes[0]
    value = tf.reshape(value, (-1, *([1] * len(shape))))
    return tf.broadcast_to(value, tf.stack([tf.shape(value)[0], *shape]))


@computes("SHAPE")
def _shape(tf: Any, call: Call) -> Any:
    source = call.value(0)
    shape = tf.constant(source.shape, call.types[0])
    return tf.broadcast_to(shape, tf.stack([tf.shape(source.tensor)[0], len(source.shape)]))

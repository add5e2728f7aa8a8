"""From a Keras model object to a SavedModel with the batch pinned at 1.

Runs where TensorFlow already is: in the child for files, in the test process for live models.
Works with Keras 3 and with tf_keras objects.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pytest_edgequant.conversion.layers import (
    check_states,
    initial_states,
    is_legacy_keras,
    unrolled_layers,
)
from pytest_edgequant.errors import ConversionError, ModelError
from pytest_edgequant.samples.inputs import InputSpec
from pytest_edgequant.tflite.ends import unique


@dataclass(frozen=True)
class Exported:
    """A SavedModel with the batch at 1; its inputs and the names of its outputs in order.

    `input_keys` and `output_keys` are the signature's names for them, which SavedModels sort.
    """

    folder: str
    inputs: tuple[InputSpec, ...]
    output_names: tuple[str, ...]
    input_keys: tuple[str, ...]
    output_keys: tuple[str, ...]


@dataclass(frozen=True)
class Traced:
    """A concrete function at batch 1 and what `Exported` says of it."""

    function: Any
    inputs: tuple[InputSpec, ...]
    output_names: tuple[str, ...]
    input_keys: tuple[str, ...]
    output_keys: tuple[str, ...]

    def save(self, folder: Path, tracked: object) -> Exported:
        """Write it as a SavedModel with one signature; `tracked` holds its variables."""
        import tensorflow as tf

        module = tf.Module()
        module.tracked = tracked
        tf.saved_model.save(module, str(folder), signatures=self.function)
        return Exported(
            str(folder), self.inputs, self.output_names, self.input_keys, self.output_keys
        )


_TAKEN = frozenset({"self"})
"""Arguments of TensorFlow's own, which no input can be called."""


def _safe(names: Sequence[str]) -> tuple[str, ...]:
    """Names that a SavedModel's signature takes: ASCII word characters, unique without case."""
    safe = [re.sub(r"\W", "_", name, flags=re.ASCII) or "x" for name in names]
    safe = [name if name[0].isalpha() and name not in _TAKEN else f"x{name}" for name in safe]
    if len({name.lower() for name in safe}) < len(safe):
        safe = [f"{name}_{i}" for i, name in enumerate(safe)]
    return tuple(safe)


def _without_automatic(names: Sequence[str]) -> tuple[str, ...]:
    """Keras 3 numbers unnamed inputs by what was built before: these get stable names."""
    automatic = re.compile(r"keras_tensor(_\d+)?")
    if len(names) == 1:
        return ("input" if automatic.fullmatch(names[0]) else names[0],)
    return tuple(f"input_{i}" if automatic.fullmatch(n) else n for i, n in enumerate(names))


def _input_structure(model: Any, where: str) -> Any:
    """The structure of the model's inputs; its leaves have name, shape, dtype."""
    import tensorflow as tf

    with contextlib.suppress(AttributeError, ValueError):
        leaves = list(model.inputs or ())
        if leaves:
            structure = getattr(model, "_inputs_struct", None)
            if structure is None:
                structure = getattr(model, "_nested_inputs", None)
            if structure is None:
                structure = leaves if len(leaves) > 1 else leaves[0]
            return structure
    shapes = getattr(model, "_build_shapes_dict", None) or {}
    if len(shapes) == 1:
        shape = next(iter(shapes.values()))
        if isinstance(shape, tuple | list) and all(v is None or isinstance(v, int) for v in shape):
            dtype = getattr(model, "input_dtype", None) or "float32"
            return tf.TensorSpec(tuple(shape), dtype, name="input")
    legacy = getattr(model, "_saved_model_inputs_spec", None)
    if legacy is not None:
        return legacy
    raise ModelError(
        f"{where}: the model's input shape is not known; call the model once on a sample "
        "(or build it with an input shape) before it is handed over"
    )


def pinned(shape: Sequence[int | None] | None, dtype: Any, name: str, where: str) -> InputSpec:
    """An input with the batch at 1; raises `ModelError` where another dimension is open."""
    extents = list(shape) if shape is not None else []
    if not extents:
        raise ModelError(f"{where}: the input {name!r} has no batch dimension")
    extents[0] = 1
    if any(extent is None for extent in extents):
        raise ModelError(
            f"{where}: the input {name!r} has a dynamic dimension besides the batch: "
            f"{(None, *extents[1:])}; give the model a fixed input shape, "
            "for devices allocate all memory before the first inference"
        )
    import tensorflow as tf

    numpy_type = np.dtype(tf.as_dtype(dtype).as_numpy_dtype)
    return InputSpec(name, tuple(int(e or 0) for e in extents), numpy_type)


def trace_function(
    function: Any, inputs: Sequence[InputSpec], keys: Sequence[str], where: str
) -> Any:
    """The concrete function for these inputs; raises `ConversionError` when tracing fails."""
    import tensorflow as tf

    specs = [tf.TensorSpec(s.shape, s.dtype, name=key) for s, key in zip(inputs, keys, strict=True)]
    try:
        return tf.function(function).get_concrete_function(*specs)
    except Exception as error:
        raise ConversionError(
            f"{where}: the model can't be traced at batch 1: "
            f"{type(error).__name__}: {shortened(error)}"
        ) from None


def trace(model: Any, where: str, unrolled: bool = False) -> Traced:
    """Trace the model in inference mode at batch 1.

    Raises `ModelError` for a model that has no fixed input shape, `ConversionError` when tracing
    fails (a layer that needs another batch, say).
    """
    import tensorflow as tf

    check_states(model, where)
    structure = _input_structure(model, where)
    tree = _tree(model)
    leaves = tree.flatten(structure)
    names = _dict_keys(tree, structure, len(leaves)) or unique(
        _without_automatic([str(leaf.name).split(":")[0] for leaf in leaves]), "input"
    )
    inputs = tuple(
        pinned(leaf.shape, leaf.dtype, name, where)
        for leaf, name in zip(leaves, names, strict=True)
    )
    keys = _safe(names)
    output_names: list[str] = []

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator,unused-ignore]
    def by_key(result: Any) -> dict[str, Any]:
        outputs = tree.flatten(result)
        output_names[:] = _output_names(model, tree, result, len(outputs))
        tensors = (tf.convert_to_tensor(output) for output in outputs)
        return dict(zip(_safe(output_names), tensors, strict=True))

    def serve(*arguments: Any) -> dict[str, Any]:
        outputs: dict[str, Any] = by_key(
            model(tree.pack_sequence_as(structure, list(arguments)), training=False)
        )
        return outputs

    with unrolled_layers(model, unrolled):
        function = trace_function(serve, inputs, keys, where)
    return Traced(function, inputs, tuple(output_names), keys, _safe(output_names))


def _output_names(model: Any, tree: Any, result: Any, count: int) -> tuple[str, ...]:
    """The outputs' names: a dict's keys, the model's own, or numbers."""
    keys = _dict_keys(tree, result, count)
    if keys:
        return keys
    known = [str(name) for name in getattr(model, "output_names", None) or ()]
    return unique(known if len(known) == count else [""] * count, "output")


def _tree(model: Any) -> Any:
    """What flattens the model's structures in the order of `model.inputs` and its outputs."""
    import tensorflow as tf

    if is_legacy_keras(model):
        return tf.nest
    import keras

    # It sorts the keys of a dict as TensorFlow does, and leaves those of an OrderedDict.
    return keras.tree


def _dict_keys(tree: Any, structure: Any, count: int) -> tuple[str, ...]:
    """The keys of a dict of leaves, in the order in which it is flattened; empty for others."""
    if not isinstance(structure, dict) or len(structure) != count:
        return ()
    numbered = tree.pack_sequence_as(structure, list(range(count)))
    return unique((str(key) for key in sorted(numbered, key=numbered.get)), "key")


def shortened(error: BaseException, limit: int = 600) -> str:
    """The error's text on one line, cut."""
    text = " ".join(str(error).split())
    return text if len(text) <= limit else text[:limit] + " ..."


def export(model: Any, traced: Traced, folder: Path) -> Exported:
    """Write a traced Keras model as a SavedModel."""
    # Keras 3 variables wrap the TensorFlow ones that a SavedModel must track.
    variables = [
        getattr(v, "value", v) if "keras" in type(v).__module__ else v for v in model.variables
    ]
    # A layer's state is none of the model's variables; the function knows all that it uses.
    tracked = [variables, list(traced.function.variables)]
    with initial_states(model):
        return traced.save(folder, [*tracked, model] if is_legacy_keras(model) else tracked)

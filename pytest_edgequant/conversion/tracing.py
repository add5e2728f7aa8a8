"""From a Keras model object to a SavedModel with the batch pinned at 1.

Runs where TensorFlow already is: in the child for files, in the test process for live models.
Works with Keras 3 and with tf_keras objects.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

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


def is_keras_model(model: object) -> bool:
    """Whether the object is a Keras 3 or tf_keras model, without importing either."""
    return any(
        cls.__name__ == "Model" and cls.__module__.split(".")[0] in ("keras", "tf_keras")
        for cls in type(model).__mro__
    )


def is_legacy_keras(model: object) -> bool:
    """Whether the model is one of tf_keras (Keras 2)."""
    return any(cls.__module__.split(".")[0] == "tf_keras" for cls in type(model).__mro__)


def flatten_layers(model: Any) -> list[Any]:
    """Every layer of the model, nested ones and those inside wrappers included."""
    flatten = getattr(model, "_flatten_layers", None)
    if flatten is not None:
        return list(flatten())
    return [m for m in model.submodules if hasattr(m, "call")]


def settings(model: Any) -> str:
    """What the attributes of the model and its layers are set to: values and functions.

    Reading them costs less than a trace, which a change of one can make another.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, tuple | list):
            return [plain(item) for item in value]
        if isinstance(value, bool | int | float | str | bytes | type(None)):
            return value
        if isinstance(value, np.ndarray) and value.dtype != object:
            return hashlib.sha256(value.tobytes()).hexdigest()
        # A function is known by being this one; of other objects their kind must do.
        return id(value) if inspect.isroutine(value) else type(value).__qualname__

    # What Keras notes of a call, a trace included, is no setting.
    owners = [model, *flatten_layers(model)]
    found = [
        sorted((name, plain(v)) for name, v in vars(owner).items() if name != "_called")
        for owner in owners
    ]
    return repr(found)


def has_recurrent_layers(model: Any) -> bool:
    """Whether an LSTM, GRU or the like is in it, which can be unrolled."""
    return any(hasattr(layer, "unroll") for layer in flatten_layers(model))


@contextlib.contextmanager
def _unrolled(model: Any, active: bool) -> Iterator[None]:
    """The model's recurrent layers unrolled while it is traced, then as they were."""
    layers = [layer for layer in flatten_layers(model) if hasattr(layer, "unroll")] * active
    changes = [(layer, "unroll", layer.unroll, True) for layer in layers] + [
        # tf_keras decides for its fused operator when the layer is made.
        (layer, "_could_use_gpu_kernel", layer._could_use_gpu_kernel, False)
        for layer in layers
        if hasattr(layer, "_could_use_gpu_kernel")
    ]
    try:
        for layer, name, _, value in changes:
            setattr(layer, name, value)
        yield
    finally:
        for layer, name, value, _ in changes:
            setattr(layer, name, value)


def stateful_layers(model: Any) -> list[Any]:
    """The recurrent layers that keep their state from one call to the next."""
    return [
        layer
        for layer in flatten_layers(model)
        if getattr(layer, "stateful", False) is True and hasattr(layer, "states")
    ]


def stateful_layer_names(model: Any) -> tuple[str, ...]:
    """Their names."""
    return tuple(str(layer.name) for layer in stateful_layers(model))


def _check_states(model: Any, where: str) -> None:
    """Refuse states of several samples at a time: what is made takes one."""
    for layer in stateful_layers(model):
        states = [state for state in layer.states or () if state is not None]
        batch = next((int(s.shape[0]) for s in states if s.shape[0] not in (None, 1)), 1)
        if batch != 1:
            raise ConversionError(
                f"{where}: the layer {layer.name!r} ({type(layer).__name__}) keeps the state of "
                f"{batch} samples at a time (stateful=True), and a device gives the model one. "
                "Build the model again with a batch of 1 (batch_shape=(1, ...) of its Input) and "
                "load the same weights (set_weights(model.get_weights())), or with stateful=False"
            )


@contextlib.contextmanager
def initial_states(model: Any) -> Iterator[None]:
    """The states of the model's recurrent layers at zero, then as they were.

    What is exported begins with the states that it has then, whatever the model has seen before.
    """
    states = [s for layer in stateful_layers(model) for s in layer.states or () if s is not None]
    before = [state.numpy().copy() for state in states]
    try:
        for state, value in zip(states, before, strict=True):
            state.assign(np.zeros_like(value))
        yield
    finally:
        for state, value in zip(states, before, strict=True):
            state.assign(value)


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

    _check_states(model, where)
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

    with _unrolled(model, unrolled):
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


def fingerprint(traced: Traced) -> str:
    """SHA-256 of what the function computes: its graph without names, and the captured values.

    Stable over processes: layer names such as `dense_3`, which depend on what was built before, do
    not count; the code of custom layers does, since it is in the graph.
    """
    graph = traced.function.graph.as_graph_def()
    total = hashlib.sha256()
    library = {f.signature.name: f for f in graph.library.function}
    seen: dict[str, int] = {}

    def add_nodes(nodes: Any, arguments: Sequence[str] = ()) -> Callable[[str], str]:
        order: dict[str, Any] = {name: f"argument {i}" for i, name in enumerate(arguments)}
        order.update((node.name, i) for i, node in enumerate(nodes))

        def canonical(name: str) -> str:
            prefix, name = ("^", name[1:]) if name.startswith("^") else ("", name)
            head, *rest = name.split(":")
            return f"{prefix}{order.get(head, head)}:{':'.join(rest)}"

        for node in nodes:
            total.update(f"\n{node.op}({','.join(canonical(i) for i in node.input)})".encode())
            for key in sorted(node.attr):
                if key.startswith("_") or key in ("shared_name", "container", "config_proto"):
                    continue
                total.update(f";{key}=".encode())
                add_attribute(node.attr[key])
        return canonical

    def add_attribute(value: Any) -> None:
        if value.HasField("func"):
            add_function(value.func.name)
        elif value.HasField("list") and value.list.func:
            for function in value.list.func:
                add_function(function.name)
        else:
            total.update(value.SerializeToString(deterministic=True))

    def add_function(name: str) -> None:
        if name in seen:
            total.update(f"function {seen[name]}".encode())
            return
        seen[name] = len(seen)
        function = library.get(name)
        if function is None:
            total.update(name.encode())
            return
        arguments = [a.name for a in function.signature.input_arg]
        total.update(f"function {seen[name]} of {len(arguments)}".encode())
        canonical = add_nodes(function.node_def, arguments)
        # Which of the nodes it gives, and in which order, stands beside them.
        given = (canonical(function.ret[a.name]) for a in function.signature.output_arg)
        total.update(f"gives {','.join(given)}".encode())

    canonical = add_nodes(graph.node)
    given = (canonical(tensor.name) for tensor in traced.function.graph.outputs)
    total.update(f"gives {','.join(given)}".encode())
    variables = {id(v.handle): v for v in traced.function.graph.variables}
    for external, _ in traced.function.graph.captures:
        variable = variables.get(id(external))
        if variable is None and external.dtype == "resource":
            # A lookup table or the like, whose content can't be read: never the same twice.
            total.update(os.urandom(32))
            continue
        array = (variable if variable is not None else external).numpy()
        total.update(f"{array.dtype.str}{array.shape}".encode())
        total.update(array.tobytes())
    total.update(repr((traced.inputs, traced.output_names)).encode())
    return total.hexdigest()

"""What a model file would run, were it loaded: found by reading it, before any loader sees it.

A Keras file is a configuration and weights. The configuration may hold Python bytecode (a lambda),
or name functions and classes that its loader then imports and calls. Keras 3 refuses what is not
its own in its safe mode, in HDF5 files only since lately; tf_keras reads HDF5 files without one.
So nothing of either sort reaches a loader. A SavedModel is a graph: it runs no Python of its own,
but some of TensorFlow's operators write files or call back into the process.
"""

from __future__ import annotations

import contextlib
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_edgequant.errors import ModelError

_LARGEST = 100_000_000
"""Bytes of a configuration. The largest known ones have a few megabytes."""


@dataclass(frozen=True)
class Finding:
    """What a loader would run or import: where in the file, and why.

    `custom` tells that it is a class or function of another package, not code in the file, and
    `kind` the name of that class.
    """

    place: str
    reason: str
    custom: bool = False
    kind: str = ""

    def __str__(self) -> str:
        return f"{self.place} {self.reason}"


@dataclass(frozen=True)
class Configuration:
    """A model's configuration as it stands in a file.

    `loaded` is what Keras makes the model from; `aside` what it reads only for training; `version`
    that of the Keras which wrote it, where the file tells.
    """

    loaded: Any
    aside: Any = None
    version: str = ""


# -- reading -----------------------------------------------------------------------------------


class _Unreadable(Exception):
    """No configuration can be read: damaged, or no model at all."""


def _parsed(text: Any) -> Any:
    if hasattr(text, "decode"):
        text = text.decode("utf-8")
    if not isinstance(text, str) or len(text) > _LARGEST:
        raise _Unreadable
    return json.loads(text)


def _of_zip(path: str) -> Configuration:
    with zipfile.ZipFile(path) as archive:
        if archive.getinfo("config.json").file_size > _LARGEST:
            raise _Unreadable
        whole = _parsed(archive.read("config.json"))
        version = ""
        with contextlib.suppress(KeyError, ValueError, AttributeError, _Unreadable):
            if archive.getinfo("metadata.json").file_size <= _LARGEST:
                version = str(_parsed(archive.read("metadata.json")).get("keras_version", ""))
    if not isinstance(whole, dict):
        raise _Unreadable
    # With compile=False both loaders set this one aside; those of nested models they do not.
    aside = whole.pop("compile_config", None)
    return Configuration(whole, aside, version)


def _of_hdf5(path: str) -> Configuration:
    import h5py

    with h5py.File(path, "r") as file:
        texts = [file.attrs.get(name) for name in ("model_config", "training_config")]
        version = file.attrs.get("keras_version", "")
        version = version.decode("utf-8", "replace") if hasattr(version, "decode") else version
    aside = _parsed(texts[1]) if texts[1] is not None else None
    return Configuration(_parsed(texts[0]), aside, str(version))


def _is_hdf5(path: str) -> bool:
    try:
        import h5py
    except ImportError:  # then no loader can read it either
        return False
    return bool(h5py.is_hdf5(path))


def configurations(path: str) -> list[Configuration] | None:
    """The configurations of a Keras file, whatever its name; None where one can't be read.

    A file may be a zip archive and HDF5 at once: loaders choose by its name, so both count.
    """
    readers = ((zipfile.is_zipfile, _of_zip), (_is_hdf5, _of_hdf5))
    try:
        return [read(path) for applies, read in readers if applies(path)]
    except (_Unreadable, OSError, ValueError, KeyError, RuntimeError, NotImplementedError):
        return None
    except (RecursionError, zipfile.BadZipFile):
        return None


# -- walking -----------------------------------------------------------------------------------

Rule = Callable[[Mapping[str, Any]], str | None]


def _label(node: Mapping[str, Any]) -> str | None:
    """How to call the object that a dictionary describes, where it has a name."""
    inner = node.get("config")
    name = inner.get("name") if isinstance(inner, Mapping) else None
    name = name if isinstance(name, str) else node.get("name")
    if not isinstance(name, str) or "class_name" not in node:
        return None
    return f"{name[:60]!r} ({str(node['class_name'])[:60]})"


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list) else ()


def _dictionaries(value: Any) -> Iterator[tuple[Mapping[str, Any], tuple[str, ...]]]:
    """Every dictionary at any depth, with the labels of those around it, itself included."""
    waiting: list[tuple[Any, tuple[str, ...]]] = [(value, ())]
    while waiting:
        found, labels = waiting.pop()
        if isinstance(found, str) and found.lstrip()[:1] in ("{", "["):
            # A configuration that is text inside another one.
            with contextlib.suppress(ValueError, RecursionError):
                waiting.append((json.loads(found), labels))
        if isinstance(found, Mapping):
            label = _label(found)
            labels = (*labels, label) if label else labels
            yield found, labels
        waiting += [(child, labels) for child in _children(found)]


def _place(labels: tuple[str, ...]) -> str:
    if not labels:
        return "its configuration"
    around = [f"in {label}" for label in reversed(labels[:-1][-3:])]
    return " ".join([f"the layer {labels[-1]}", *around])


def _first(value: Any, rules: Iterable[Rule], where: str = "") -> Finding | None:
    for node, labels in _dictionaries(value):
        for rule in rules:
            reason = rule(node)
            if reason is not None:
                custom = rule is _of_another_package
                kind = str(node.get("class_name", "")) if custom else ""
                return Finding(where or _place(labels), reason, custom, kind)
    return None


# -- what no loader may see ---------------------------------------------------------------------

_KERAS = ("keras", "tf_keras")
_PACKAGES = (*_KERAS, "keras_hub", "keras_cv", "keras_nlp", "builtins")
_ROOMS = frozenset(
    "activations applications backend constraints initializers layers losses metrics ops "
    "optimizers quantizers random regularizers".split()
)
"""Modules of Keras whose functions compute; others load, save, and fetch files."""


def _bytecode(node: Mapping[str, Any]) -> str | None:
    if node.get("class_name") == "__lambda__":
        return "holds Python bytecode (a lambda)"
    if any(value == "lambda" for key, value in node.items() if str(key).endswith("_type")):
        return "holds Python bytecode (a lambda)"
    return None


def _of_another_package(node: Mapping[str, Any]) -> str | None:
    module = node.get("module")
    if "class_name" not in node or module is None:
        return None
    if isinstance(module, str) and module.split(".")[0] in _PACKAGES:
        return None
    name = node.get("registered_name") or node["class_name"]
    return f"is {str(name)[:60]!r} of the module {str(module)[:60]!r}, which is not Keras'"


def _function_that_does_not_compute(node: Mapping[str, Any]) -> str | None:
    module = node.get("module")
    if node.get("class_name") != "function" or not isinstance(module, str):
        return None
    parts = [part for part in module.split(".")[1:] if part != "src"]
    if module.split(".")[0] not in _KERAS or (parts and parts[0] in _ROOMS):
        return None
    return f"names the function {str(node.get('config'))[:60]!r} of {module[:60]!r}"


_ALWAYS: tuple[Rule, ...] = (_bytecode, _of_another_package, _function_that_does_not_compute)


# -- what tf_keras may not see ------------------------------------------------------------------

_CALLS = {
    "Lambda": "is a Lambda layer, whose function tf_keras takes from the file",
    "TFSMLayer": "loads another SavedModel",
    "ClassMethod": "calls a method of any class of TensorFlow",
}
_COMPUTING = frozenset(
    "__operators__ bitwise dtypes image linalg math nest nn quantization ragged random sets signal "
    "sparse strings".split()
)
_COMPUTING_FUNCTIONS = frozenset(
    "abs acos acosh add add_n argmax argmin argsort asin asinh atan atan2 atanh batch_to_space "
    "boolean_mask broadcast_to cast clip_by_global_norm clip_by_norm clip_by_value complex concat "
    "constant convert_to_tensor cos cosh cumsum divide einsum ensure_shape equal exp expand_dims "
    "eye fill floor gather gather_nd greater greater_equal identity less less_equal linspace "
    "logical_and logical_not logical_or matmul maximum meshgrid minimum multiply negative norm "
    "not_equal one_hot ones ones_like pad pow range rank realdiv reduce_all reduce_any reduce_max "
    "reduce_mean reduce_min reduce_prod reduce_sum repeat reshape reverse reverse_sequence roll "
    "round scatter_nd searchsorted sequence_mask shape sigmoid sign sin sinh size slice sort "
    "space_to_batch split sqrt square squeeze stack stop_gradient strided_slice subtract tan tanh "
    "tensordot tile transpose truediv truncatediv unique unstack where zeros zeros_like".split()
)
_OPERATOR_LAYERS = ("TFOpLambda", "SlicingOpLambda")


def _calls_anything(node: Mapping[str, Any]) -> str | None:
    name = str(node.get("class_name", ""))
    # "Outer.Inner" makes tf_keras look an attribute up, "Package>Name" a registered class.
    last = re.split(r"[.>]", name)[-1]
    if "." in name and "class_name" in node:
        return f"names its class by the path {name[:60]!r}"
    return _CALLS.get(last)


def _operator_that_does_not_compute(node: Mapping[str, Any]) -> str | None:
    inner = node.get("config")
    if not isinstance(inner, Mapping):
        return None
    if node.get("class_name") in _OPERATOR_LAYERS:
        symbol = str(inner.get("function"))
        parts = symbol.removeprefix("compat.v1.").split(".")
        if parts[0] in (_COMPUTING if len(parts) > 1 else _COMPUTING_FUNCTIONS):
            return None
        return f"calls TensorFlow's {symbol[:60]!r}"
    if node.get("class_name") == "TensorFlowOpLayer":
        definition = inner.get("node_def")
        name = definition.get("op") if isinstance(definition, Mapping) else None
        if not isinstance(name, str) or name in OUTSIDE or name.startswith(_OUTSIDE_PREFIXES):
            return f"runs the operator {str(name)[:60]!r} of TensorFlow"
    return None


_BY_TF_KERAS: tuple[Rule, ...] = (_calls_anything, _operator_that_does_not_compute)


def for_any_loader(found: Iterable[Configuration]) -> Finding | None:
    """What would be run or imported by Keras, in some of its versions, when it loads the model."""
    return next(filter(None, (_first(one.loaded, _ALWAYS) for one in found)), None)


def for_tf_keras(found: Sequence[Configuration]) -> Finding | None:
    """What tf_keras would run or import, the settings for training included."""
    aside = "its configuration for training"
    searches = [(one.loaded, rules, "") for rules in (_ALWAYS, _BY_TF_KERAS) for one in found]
    searches += [(one.aside, (*_ALWAYS, *_BY_TF_KERAS), aside) for one in found]
    return next(filter(None, (_first(*search) for search in searches)), None)


# -- what means something else by now -----------------------------------------------------------


def _changed(node: Mapping[str, Any]) -> str | None:
    for key, value in node.items():
        if isinstance(value, Mapping) and value.get("class_name") == "function":
            value = value.get("config")
        if value == "hard_sigmoid" and str(key).endswith("activation"):
            return "uses hard_sigmoid, which Keras 3 computes with another slope than Keras 2"
    return None


def changed_since_keras_2(found: Iterable[Configuration]) -> Finding | None:
    """What Keras 3 loads from a file of Keras 1 or 2, and computes otherwise than those did."""
    older = [one.loaded for one in found if one.version.startswith(("1.", "2."))]
    return next(filter(None, (_first(loaded, (_changed,)) for loaded in older)), None)


# -- SavedModels ---------------------------------------------------------------------------------

OUTSIDE = frozenset(
    "PyFunc PyFuncStateless EagerPyFunc WriteFile ReadFile MatchingFiles PrintV2 ImmutableConst "
    "FileSystemSetConfiguration LoadDataset LoadDatasetV2 SaveDataset SaveDatasetV2 "
    "SnapshotDataset SnapshotDatasetV2 CacheDataset CacheDatasetV2 LMDBDataset LMDBReader "
    "TextLineReader TextLineReaderV2 WholeFileReader WholeFileReaderV2 IdentityReader "
    "TFRecordReader TFRecordReaderV2 CreateSummaryFileWriter CreateSummaryDbWriter "
    "WriteSummary WriteRawProtoSummary RegisterDataset RegisterDatasetV2".split()
)
"""Operators that reach out of the graph: files, functions of the process, other machines."""
_OUTSIDE_PREFIXES = ("Rpc", "Debug", "DataService")


def _nodes(saved: Any) -> Iterator[tuple[Any, str]]:
    for meta in saved.meta_graphs:
        for node in meta.graph_def.node:
            yield node, "its graph"
        for function in meta.graph_def.library.function:
            for node in function.node_def:
                yield node, f"its function {function.signature.name[:60]!r}"


def saved_operators(folder: str) -> Iterator[tuple[str, str]]:
    """Every operator of a SavedModel with its name."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((Path(folder) / "saved_model.pb").read_bytes())
    yield from ((node.op, node.name) for node, _ in _nodes(saved))


def check_saved_model(folder: str, where: str) -> None:
    """Raise `ModelError` for a SavedModel with operators that reach out of the graph.

    Functions that initialize it run as soon as it is loaded.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString((Path(folder) / "saved_model.pb").read_bytes())
    except Exception:
        return  # damaged: the loader says how
    for node, place in _nodes(saved):
        if node.op in OUTSIDE or node.op.startswith(_OUTSIDE_PREFIXES):
            finding = Finding(place, f"holds the operator {node.op} ({node.name[:60]!r})")
            raise ModelError(
                f"{where}: {finding}, which reaches out of the model (to files, to Python or to "
                "other machines). It was not loaded: no device has that operator, and a model "
                "needs none; export it without"
            )

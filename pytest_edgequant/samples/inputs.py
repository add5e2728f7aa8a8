"""Samples as users give them, brought to one form: a list of arrays (N, ...), one an input.

Used for calibration and for evaluation alike. Arrays, lists, generators, `tf.data.Dataset`, dicts
for several inputs; whole arrays, batches, or single samples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from xxhash import xxh3_128

from pytest_edgequant.errors import DatasetError, EdgeQuantError, ModelError
from pytest_edgequant.samples.identity import Identities, holds_samples
from pytest_edgequant.samples.shapes import batch_shape, shape_hint
from pytest_edgequant.wording import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_edgequant.records import Variant

_PROBED = 64
_HASHED = 4096
"""Samples that are hashed together, so that a memory-mapped set is never held."""
Raw = Any
"""One element as the user gave it, with NumPy arrays at its leaves."""


@dataclass(frozen=True)
class InputSpec:
    """What a model takes: the shape includes the batch, which is ignored."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.shape[1:]


def input_specs(variant: Variant) -> tuple[InputSpec, ...]:
    """What a variant takes from users: real values; raises `ModelError` where that is nothing."""
    if not variant.inputs:
        raise ModelError(
            f"{variant.label}: it takes no input, so that no sample can be given to it"
        )
    return tuple(InputSpec(i.name, i.shape, i.real_dtype) for i in variant.inputs)


def to_numpy(value: Any, where: str) -> NDArray[Any]:
    """A leaf as an array; tensors of TensorFlow, PyTorch and JAX included."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{where}: can't be read as an array: {error}") from None
    if array.dtype == object:
        raise DatasetError(
            f"{where}: samples of different shapes (or not numbers at all) can't be stacked "
            "into one array; give every sample the model's input shape"
        )
    return array


def freeze(element: Any, where: str) -> Raw:
    """The element with arrays at its leaves; dicts, tuples and lists of arrays are kept."""
    if isinstance(element, Mapping):
        return {str(key): freeze(value, f"{where}[{key!r}]") for key, value in element.items()}
    if isinstance(element, tuple):
        return tuple(freeze(value, f"{where}[{i}]") for i, value in enumerate(element))
    if isinstance(element, list) and any(
        isinstance(v, np.ndarray) or hasattr(v, "__array__") for v in element
    ):
        return [freeze(value, f"{where}[{i}]") for i, value in enumerate(element)]
    return to_numpy(element, where)


def fingerprint(value: Raw) -> str:
    """SHA-256 over structure, dtypes, shapes and bytes."""
    total = hashlib.sha256()

    def add(part: Raw) -> None:
        if isinstance(part, Mapping):
            total.update(f"d{len(part)}\0".encode())
            for key in sorted(part):
                total.update(f"k{len(key)} {key}".encode())
                add(part[key])
        elif isinstance(part, tuple | list):
            # A tuple may be samples with labels, which a list is not.
            total.update(f"{type(part) is tuple}{len(part)}\0".encode())
            for item in part:
                add(item)
        elif part is None:
            total.update(b"n")
        else:
            array = np.ascontiguousarray(part)
            total.update(f"a{array.dtype.str}{array.shape}\0".encode())
            total.update(array.data if array.size else b"")

    add(value)
    return total.hexdigest()


def _expected(specs: Sequence[InputSpec]) -> str:
    return ", ".join(f"{s.name!r}: {batch_shape(s.sample_shape)} {s.dtype}" for s in specs)


def _one_input(value: Any, spec: InputSpec, where: str) -> NDArray[Any]:
    """One input's array as (N, ...), whether it came as a batch or as one sample."""
    array = to_numpy(value, where)
    if array.shape == spec.sample_shape and array.ndim == len(spec.sample_shape):
        array = array[np.newaxis]
    if array.shape[1:] != spec.sample_shape:
        raise DatasetError(
            f"{where}: the model's input {spec.name!r} takes samples of shape {spec.sample_shape}, "
            f"got an array of shape {array.shape}{shape_hint(array.shape, spec.sample_shape)}"
        )
    if array.dtype.kind not in "biuf":
        raise DatasetError(
            f"{where}: the model's input {spec.name!r} takes {spec.dtype}, got {array.dtype}"
        )
    if spec.dtype.kind in "iu" and array.dtype.kind == "f" and np.any(array != np.rint(array)):
        raise DatasetError(
            f"{where}: the model's input {spec.name!r} takes whole numbers ({spec.dtype}), "
            f"got fractions in {array.dtype}"
        )
    return array


def _swapped(x: Sequence[Any], specs: Sequence[InputSpec]) -> str:
    """What to say of a tuple whose arrays would fit the inputs in another order."""
    given = sorted(np.shape(value)[1:] for value in x if hasattr(value, "shape"))
    if given != sorted(s.sample_shape for s in specs):
        return ""
    names = ", ".join(repr(s.name) for s in specs)
    return f"; the arrays fit in another order than {names}: give a dict by input name"


def as_inputs(x: Any, specs: Sequence[InputSpec], where: str) -> list[NDArray[Any]]:
    """Samples `x` as one array (N, ...) for each input, in the order of `specs`.

    Raises `DatasetError` that names the place, the input and the shape that was expected.
    """
    if isinstance(x, Mapping):
        missing = [s.name for s in specs if s.name not in x]
        if missing:
            raise DatasetError(
                f"{where}: no samples for the input {missing[0]!r}; got the keys "
                f"{sorted(map(str, x))}, the model takes {_expected(specs)}"
            )
        unknown = [str(k) for k in x if k not in {s.name for s in specs}]
        if unknown:
            raise DatasetError(
                f"{where}: the model has no input {unknown[0]!r}; it takes {_expected(specs)}"
            )
        parts = [_one_input(x[s.name], s, where) for s in specs]
    elif len(specs) == 1:
        if isinstance(x, tuple | list) and len(x) == 1:
            x = x[0]
        parts = [_one_input(x, specs[0], where)]
    else:
        if not isinstance(x, tuple | list) or len(x) != len(specs):
            raise DatasetError(
                f"{where}: the model has {counted(len(specs), 'input')} ({_expected(specs)}); give "
                "a dict by input name or a tuple in this order"
            )
        try:
            parts = [_one_input(value, s, where) for value, s in zip(x, specs, strict=True)]
        except DatasetError as error:
            raise DatasetError(f"{error}{_swapped(x, specs)}") from None
    counts = {len(part) for part in parts}
    if len(counts) > 1:
        raise DatasetError(
            f"{where}: the inputs have different numbers of samples: "
            + ", ".join(f"{s.name!r}: {len(p)}" for s, p in zip(specs, parts, strict=True))
        )
    if counts == {0}:
        raise DatasetError(f"{where}: no samples; give at least one")
    return parts


def concatenate(batches: Sequence[Sequence[NDArray[Any]]]) -> list[NDArray[Any]]:
    """Batches of input lists to one list."""
    return [
        np.concatenate(parts) if len(parts) > 1 else parts[0]
        for parts in zip(*batches, strict=True)
    ]


class ContentHash:
    """The hash of a dataset's samples and labels, however they are cut into batches.

    Samples go through XXH3 (128 bits): a cryptographic hash takes as long as a small quantized
    model. It tells datasets apart that nobody has made to collide.
    """

    def __init__(self) -> None:
        self._parts: dict[str, xxh3_128] = {}
        self._types: dict[str, str] = {}

    def update(self, x: Raw, y: Raw) -> None:
        self._add("x", x)
        self._add("y", y)

    def _add(self, path: str, part: Raw) -> None:
        if isinstance(part, Mapping):
            for key in sorted(part):
                self._add(f"{path}/{key.replace('%', '%25').replace('/', '%2F')}", part[key])
        elif isinstance(part, tuple | list):
            for position, item in enumerate(part):
                self._add(f"{path}/{position}", item)
        else:
            if path not in self._parts:
                self._parts[path] = xxh3_128(f"{part.dtype.str}{part.shape[1:]}\0".encode())
            elif part.dtype.str != self._types[path]:
                # The same bytes in another type are other numbers.
                self._parts[path].update(f"\0{part.dtype.str}\0".encode())
            self._types[path] = part.dtype.str
            if part.size:
                self._parts[path].update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)

    def digest(self) -> str:
        lines = [f"{path}\0{leaf.hexdigest()}\n" for path, leaf in sorted(self._parts.items())]
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def preprocessed(x: Raw, count: int, function: Callable[[Any], Any], place: str) -> Raw:
    """What the user's function makes of a batch; raises `DatasetError` where it fails."""
    if isinstance(x, list) and holds_samples(x, count):
        x = np.stack(x)  # a list of samples, not one of inputs
    try:
        return freeze(function(x), f"{place} after edge_preprocess")
    except EdgeQuantError:
        raise
    except Exception as error:
        raise DatasetError(
            f"{place}: edge_preprocess raised {type(error).__name__}: {error}"
        ) from error


def check_labels(samples: int, labels: int, place: str, *, batched: bool) -> None:
    """Raise `DatasetError` where samples and labels are not as many."""
    if samples == labels:
        return
    hint = "; give one-hot labels in batches, as (1, classes)" if batched and samples == 1 else ""
    raise DatasetError(
        f"{place}: {counted(samples, 'sample')} and {counted(labels, 'label')}; every sample needs "
        f"one label{hint}"
    )


@dataclass(frozen=True, eq=False)
class Dataset:
    """Evaluation samples in arrays: inputs as they came, and labels (N, ...)."""

    x: Raw
    y: NDArray[Any]
    where: str
    _found: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.y)

    @property
    def fingerprint(self) -> str:
        """The hash of all samples and labels; computed once."""
        if self.known_fingerprint is None:
            total = ContentHash()
            total.update(self.x, self.y)
            self.learn_fingerprint(total)
        assert self.known_fingerprint is not None
        return self.known_fingerprint

    @property
    def known_fingerprint(self) -> str | None:
        """The fingerprint where it was computed already."""
        return self._found[0] if self._found else None

    def learn_fingerprint(self, total: ContentHash) -> None:
        """Take the hash of someone who has read all samples and labels in their order."""
        self._found[:] = [total.digest()]

    @cached_property
    def probe(self) -> str | None:
        """The hash of a few samples, which differs only where `fingerprint` does.

        None where samples can't be picked out (lists): the fingerprint alone tells them apart.
        """
        positions = np.unique(np.linspace(0, self.count - 1, _PROBED).astype(np.int64))
        total = ContentHash()
        try:
            total.update(_picked(self.x, positions), self.y[positions])
        except TypeError:
            return None
        return f"{self.count} {total.digest()}"

    def hashes(self) -> NDArray[np.uint64] | None:
        """A hash of each sample with its label (N,); None where samples can't be told apart."""
        listed = isinstance(self.x, list) and holds_samples(self.x, self.count)
        identities = Identities()
        for start in range(0, self.count, _HASHED):
            stop = min(start + _HASHED, self.count)
            x = sliced(self.x, self.count, start, stop)
            if listed:
                x = to_numpy(x, self.where)
            identities.update(x, self.y[start:stop], stop - start)
        return identities.found()

    def inputs(self, specs: Sequence[InputSpec]) -> list[NDArray[Any]]:
        """All samples, one array (N, ...) an input; raises `DatasetError`."""
        arrays = as_inputs(self.x, specs, self.where)
        check_labels(len(arrays[0]), self.count, self.where, batched=True)
        return arrays


def sliced(x: Raw, count: int, start: int, stop: int) -> Raw:
    """Some of the samples; of lists that hold one element a sample, some of the elements."""
    if isinstance(x, Mapping):
        return {key: sliced(part, count, start, stop) for key, part in x.items()}
    if isinstance(x, list) and holds_samples(x, count):
        return x[start:stop]
    if isinstance(x, tuple | list):
        return type(x)(sliced(part, count, start, stop) for part in x)
    return x[start:stop]


def _picked(value: Raw, positions: NDArray[np.int64]) -> Raw:
    """Some of the samples; raises `TypeError` for lists, which may hold samples or inputs."""
    if isinstance(value, Mapping):
        return {key: _picked(part, positions) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_picked(part, positions) for part in value)
    if isinstance(value, list):
        raise TypeError
    return value[positions]


def is_pair(value: Any) -> bool:
    """Whether a value is (x, y), and not a list of two batches."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return False
    if isinstance(value, tuple) and not isinstance(value[0], tuple):
        return True
    return not all(_is_batch(part) for part in value)


def _is_batch(value: Any) -> bool:
    if isinstance(value, tuple):
        return len(value) == 2
    return isinstance(value, list) and len(value) == 2 and hasattr(value[0], "shape")


def load_pair(pair: Sequence[Any], where: str = "edge_dataset") -> Dataset:
    """Read (x, y). Raises `DatasetError` where it is empty or the lengths differ."""
    x = freeze(pair[0], f"{where} x")
    y = to_numpy(pair[1], f"{where} y")
    if y.ndim == 0:
        raise DatasetError(f"{where}: y must be an array of labels, got {pair[1]!r}")
    # A list may hold samples or inputs; which, only the model can tell (`Dataset.inputs`).
    leaves = [] if isinstance(x, list) else _leaves(x)
    if not all(part.ndim for part in leaves):
        raise DatasetError(f"{where}: x must be samples (N, ...), got one value of shape ()")
    lengths = {len(part) for part in leaves}
    if lengths and lengths != {len(y)}:
        raise DatasetError(
            f"{where}: {'/'.join(map(str, sorted(lengths)))} samples and "
            f"{counted(len(y), 'label')}; every sample needs one label"
        )
    if not len(y):
        raise DatasetError(f"{where}: no samples; return (x, y) with at least one sample")
    return Dataset(x, y, where)


def _leaves(value: Raw) -> list[NDArray[Any]]:
    if isinstance(value, Mapping):
        return [leaf for part in value.values() for leaf in _leaves(part)]
    if isinstance(value, tuple | list):
        return [leaf for part in value for leaf in _leaves(part)]
    return [value]

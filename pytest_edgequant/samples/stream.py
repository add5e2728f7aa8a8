"""Evaluation samples in one pass, whatever they come as, without holding more than a part.

Arrays (also `np.memmap`) are cut into parts; generators, iterables of batches, `tf.data.Dataset`,
Keras `PyDataset` and what is indexed like one are read as they come.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.errors import DatasetError, EdgeQuantError
from pytest_edgequant.samples.identity import Identities
from pytest_edgequant.samples.inputs import (
    ContentHash,
    Dataset,
    InputSpec,
    Raw,
    as_inputs,
    check_labels,
    concatenate,
    freeze,
    is_pair,
    load_pair,
    preprocessed,
    sliced,
    to_numpy,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

Preprocess = Callable[[Any], Any]
Specs = tuple[InputSpec, ...]
_PART = 4096


@dataclass(frozen=True)
class Part:
    """Some samples: the position of the first, their number, inputs by specs, labels (n, ...).

    `hashes` (n,) tell samples of a stream apart, where `Samples.identify` asks for them.
    """

    start: int
    count: int
    inputs: dict[Specs, list[NDArray[Any]]]
    y: Any
    hashes: NDArray[np.uint64] | None = None


class Samples:
    """An evaluation set that is read part by part.

    `one_shot` sets (bare generators) serve one pass only. `count` and `fingerprint` are known of
    arrays at once, of others after a pass. `identify` asks each pass to learn the hashes of single
    samples as well. `told` hears how many of a stream were read, and of how many where an earlier
    pass counted them.
    """

    identify = False
    told: Callable[[int, int | None], object] | None = None

    def __init__(
        self, dataset: Any, where: str = "edge_dataset", preprocess: Preprocess | None = None
    ) -> None:
        self.given = dataset
        self.where = where
        self.preprocess = preprocess
        self.count: int | None = None
        self._whole: Dataset | None = None
        self._fingerprint: str | None = None
        self._hashes: NDArray[np.uint64] | None = None
        dataset = self._called(dataset)
        if dataset is None:
            raise DatasetError(f"{where}: got None; return (x, y) or an iterable of (x, y) batches")
        self._source = dataset
        if is_pair(dataset):
            self._whole = load_pair(dataset, where)
            self.count = self._whole.count
        self.one_shot = self._whole is None and hasattr(dataset, "__next__") and not self._made

    @property
    def total(self) -> int | None:
        """How many samples there are in all; None where that is not known yet."""
        return self.count

    @property
    def is_array(self) -> bool:
        return self._whole is not None

    @property
    def by_name(self) -> bool | None:
        """Whether samples are given by the inputs' names; None where only reading them tells."""
        if self._whole is None or self.preprocess is not None:
            return None
        return isinstance(self._whole.x, Mapping)

    @property
    def fingerprint(self) -> str | None:
        """Hash of samples and labels, before preprocessing; None before the first whole pass."""
        if self._whole is not None:
            return self._whole.fingerprint
        return self._fingerprint

    @property
    def known_fingerprint(self) -> str | None:
        """The fingerprint where nothing has to be read for it any more."""
        return self._whole.known_fingerprint if self._whole is not None else self._fingerprint

    def hashes(self) -> NDArray[np.uint64] | None:
        """A hash of each sample with its labels (N,), before preprocessing.

        Reads what was not read with `identify` before. None where samples can't be told from each
        other in this form, or a generator is used up.
        """
        if self._hashes is None and self._whole is not None:
            self._hashes = self._whole.hashes()
        unread = self.count is None or not self.identify
        if self._hashes is None and self._whole is None and not self.one_shot and unread:
            self.identify = True
            self.scan()
        return self._hashes

    @property
    def probe(self) -> str | None:
        """What tells most arrays apart at once (`Dataset.probe`); None where nothing does."""
        return self._whole.probe if self._whole is not None else None

    def _called(self, dataset: Any) -> Any:
        """What a function gives; `_made` tells that it can be called again."""
        self._made = callable(dataset) and not isinstance(dataset, Iterable)
        if self._made and not _is_indexed(dataset):
            try:
                return dataset()
            except EdgeQuantError:
                raise
            except Exception as error:
                raise DatasetError(
                    f"{self.where}: the function that gives the samples raised "
                    f"{type(error).__name__}: {error}"
                ) from error
        return dataset

    def scan(self) -> Any:
        """All labels; reads a stream once for them, and for `count` and `fingerprint`."""
        if self._whole is not None:
            return self._whole.y
        return joined([part.y for part in self.read((), 0)])

    def taken(self, specs: Specs, positions: NDArray[np.int64]) -> list[NDArray[Any]]:
        """The samples at these positions, sorted ones, as one array (n, ...) an input."""
        found = []
        for part in self.read((specs,), _PART):
            low, high = np.searchsorted(positions, (part.start, part.start + part.count))
            if low < high:
                inside = positions[low:high] - part.start
                found.append([array[inside] for array in part.inputs[specs]])
        return concatenate(found)

    # -- reading ------------------------------------------------------------------------------

    def read(self, kinds: Sequence[Specs], size: int) -> Iterator[Part]:
        """All samples in order, in parts of at most `size` where they are arrays.

        Raises `DatasetError` for what does not fit the model or its labels, is empty, or used up.
        """
        if self._whole is not None:
            yield from self._read_whole(self._whole, kinds, size)
        else:
            yield from self._read_stream(kinds)

    def _read_whole(self, whole: Dataset, kinds: Sequence[Specs], size: int) -> Iterator[Part]:
        # Samples that are read anyway are hashed while they are in the processor's cache.
        hashed = whole.known_fingerprint is None and whole.probe is not None
        content = ContentHash()
        inputs = {specs: whole.inputs(specs) for specs in kinds if self.preprocess is None}
        for start in range(0, whole.count, size):
            stop = min(start + size, whole.count)
            y = whole.y[start:stop]
            if hashed or self.preprocess is not None:
                raw = sliced(whole.x, whole.count, start, stop)
            if hashed:
                content.update(raw, y)
            if self.preprocess is None:
                cut = {k: [array[start:stop] for array in v] for k, v in inputs.items()}
                yield Part(start, stop - start, cut, y)
            else:
                place = f"{self.where} samples {start} to {stop - 1}"
                yield self._part(raw, y, start, place, kinds, batched=False)
        if hashed:
            whole.learn_fingerprint(content)

    def _read_stream(self, kinds: Sequence[Specs]) -> Iterator[Part]:
        content, start, index = ContentHash(), 0, -1
        identities = Identities()
        form: Any = None
        for index, element in enumerate(self._elements()):
            place = f"{self.where} batch {index}"
            if not isinstance(element, tuple | list) or len(element) not in (2, 3):
                raise DatasetError(f"{place}: expected (x, y), got {type(element).__name__}")
            x = freeze(element[0], f"{place} x")
            y = _labels(element[1], f"{place} y")
            form = _form(y) if form is None else form
            if _form(y) != form:
                raise DatasetError(
                    f"{place}: labels of shape {_form(y)} a sample, in the batches before {form}; "
                    "every label needs the same shape"
                )
            content.update(x, y)
            hashes = identities.update(x, y, _length(y)) if self.identify else None
            if kinds:
                part = self._part(x, y, start, place, kinds, batched=True)
                part = dataclasses.replace(part, hashes=hashes)
            else:
                part = Part(start, _length(y), {}, y, hashes)
            start += part.count
            if self.told is not None:
                self.told(start, self.count)
            yield part
        if start == 0:
            used_up = hasattr(self._source, "__next__") and index < 0
            raise DatasetError(
                f"{self.where}: no samples"
                + (
                    ": a generator serves one evaluation only, and this one is used up; return "
                    "arrays, or a function that makes a fresh generator"
                    if used_up
                    else "; return (x, y) with at least one sample"
                )
            )
        self.count, self._fingerprint = start, content.digest()
        self._hashes = identities.found()

    def _elements(self) -> Iterator[Any]:
        """The batches as they come; what the user's code raises names the place."""
        source = self._source
        if self._made and hasattr(source, "__next__"):
            # The first pass takes what the call gave, further ones a fresh one.
            self._source = None
        if source is None:
            source = self._called(self.given)
        if isinstance(source, str | bytes | Mapping | np.ndarray):
            raise DatasetError(
                f"{self.where}: expected (x, y), got {type(source).__name__} without labels"
            )
        if _is_indexed(source):
            iterator: Iterator[Any] = (source[i] for i in range(len(source)))
        elif isinstance(source, Iterable):
            iterator = iter(source)
        else:
            raise DatasetError(
                f"{self.where}: expected (x, y), an iterable of (x, y) batches, or a function that "
                f"gives one, got {type(source).__name__}"
            )
        for index in itertools.count():
            try:
                element = next(iterator)
            except StopIteration:
                return
            except EdgeQuantError:
                raise
            except Exception as error:
                raise DatasetError(
                    f"{self.where} batch {index}: reading it raised {type(error).__name__}: {error}"
                ) from error
            yield element

    def _part(
        self, raw: Raw, y: Any, start: int, place: str, kinds: Sequence[Specs], *, batched: bool
    ) -> Part:
        if self.preprocess is not None:
            raw = preprocessed(raw, _length(y), self.preprocess, place)
            place = f"{place} (after edge_preprocess)"
        inputs = {specs: as_inputs(raw, specs, place) for specs in kinds}
        counts = {len(arrays[0]) for arrays in inputs.values()}
        for count in counts:
            check_labels(count, _length(y), place, batched=batched)
        return Part(start, _length(y), inputs, y)


class Drawn(Samples):
    """Samples that were drawn from a generator while it lasted, and are held."""

    def __init__(self, samples: Samples, kinds: Sequence[Specs], size: int) -> None:
        """Draw `size` samples, each sample with the same chance.

        Those with the smallest hashes: the same ones in any order and any batches, and a smaller
        draw is part of a larger one.
        """
        self.given = samples.given
        self.where = samples.where
        self.preprocess = None
        self.one_shot = True
        self._whole = None
        self._fingerprint = None
        samples.identify = True
        rng = np.random.default_rng(0)
        held: list[tuple[int, int, Part]] = []
        """A heap, the largest hash first; of equal ones the last sample."""
        total = 0
        for part in samples.read(kinds, size):
            # Where samples can't be told apart, their places in the stream decide.
            keys = rng.integers(1 << 63, size=part.count) if part.hashes is None else part.hashes
            for position, key in enumerate(keys.tolist()):
                rank = (-key, -(total + position))
                if len(held) == size and rank < held[0][:2]:
                    continue
                one = slice(position, position + 1)
                inputs = {k: [a[one].copy() for a in v] for k, v in part.inputs.items()}
                hashes = None if part.hashes is None else part.hashes[one]
                drawn = Part(total + position, 1, inputs, take(part.y, one), hashes)
                (heapq.heappushpop if len(held) == size else heapq.heappush)(held, (*rank, drawn))
            total += part.count
        self._parts = sorted((part for *_, part in held), key=lambda p: p.start)
        self._total = total
        self.count = len(self._parts)
        known = [part.hashes for part in self._parts if part.hashes is not None]
        self._hashes = np.concatenate(known) if len(known) == self.count else None

    @property
    def total(self) -> int:
        return self._total

    def scan(self) -> Any:
        return joined([part.y for part in self._parts])

    def read(self, kinds: Sequence[Specs], size: int) -> Iterator[Part]:
        yield from self._parts


def _is_indexed(source: Any) -> bool:
    """A Keras `PyDataset`, and what is read by index like one."""
    return (
        hasattr(type(source), "__getitem__")
        and hasattr(type(source), "__len__")
        and not hasattr(type(source), "__iter__")
    )


def _labels(y: Any, place: str) -> Any:
    if isinstance(y, Mapping):
        return {str(key): _labels(value, f"{place}[{key!r}]") for key, value in y.items()}
    array = to_numpy(y, place)
    return array[np.newaxis] if array.ndim == 0 else array


def _form(y: Any) -> Any:
    """The shape of one sample's label, or of each of its labels."""
    if isinstance(y, Mapping):
        return {key: _form(value) for key, value in y.items()}
    return y.shape[1:]


def _length(y: Any) -> int:
    return _length(next(iter(y.values()))) if isinstance(y, Mapping) else len(y)


def take(value: Any, chosen: Any) -> Any:
    """Those of (n, ...) labels, also where they come as a dict."""
    if isinstance(value, Mapping):
        return {key: take(part, chosen) for key, part in value.items()}
    return value[chosen]


def joined(parts: Sequence[Any]) -> Any:
    """Labels of several parts as one."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], Mapping):
        return {key: joined([part[key] for part in parts]) for key in parts[0]}
    return np.concatenate(parts)

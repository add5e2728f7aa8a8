"""Content-addressed store of converted models and measurements.

A key is the SHA-256 of everything that the value depends on, and of nothing else. Beside the
revision of our own code these hold:

- A converted file: the source's content (of a live model its graph and weights) with the names and
  the order of inputs and outputs; the converter's versions; calibration samples, where they come
  from (notes name it), and the processor that finds ranges with them; training data, recipe,
  libraries and TensorFlow's oneDNN switch; `dense_per_channel` where weights are quantized.
- A source's description: its content, the converter's versions.
- Outputs of a variant: the file's bytes, the runtime with its versions, the processor; which input
  is fed with which part of the samples; the samples' content, which of them are evaluated, and
  `edge_preprocess`, by which object it is and so in one run alone. They are in the file's own
  order, so that it does not matter what a variant calls them.
- How a model runs fastest: bytes, runtime, versions, processor, cores. Results don't depend on it.
- What a runtime says of a model, its arena: bytes, runtime, versions; but not that it hung or died.

A value is one or more files; the index entry with their checksums is written last and atomically,
so that a reader sees a whole entry or none. A damaged entry counts as absent, is rebuilt, and is
counted. Where a folder that could be written can't be any more (a full disk), values go on as if
they were kept, and the run says once that nothing is. Once a day what is old goes (`pruning`).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import logging
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from pytest_edgequant.errors import EdgeQuantError, SettingsError
from pytest_edgequant.pruning import prune, touch

if TYPE_CHECKING:
    from numpy.typing import NDArray

LAYOUT = "v2"
_FULL = (errno.ENOSPC, errno.EDQUOT) if hasattr(errno, "EDQUOT") else (errno.ENOSPC,)
_LOGGER = logging.getLogger("pytest_edgequant")
T = TypeVar("T")


def digest(*parts: object) -> str:
    """SHA-256 over bytes and JSON-able values, each delimited, so that no two lists collide."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, bytes):
            kind, data = b"b", part
        else:
            kind, data = b"j", json.dumps(part, sort_keys=True, separators=(",", ":")).encode()
        total.update(kind + len(data).to_bytes(8, "little"))
        total.update(data)
    return total.hexdigest()


@functools.cache
def _version(package: str) -> str | None:
    from importlib import metadata  # which takes longer to load than all of this module

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Installed versions, without importing anything; absent packages are left out."""
    found = {package: _version(package) for package in packages}
    return {package: version for package, version in found.items() if version is not None}


@dataclass
class CacheCounts:
    """What a run found: entries used, entries written, damaged entries rebuilt."""

    hits: int = 0
    writes: int = 0
    damaged: int = 0
    unkept: str = ""
    """Why something could not be kept; empty where all was."""


@dataclass(frozen=True)
class Entry:
    """A stored value: its main file, and the JSON beside it."""

    path: Path
    content: bytes
    meta: Mapping[str, Any]


@dataclass
class Cache:
    """A store in the folder `root`."""

    root: Path
    counts: CacheCounts = field(default_factory=CacheCounts)
    _spare: tempfile.TemporaryDirectory[str] | None = None

    def __post_init__(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            if error.errno in _FULL:
                self._not_kept(error)
                return
            raise SettingsError(
                f"edge_cache_dir: can't write to {str(self.root)!r} ({error.strerror}); "
                "give another folder, or --edge-no-cache"
            ) from None
        prune(self.folder)

    def _not_kept(self, error: OSError) -> None:
        """Go on without keeping; whoever reports the run says why, once."""
        if not self.counts.unkept:
            self.counts.unkept = error.strerror or type(error).__name__
            _LOGGER.warning(
                "edgequant: %s can't be written any more (%s): nothing is kept there",
                self.root,
                self.counts.unkept,
            )

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.root / LAYOUT

    def _index(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Hold this while making the value of `key`, so that several processes make it once."""
        from filelock import FileLock

        path = self._index(key).with_suffix(".lock")
        lock = FileLock(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except (OSError, NotImplementedError) as error:
            # Without it several processes may make the same value: slower, and not wrong.
            self._not_kept(error if isinstance(error, OSError) else OSError(0, "no locks here"))
            yield
            return
        try:
            yield
        finally:
            lock.release()

    def get(self, key: str, *, again: bool = False) -> Entry | None:
        """The entry, or None where there is none or it is damaged.

        `again` is for a second look under the lock: what is damaged is not counted twice.
        """
        index = self._index(key)
        try:
            text = index.read_bytes()
        except FileNotFoundError:
            return None
        except OSError:
            text = b""
        try:
            document = json.loads(text)
            path = index.with_name(document["file"])
            content = path.read_bytes()
            intact = (
                document["key"] == key
                and path.parent == index.parent
                and document["xxh3"] == _checksum(content)
                and document["meta_sha256"] == digest(document["meta"])
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            intact = False
        if not intact:
            self.counts.damaged += not again
            return None
        self.counts.hits += 1
        touch(index)
        return Entry(path, content, document["meta"])

    def value(self, key: str, read: Callable[[Entry], T], *, again: bool = False) -> T | None:
        """What `read` makes of the entry; None where there is none, or none that it can read.

        An entry may be whole and of another version: what is in it has another shape.
        """
        entry = self.get(key, again=again)
        if entry is None:
            return None
        try:
            return read(entry)
        except (
            EdgeQuantError,
            ArithmeticError,
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
        ):
            self.counts.hits -= 1
            self.counts.damaged += not again
            return None

    def put(self, key: str, content: bytes, meta: Mapping[str, Any], suffix: str) -> Entry:
        """Store a value; the last writer wins, readers never see half of it."""
        index = self._index(key)
        path = index.with_name(f"{key}{suffix}")
        document = {
            "key": key,
            "file": path.name,
            "xxh3": _checksum(content),
            "meta": dict(meta),
            "meta_sha256": digest(dict(meta)),
        }
        try:
            index.parent.mkdir(parents=True, exist_ok=True)
            _write(path, content)
            _write(index, json.dumps(document, sort_keys=True).encode())
        except OSError as error:
            self._not_kept(error)
            return Entry(self._beside(path.name, content), content, dict(meta))
        self.counts.writes += 1
        return Entry(path, content, dict(meta))

    def _beside(self, name: str, content: bytes) -> Path:
        """A file with a value that could not be kept, for this run; there may be no room at all."""
        if self._spare is None:
            with contextlib.suppress(OSError):
                self._spare = tempfile.TemporaryDirectory(
                    prefix="edgequant-", ignore_cleanup_errors=True
                )
        path = Path(self._spare.name if self._spare else self.folder) / name
        with contextlib.suppress(OSError):
            path.write_bytes(content)
        return path

    def get_arrays(self, key: str) -> list[NDArray[Any]] | None:
        """Arrays stored with `put_arrays`, in their order; they can't be written to."""
        return self.value(key, _arrays)

    def put_arrays(self, key: str, arrays: list[NDArray[Any]]) -> None:
        content = b"".join(np.ascontiguousarray(array).data for array in arrays)
        meta = {"arrays": [[array.dtype.str, list(array.shape)] for array in arrays]}
        self.put(key, content, meta, ".arrays")


def _checksum(content: bytes) -> str:
    from xxhash import xxh3_128_hexdigest

    return xxh3_128_hexdigest(content)


def _arrays(entry: Entry) -> list[NDArray[Any]]:
    arrays, start = [], 0
    for kind, shape in entry.meta["arrays"]:
        dtype, count = np.dtype(kind), math.prod(shape)
        if dtype.hasobject or count < 0:
            raise ValueError(f"an array of {kind} and {shape}")
        flat: NDArray[Any] = np.frombuffer(entry.content, dtype, count, start)
        arrays.append(flat.reshape(shape))
        start += flat.nbytes
    return arrays


def _write(path: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise

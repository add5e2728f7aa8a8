"""The file of a baseline, written by several runs: each keeps what the others measured."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_edgequant.baseline.document import (
    KIND,
    VERSION,
    Baseline,
    Entry,
    Key,
    dump_baseline,
    kept,
    load_baseline,
)
from pytest_edgequant.errors import DocumentError
from pytest_edgequant.files import read_bytes

_PATIENCE = 120.0
"""Seconds that a run waits for another one that writes the same file."""


@dataclass(frozen=True)
class Saved:
    """What became of a file: how many entries it has, and what this run did not measure.

    `others` are entries of other runs, kept or, where `pruned`, deleted. `damaged` says what was
    wrong with the file that was replaced.
    """

    entries: int
    others: int
    pruned: bool
    damaged: str = ""


def merged(before: Baseline, measured: Baseline) -> Baseline:
    """What a run measured over what there was: figures, and entries, that it did not are kept."""
    entries: dict[Key, Entry] = {
        key: _carried(entry, before.toolchain, measured.toolchain)
        for key, entry in before.entries.items()
    }
    for key, entry in measured.entries.items():
        old = entries.get(key, Entry())
        fresh = kept(entry.metrics)
        samples = {name: own for name, own in old.samples.items() if name not in fresh}
        entries[key] = Entry(
            {**old.metrics, **fresh}, {**samples, **entry.samples}, entry.fingerprint
        )
    return Baseline(entries, measured.toolchain)


def _carried(entry: Entry, then: Mapping[str, str], now: Mapping[str, str]) -> Entry:
    """An entry in a document of another toolchain: it keeps the one that it was measured with."""
    own = dict(then if entry.toolchain is None else entry.toolchain)
    return dataclasses.replace(entry, toolchain=None if own == dict(now) else own)


def save_baseline(baseline: Baseline, path: Path) -> None:
    """Write the file as it is, and its folder where there is none; raises `DocumentError`."""
    with _locked(path):
        _write(path, dump_baseline(baseline))


def save_measured(measured: Baseline, path: Path, *, prune: bool = False) -> Saved:
    """Write what a run measured, beside what it did not measure unless `prune`.

    Runs that write the same file at the same time wait for each other, and readers never see half
    of it. Raises `DocumentError` for a file that can't be written, or is something else.
    """
    if path.is_dir():
        raise DocumentError(f"{path.name}: can't be written: it is a folder")
    with _locked(path):
        damaged, before = "", Baseline()
        try:
            before = load_baseline(path) if os.path.lexists(path) else before
        except DocumentError as error:
            if not replaceable(path):
                left = "it is left as it is: remove it, or name another file"
                raise DocumentError(f"{error}; {left}") from None
            damaged = str(error)
        others = len(set(before.entries) - set(measured.entries))
        whole = measured if prune else merged(before, measured)
        _write(path, dump_baseline(whole))
    return Saved(len(whole.entries), others, prune, damaged)


def replaceable(path: Path) -> bool:
    """Whether a file that can't be read as a baseline may be written over.

    A damaged or old one may; a newer one, or a document of another kind, may not.
    """
    try:
        content = read_bytes(path)
    except OSError:
        return not path.exists()
    with contextlib.suppress(ValueError, RecursionError):
        document = json.loads(content)
        version = str(document.get("schema")) if isinstance(document, dict) else ""
        number = version.removeprefix(f"{KIND}/")
        return number.isdecimal() and len(number) < 7 and int(number) <= VERSION
    return True


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the file against other runs; without a place for locks there is none."""
    from filelock import FileLock, Timeout

    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:24]
    user = os.getuid() if hasattr(os, "getuid") else ""
    folder = Path(tempfile.gettempdir()) / f"edgequant-locks-{user}"
    lock = FileLock(folder / f"{name}.lock", timeout=_PATIENCE)
    with contextlib.ExitStack() as held:
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            held.enter_context(lock)
        except Timeout:
            raise DocumentError(f"{path.name}: can't be written: another run holds it") from None
        except OSError:
            pass
        yield


def _write(path: Path, text: str) -> None:
    """Replace the file at once, and make its folder; a link stays one."""
    path = path.resolve()
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            fresh.write_text(text, encoding="utf-8", newline="\n")
            if path.exists():
                shutil.copymode(path, fresh)
            os.replace(fresh, path)
        except OSError:
            # A folder that takes no new files, or a file that is mounted.
            fresh.unlink(missing_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise DocumentError(f"{path.name}: can't be written: {error.strerror}") from None

"""What of the cache goes: what nobody used for long, and what killed processes left."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

DAY = 24 * 3600.0
OLDEST = 90 * DAY
"""Entries that were not used for so long go."""
MOST_BYTES = 10 << 30
"""Beyond it, what was used longest ago goes first, but nothing that was used within a day."""
_MARK = "pruned"


def touch(path: Path) -> None:
    """Remember that an entry was used; once a day is enough, and a failure costs nothing."""
    with contextlib.suppress(OSError):
        if time.time() - path.stat().st_mtime > DAY:
            os.utime(path)


def prune(folder: Path) -> None:
    """Remove old entries, at most once a day; whatever can't be read or removed stays."""
    mark = folder / _MARK
    now = time.time()
    with contextlib.suppress(OSError):
        if now - mark.stat().st_mtime < DAY:
            return
    if not _folders(folder):
        return
    try:
        mark.touch()
    except OSError:
        return
    kept: list[tuple[float, int, Path]] = []
    for name, age, size in _files(folder, now):
        leftover = name.name.startswith(".tmp-") and age > DAY
        if leftover or age > OLDEST:
            _remove(name)
        elif not name.name.startswith("."):
            kept.append((age, size, name))
    _shrink(kept)


def _files(folder: Path, now: float) -> list[tuple[Path, float, int]]:
    """Every file with its age in seconds and its size; links are not followed."""
    found = []
    for part in (folder, *_folders(folder)):
        with contextlib.suppress(OSError), os.scandir(part) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.is_file(follow_symlinks=False) and entry.name != _MARK:
                        told = entry.stat(follow_symlinks=False)
                        found.append((Path(entry.path), now - told.st_mtime, told.st_size))
    return found


def _folders(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    return []


def _shrink(kept: list[tuple[float, int, Path]]) -> None:
    """Remove whole entries, the one that was used longest ago first, until few enough are left."""
    total = sum(size for _, size, _ in kept)
    entries: dict[str, list[tuple[float, int, Path]]] = {}
    for one in kept:
        entries.setdefault(one[2].stem, []).append(one)
    # An entry is as young as the youngest of its files: the index is touched where it is used.
    for files in sorted(entries.values(), key=lambda files: -min(age for age, _, _ in files)):
        if total <= MOST_BYTES or min(age for age, _, _ in files) < DAY:
            return
        for _, size, path in sorted(files, key=lambda one: one[2].suffix != ".json"):
            _remove(path)
            total -= size


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()

"""Names as people type them: matched without case, dashes, underscores and spaces."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_edgequant.errors import UnknownNameError


def fold(name: str) -> str:
    """`"Nucleo-L4R5ZI"` and `"nucleo_l4r5zi"` both give `"nucleol4r5zi"`."""
    return "".join(c for c in name.casefold() if c not in "-_ .")


def closest(name: str, known: Iterable[str], count: int = 5) -> list[str]:
    """The known names most like `name`, best first."""
    import difflib

    by_fold: dict[str, str] = {}
    for candidate in known:
        by_fold.setdefault(fold(candidate), candidate)
    matches = difflib.get_close_matches(fold(name), by_fold, n=count, cutoff=0.4)
    return [by_fold[match] for match in matches]


def unknown(kind: str, name: str, known: Iterable[str], where: str = "") -> UnknownNameError:
    """The error for a name that is not in a registry, with the closest ones."""
    known = list(known)
    near = closest(name, known)
    hint = (
        f"Did you mean {', '.join(near)}?" if near else f"Known: {', '.join(sorted(known)) or '-'}"
    )
    prefix = f"{where}: " if where else ""
    return UnknownNameError(f"{prefix}unknown {kind} {name!r}. {hint}")

"""Names as people type them: matched without case, dashes, underscores and spaces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from pytest_edgequant.errors import SettingsError, UnknownNameError
from pytest_edgequant.wording import shown

_PART = 2
"""From so many characters on, what was typed is looked for in names."""


@lru_cache(maxsize=1024)
def fold(name: str) -> str:
    """`"Nucleo-L4R5ZI"` and `"nucleo_l4r5zi"` both give `"nucleol4r5zi"`."""
    if not isinstance(name, str):
        raise SettingsError(f"expected a name, got {shown(name)}")
    return "".join(c for c in name.casefold() if c not in "-_ .")


def closest(
    name: str,
    known: Iterable[str],
    count: int = 5,
    *,
    meant: Mapping[str, str] | None = None,
    common: Sequence[str] = (),
) -> list[str]:
    """The known names most like `name`, best first.

    Names that begin with what was typed come first, then those that hold it, `common` and short
    ones before others, then those that are spelt alike. `meant` are further names, by what is shown
    for them.
    """
    import difflib

    by_fold = {fold(other): shown for other, shown in (meant or {}).items()}
    for candidate in known:
        by_fold.setdefault(fold(candidate), candidate)
    typed = fold(name)

    def order(candidate: str) -> tuple[bool, bool, int, str]:
        return (
            not candidate.startswith(typed),
            by_fold[candidate] not in common,
            len(candidate),
            candidate,
        )

    alike = difflib.get_close_matches(typed, by_fold, n=4 * count, cutoff=0.4)
    if len(typed) >= _PART:
        holding = sorted((candidate for candidate in by_fold if typed in candidate), key=order)
        alike = [*holding, *alike]
    return list(dict.fromkeys(by_fold[candidate] for candidate in alike))[:count]


def unknown(
    kind: str,
    name: str,
    known: Iterable[str],
    where: str = "",
    *,
    meant: Mapping[str, str] | None = None,
    common: Sequence[str] = (),
) -> UnknownNameError:
    """The error for a name that is not in a registry, with the closest ones (see `closest`)."""
    known = list(known)
    near = closest(name, known, meant=meant, common=common)
    hint = (
        f"Did you mean {', '.join(near)}?" if near else f"Known: {', '.join(sorted(known)) or '-'}"
    )
    prefix = f"{where}: " if where else ""
    return UnknownNameError(f"{prefix}unknown {kind} {shown(name)}. {hint}")

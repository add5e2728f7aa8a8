"""The command that accepts what got worse, as the user can type it.

It is this run's own, without what chose fewer tests or stopped it early: a baseline is written by
runs that come to their end.
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterable, Iterator, Sequence

_WITH_VALUE = frozenset(
    {
        *("--edge-baseline", "--edge-save-baseline", "--edge-report", "--edge-cache-dir"),
        *("-k", "--deselect", "--maxfail", "--lfnf", "--last-failed-no-failures"),
    }
)
"""Options that are not repeated, with the value behind them."""
_ALONE = frozenset(
    {
        *("--edge-baseline-optional", "--edge-baseline-prune", "-x", "--exitfirst"),
        *("--lf", "--last-failed", "--ff", "--failed-first", "--nf", "--new-first"),
        *("--sw", "--stepwise", "--sw-skip", "--stepwise-skip", "--sw-reset", "--stepwise-reset"),
    }
)
_SHORT_WITH_VALUE = "kmcoprWn"
"""Letters of pytest and its usual plugins behind which a value stands."""


def repeated(arguments: Iterable[str]) -> list[str]:
    """The arguments that a run which writes a baseline is given as well."""
    kept: list[str] = []
    left = iter(arguments)
    for argument in left:
        name, has_value, _ = argument.partition("=")
        if name in _ALONE and not has_value:
            continue
        if name in _WITH_VALUE:
            if not has_value:
                next(left, None)
        elif argument == "--":
            return [*kept, argument, *left]
        elif _is_short(argument):
            kept += _short(argument, left)
        else:
            kept.append(argument)
    return kept


def _short(argument: str, left: Iterator[str]) -> list[str]:
    """What is repeated of options of one letter that are written together, such as -xvk NAME."""
    flags = _flags(argument)
    rest = argument[1 + len(flags) :]
    value = list(itertools.islice(left, 1)) if len(rest) == 1 else []
    if rest.startswith("k"):
        rest, value = "", []
    kept = flags.replace("x", "") + rest
    return [f"-{kept}", *value] if kept else []


def stops_early(arguments: Iterable[str]) -> bool:
    """Whether arguments, such as an ini file's addopts, end a run at its first failures."""
    return any(
        argument.partition("=")[0] in ("--maxfail", "--exitfirst")
        or (_is_short(argument) and "x" in _flags(argument))
        for argument in arguments
    )


def _is_short(argument: str) -> bool:
    return argument.startswith("-") and not argument.startswith("--") and len(argument) > 1


def _flags(argument: str) -> str:
    """The letters of an argument that have no value."""
    return "".join(itertools.takewhile(lambda c: c not in _SHORT_WITH_VALUE, argument[1:]))


def command(
    arguments: Sequence[str], defaults: Sequence[str], path: str, more: Sequence[str] = ()
) -> str:
    """The command of a run with these arguments that writes the baseline `path`.

    `defaults` are arguments that every run has, of an ini file or the environment, `more` those
    that this one needs.
    """
    kept = repeated(arguments)
    end = kept.index("--") if "--" in kept else len(kept)
    own = [*(["--maxfail=0"] if stops_early(defaults) else []), *more]
    own.append(f"--edge-save-baseline={path}")
    return shlex.join(["pytest", *kept[:end], *own, *kept[end:]])

"""Names of figures as users write them in rules: which are known, and which are misspelt.

A metric of the user's own has a name that only a run knows. So a name that is not known is refused
at once where it is a known one misspelt; any other has to be a figure's of the run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pytest_edgequant.errors import UnknownNameError
from pytest_edgequant.names import fold, unknown

ALIASES: Mapping[str, str] = {
    "size": "size_bytes",
    "arena": "arena_bytes",
    "latency": "latency_ms",
    "runtime_code": "runtime_code_bytes",
    "flash_left": "flash_left_bytes",
}
FIGURES = (
    *("size_bytes", "arena_bytes", "latency_ms", "runtime_code_bytes", "flash_left_bytes"),
    *("accuracy_drop", "worst_class_drop", "agreement", "output_cosine", "output_sqnr"),
    *("parity_max_steps", "parity_changed", "calibration_worst_drop"),
    *("device_arena_bytes", "energy_mj", "speedup", "host_latency_ms"),
)
"""What is measured beside task metrics."""
TASK = "task"
"""The rule of task metrics that have none of their own."""
_LEAST = 4
_LEAST_OF_A_METRIC = 5
"""Letters of a name to tell a misspelt one by: `mape` is a metric, and not a misspelt `mae`."""
_LONG = 8


def own_name(name: str) -> str | None:
    """The name under which a run records what a user calls `name`; None where it is not known."""
    from pytest_edgequant.measure.metrics import known_name

    folded = fold(name)
    for alias, figure in ALIASES.items():
        if fold(alias) == folded:
            return figure
    return next((figure for figure in FIGURES if fold(figure) == folded), known_name(name))


def check_name(name: str, place: str, others: Collection[str] = ()) -> str:
    """The name under which a run records it; as it stands where it may be the user's own metric.

    `others` are further keys, and names that were measured before. Raises `UnknownNameError` for a
    known name misspelt.
    """
    if name in others:
        return name
    found = own_name(name)
    if found is not None:
        return found
    if any(_misspelt(name, known) for known in suggestions(others)):
        raise not_known(name, place, others)
    return name


def not_known(name: str, place: str, others: Collection[str] = ()) -> UnknownNameError:
    """The error for a name that no figure has, with the closest ones."""
    return unknown("metric", name, suggestions(others), place)


def suggestions(others: Collection[str] = ()) -> list[str]:
    """All names that are known, as users write them."""
    from pytest_edgequant.measure.metrics import METRIC_NAMES

    return list(dict.fromkeys([*METRIC_NAMES, *ALIASES, *FIGURES, *others]))


def _misspelt(name: str, known: str) -> bool:
    """Whether a name is a known one with a letter or two wrong, and hardly another word."""
    first, second = fold(name), fold(known)
    shorter, longer = sorted((first, second), key=len)
    own = known not in ALIASES and known not in FIGURES and known != TASK
    if len(second) < (_LEAST_OF_A_METRIC if own else _LEAST) or _digits(first) != _digits(second):
        return False  # top_k and macro_f2 are names of their own
    if len(longer) - len(shorter) > 1 and shorter in longer:
        return False
    return _distance(first, second) <= (1 if len(shorter) < _LONG else 2)


def _digits(text: str) -> str:
    return "".join(c for c in text if c.isdigit())


def _distance(first: str, second: str) -> int:
    """How many letters to change, add, leave out or exchange with their neighbours."""
    before: list[int] = []
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, start=1):
        last, before, row = before, row, [i]
        for j, b in enumerate(second, start=1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == second[j - 2] and first[i - 2] == b:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]

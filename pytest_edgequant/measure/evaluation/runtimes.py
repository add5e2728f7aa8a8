"""Which runtime a variant is judged on, and on which samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.cache import versions
from pytest_edgequant.conversion.calibration import strata_of
from pytest_edgequant.errors import MeasurementUnavailable
from pytest_edgequant.names import unknown
from pytest_edgequant.records import Target, Variant

if TYPE_CHECKING:
    from numpy.typing import NDArray

TITLES = {
    "litert": "LiteRT on this host",
    "litert-reference": "LiteRT's reference kernels on this host",
    "tflm": "TFLM's interpreter on this host",
}
LEAST_PART = 100
_NO_WHEEL = (
    "the tflite-micro wheel is not installed here (there is one for Linux x86-64 only), so "
    'runtime="tflm" can\'t be had; leave runtime out to evaluate on LiteRT'
)


def check_runtime(runtime: str) -> str:
    """The runtime of that name; raises `UnknownNameError`, `MeasurementUnavailable`."""
    if not isinstance(runtime, str) or runtime not in TITLES:
        raise unknown("runtime", runtime, list(TITLES), "runtime")
    if runtime == "tflm" and not versions(["tflite-micro"]):
        raise MeasurementUnavailable(_NO_WHEEL)
    return runtime


def default_runtime(
    variant: Variant, target: Target | None, refusal: Callable[[str], str | None]
) -> str:
    """TFLM for a microcontroller, else LiteRT; the other one where that refuses the model.

    A float32 model is what others are compared with, and runs on LiteRT wherever it can.
    `refusal` gives a runtime's reason not to load the model.
    """
    wheel = bool(versions(["tflite-micro"]))
    if wheel and target is not None and target.is_microcontroller and variant.name != "float32":
        return "tflm"
    if wheel and refusal("litert") is not None and refusal("tflm") is None:
        return "tflm"
    return "litert"


def part_size(count: int, macs: int, limit: int) -> int:
    """How many of `count` samples stay under `limit` MACs, at least some to judge by."""
    return min(count, max(limit // max(macs, 1), LEAST_PART))


def stratified_part(
    y: Any,
    positions: NDArray[np.int64],
    size: int,
    hashes: NDArray[np.uint64] | None = None,
) -> NDArray[np.int64]:
    """`size` of the samples at `positions`, each class (or decile of the target) by its share.

    The first of one order, so that a part holds every smaller one. `hashes` of all samples make
    that order the samples' own: in a dataset that was shuffled or grew a little, the part is the
    same, or nearly. Gives sorted positions.
    """
    groups = strata_of(y if not isinstance(y, dict) else next(iter(y.values())))[positions]
    keys = np.random.default_rng(0).permutation(len(positions))
    if hashes is not None:
        keys = np.argsort(np.argsort(hashes[positions], kind="stable"))
    # In order of the share of its own stratum that comes before it, each stratum is spread evenly.
    order = np.lexsort((keys, groups))
    sizes = np.bincount(groups)
    ranks = np.concatenate([(np.arange(n) + 0.5) / n for n in sizes[sizes > 0]])
    chosen = order[np.lexsort((keys[order], ranks))[:size]]
    return np.sort(positions[chosen])

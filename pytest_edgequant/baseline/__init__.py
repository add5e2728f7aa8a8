"""Baselines: what an earlier run measured, saved, loaded, and compared with.

It may import `results`, `pipeline`, the crafts and the ground; it knows neither pytest nor the
assertions, whose limits (`limits`) its rules share.
"""

from pytest_edgequant.baseline.accepted import Accepted, parse_accepted
from pytest_edgequant.baseline.comparison import Comparison, accept_all, compare
from pytest_edgequant.baseline.document import (
    Baseline,
    Entry,
    dump_baseline,
    load_baseline,
    merge_baselines,
)
from pytest_edgequant.baseline.rules import Rules, parse_rules
from pytest_edgequant.baseline.store import save_baseline, save_measured
from pytest_edgequant.results.samples import Samples

__all__ = [
    "Accepted",
    "Baseline",
    "Comparison",
    "Entry",
    "Rules",
    "Samples",
    "accept_all",
    "compare",
    "dump_baseline",
    "load_baseline",
    "merge_baselines",
    "parse_accepted",
    "parse_rules",
    "save_baseline",
    "save_measured",
]

"""A baseline's file, which several runs write."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import isolation_functions
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_edgequant.baseline import (
    Baseline,
    Entry,
    Samples,
    compare,
    dump_baseline,
    load_baseline,
    save_measured,
)
from pytest_edgequant.baseline.document import Key
from pytest_edgequant.baseline.store import merged
from pytest_edgequant.errors import DocumentError
from pytest_edgequant.records import Metric, Outcome

ZEBRA, ANT = ("zebra", "rpi4", "int8"), ("ant", "pico", "int16x8")


def entry(size: float | None = None, right: int | None = None) -> Entry:
    metrics, samples = {}, {}
    if size is not None:
        metrics["size_bytes"] = Metric(size, "bytes", "exact")
    if right is not None:
        metrics["accuracy"] = Metric(right / 8, "fraction", "measured")
        outcomes = np.arange(8) < right
        hashes = np.arange(8, dtype=np.uint32)
        samples["accuracy"] = Samples("d", 8, True, True, outcomes, hashes=hashes)
    return Entry(metrics, samples, f"f{size}{right}")


def saved(path: Path) -> dict[Key, dict[str, Any]]:
    found = load_baseline(path)
    return {
        key: {name: metric.value for name, metric in own.metrics.items()}
        for key, own in found.entries.items()
    }


def test_what_a_run_did_not_measure_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    save_measured(Baseline({ZEBRA: entry(10, 8), ANT: entry(20, 7)}, {"x": "1"}), path)
    found = save_measured(Baseline({ZEBRA: entry(11)}, {"x": "1"}), path)
    assert (found.entries, found.others, found.pruned) == (2, 1, False)
    assert saved(path) == {
        ZEBRA: {"size_bytes": 11, "accuracy": 1.0},
        ANT: {"size_bytes": 20, "accuracy": 7 / 8},
    }
    own = load_baseline(path).entries
    for key, right in ((ZEBRA, 8), (ANT, 7)):
        samples = own[key].samples["accuracy"]
        assert np.array_equal(samples.outcomes, np.arange(8) < right)
        assert np.array_equal(samples.hashes, np.arange(8))
    assert own[ZEBRA].fingerprint == entry(11).fingerprint


def test_pruning_deletes_what_was_not_measured(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    save_measured(Baseline({ZEBRA: entry(10, 8), ANT: entry(20, 7)}), path)
    found = save_measured(Baseline({ZEBRA: entry(11)}), path, prune=True)
    assert (found.entries, found.others, found.pruned) == (1, 1, True)
    assert saved(path) == {ZEBRA: {"size_bytes": 11}}


def test_a_figure_that_could_not_be_had_leaves_the_one_there_was(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    save_measured(Baseline({ZEBRA: entry(10)}), path)
    missing = Entry({"size_bytes": Metric.unavailable("bytes", "no wheel")}, {}, "g")
    save_measured(Baseline({ZEBRA: missing}), path)
    assert saved(path) == {ZEBRA: {"size_bytes": 10}}


def test_what_is_kept_keeps_its_toolchain(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    for key, version in ((ZEBRA, "1"), (ANT, "2")):
        save_measured(Baseline({key: entry(10)}, {"tensorflow": version}), path)
    found = load_baseline(path)
    assert found.toolchain_of(ZEBRA) == {"tensorflow": "1"}
    assert found.toolchain_of(ANT) == found.toolchain == {"tensorflow": "2"}
    after = Baseline({ZEBRA: entry(20), ANT: entry(20)}, {"tensorflow": "2"})
    messages = {key: c[0].message for key, c in compare(found, after).changes.items()}
    assert "tensorflow 1 -> 2" in messages[ZEBRA]
    assert "toolchain" not in messages[ANT]
    save_measured(Baseline({ZEBRA: entry(10)}, {"tensorflow": "2"}), path)
    assert all(own.toolchain is None for own in load_baseline(path).entries.values())


KEYS = st.sampled_from([ZEBRA, ANT, ("ant", "", "float32")])
ENTRIES = st.builds(entry, st.none() | st.integers(1, 9), st.none() | st.integers(0, 8))
BASELINES = st.builds(Baseline, st.dictionaries(KEYS, ENTRIES), st.just({"x": "1"}))


@given(BASELINES, BASELINES)
def test_saving_loses_nothing_and_is_the_same_again(before: Baseline, measured: Baseline) -> None:
    found = merged(before, measured)
    assert set(found.entries) == set(before.entries) | set(measured.entries)
    for key, own in found.entries.items():
        old, new = (side.entries.get(key, Entry()) for side in (before, measured))
        assert own.metrics == {**old.metrics, **new.metrics}
        assert set(own.samples) == set(own.metrics) & {"accuracy"}
    assert dump_baseline(merged(found, measured)) == dump_baseline(found)
    assert not any(compare(found, measured).each(Outcome.FAIL, Outcome.INCONCLUSIVE))


@pytest.mark.parametrize(
    "content, replaced",
    [
        (b"", True),
        (b"<<<<<<< HEAD", True),
        (b'{"schema": "edgequant-baseline/1", "entries": [', True),
        (b'{"schema": "edgequant-baseline/0"}', True),
        (b'{"schema": "edgequant-baseline/1"}', True),
        (b'{"schema": "edgequant-baseline/2"}', False),
        (b'{"schema": "edgequant-report/1"}', False),
        (b'{"name": "my-package"}', False),
        (b"[1, 2]", False),
    ],
)
def test_a_file_of_something_else_is_left_as_it_is(
    tmp_path: Path, content: bytes, replaced: bool
) -> None:
    path = tmp_path / "b.json"
    path.write_bytes(content)
    measured = Baseline({ZEBRA: entry(10)})
    if replaced:
        assert save_measured(measured, path).damaged
        assert saved(path) == {ZEBRA: {"size_bytes": 10}}
    else:
        with pytest.raises(DocumentError, match=r"b\.json: .*it is left as it is"):
            save_measured(measured, path)
        assert path.read_bytes() == content


def test_a_link_stays_a_link_and_a_mode_a_mode(tmp_path: Path) -> None:
    real = tmp_path / "real" / "b.json"
    save_measured(Baseline({ZEBRA: entry(10)}), real)
    real.chmod(0o640)
    link = tmp_path / "link.json"
    link.symlink_to(real)
    save_measured(Baseline({ANT: entry(10)}), link)
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert len(saved(real)) == 2
    assert [p.name for p in real.parent.iterdir()] == ["b.json"]


def test_runs_that_save_at_the_same_time_keep_each_others(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    context = multiprocessing.get_context("spawn")
    runs = [
        context.Process(target=isolation_functions.save_baselines, args=(path, target))
        for target in ("a", "b", "c")
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)
        assert run.exitcode == 0
    assert len(saved(path)) == 15
    assert json.loads(path.read_text("utf-8"))["schema"] == "edgequant-baseline/1"

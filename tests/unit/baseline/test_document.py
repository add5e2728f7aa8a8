from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_edgequant.baseline import (
    Baseline,
    Entry,
    Samples,
    dump_baseline,
    load_baseline,
    merge_baselines,
    save_baseline,
)
from pytest_edgequant.baseline.document import read_baseline
from pytest_edgequant.errors import DocumentError
from pytest_edgequant.records import Metric
from pytest_edgequant.results.documents import parse_document

OUTCOMES = np.array([True] * 90 + [False] * 10)
KEY = ("digits", "pico", "int8")


def entry(size: float = 5568) -> Entry:
    return Entry(
        {
            "size_bytes": Metric(size, "bytes", "exact (file size)"),
            "accuracy": Metric(0.9, "fraction", "measured (LiteRT)"),
            "accuracy_drop": Metric(-0.0, "fraction", "measured", -0.1, 0.1),
            "host_latency_ms": Metric(1.25, "ms", "measured"),
            "arena_bytes": Metric.unavailable("bytes", "no profile"),
        },
        {"accuracy": Samples("d1", 100, True, True, OUTCOMES)},
        "f" * 64,
    )


def baseline() -> Baseline:
    return Baseline({KEY: entry(), ("a", "", "float32"): Entry(entry().metrics)}, {"x": "1"})


def read(text: str) -> Baseline:
    document = parse_document(text.encode(), "b.json", {"edgequant-baseline": 1})
    return read_baseline(document, "b.json")


def test_what_is_written_is_read() -> None:
    found = read(dump_baseline(baseline()))
    assert list(found.entries) == [("a", "", "float32"), KEY]
    assert found.toolchain == {"x": "1"}
    own = found.entries[KEY]
    assert own.fingerprint == "f" * 64
    assert set(own.metrics) == {"size_bytes", "accuracy", "accuracy_drop"}
    assert own.metrics["size_bytes"].value == 5568
    np.testing.assert_array_equal(own.samples["accuracy"].outcomes, OUTCOMES)
    assert dump_baseline(found) == dump_baseline(baseline())


def test_equal_results_are_equal_bytes_in_any_order() -> None:
    entries = baseline().entries
    backwards = Baseline(dict(reversed(entries.items())), {"x": "1"})
    assert dump_baseline(backwards) == dump_baseline(baseline())


def test_a_figure_that_changes_is_one_line_of_the_difference() -> None:
    first = dump_baseline(baseline()).splitlines()
    second = dump_baseline(
        Baseline({**baseline().entries, KEY: entry(size=5600)}, {"x": "1"})
    ).splitlines()
    different = [pair for pair in zip(first, second, strict=True) if pair[0] != pair[1]]
    assert len(different) == 1
    assert "5600" in different[0][1]


def test_saving_makes_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "b.json"
    save_baseline(baseline(), path)
    assert dump_baseline(load_baseline(path)) == path.read_text("utf-8")
    assert b"\r" not in path.read_bytes()


def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=f"{tmp_path.name}: can't be written"):
        save_baseline(baseline(), tmp_path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"none\.json: there is no such file"):
        load_baseline(tmp_path / "none.json")
    with pytest.raises(DocumentError, match="can't be read"):
        load_baseline(tmp_path)


def spoilt(**changes: Any) -> str:
    document = json.loads(dump_baseline(baseline()))
    document.update(changes)
    return json.dumps(document)


def spoilt_entry(**changes: Any) -> str:
    document = json.loads(dump_baseline(baseline()))
    document["entries"][1].update(changes)
    return json.dumps(document)


def spoilt_metric(**changes: Any) -> str:
    document = json.loads(dump_baseline(baseline()))
    document["entries"][1]["metrics"]["size_bytes"].update(changes)
    return json.dumps(document)


DAMAGED: dict[str, tuple[str, str]] = {
    "empty": ("", "damaged: not readable as JSON"),
    "text": ("hello", "damaged: not readable as JSON"),
    "a list": ("[]", 'it has no "schema"'),
    "something else": ('{"schema": "other/1"}', "not a file of the kind edgequant-baseline"),
    "no version": ('{"schema": "edgequant-baseline"}', "not a file of the kind"),
    "a strange version": ('{"schema": "edgequant-baseline/²"}', "not a file of the kind"),
    "newer": (spoilt(schema="edgequant-baseline/2"), "written by a newer pytest-edgequant"),
    "older": (spoilt(schema="edgequant-baseline/0"), "older than what is read"),
    "deep": ("[" * 100_000, "damaged: not readable as JSON"),
    "NaN": (spoilt_metric(value=77).replace("77", "NaN"), "NaN is not JSON"),
    "infinite": (spoilt_metric(value=77).replace("77", "1e999"), "value is inf"),
    "huge": (spoilt_metric(value=10**400), "size_bytes: value is an integer of about"),
    "no value": (spoilt_metric(value=None), "digits/int8 on pico: size_bytes: value is None"),
    "a text value": (spoilt_metric(value="5 kB"), "size_bytes: value is '5 kB'"),
    "a true value": (spoilt_metric(value=True), "size_bytes: value is True"),
    "no entries": (spoilt(entries=None), "entries is None"),
    "an entry that is none": (spoilt(entries=[3]), "entry 0 is 3"),
    "a model without a name": (spoilt_entry(model=None), "entry 1: model is None"),
    "metrics in a list": (spoilt_entry(metrics=[]), "metrics is"),
    "no samples": (spoilt_entry(samples={"accuracy": {}}), "samples of accuracy: count"),
    "a fingerprint of another kind": (spoilt_entry(fingerprint=3), "fingerprint is 3"),
    "twice": (
        spoilt(entries=json.loads(dump_baseline(baseline()))["entries"] * 2),
        "is there twice",
    ),
    "a toolchain of numbers": (spoilt(toolchain={"x": 1}), "toolchain: x is 1"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_damaged_or_of_another_version_says_so(name: str) -> None:
    text, said = DAMAGED[name]
    with pytest.raises(DocumentError) as caught:
        read(text)
    assert str(caught.value).startswith("b.json: ")
    assert said in str(caught.value)
    assert len(str(caught.value)) < 300


@given(st.data())
def test_no_damage_is_anything_but_an_error(data: st.DataObject) -> None:
    content = bytearray(dump_baseline(baseline()).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(len(content) // 2, len(content))) :]
    try:
        document = parse_document(bytes(content), "b.json", {"edgequant-baseline": 1})
        assert isinstance(read_baseline(document, "b.json"), Baseline)
    except DocumentError:
        pass


def test_hostile_names_are_kept_as_they_are() -> None:
    key = ('"}, \n<script>', "../..", "∞\x00")
    found = read(dump_baseline(Baseline({key: entry()})))
    assert list(found.entries) == [key]


def test_shards_make_one_baseline() -> None:
    entries = baseline().entries
    parts = [
        (f"{i}.json", Baseline({k: v}, {"x": "1"})) for i, (k, v) in enumerate(entries.items())
    ]
    assert dump_baseline(merge_baselines(parts)) == dump_baseline(baseline())
    assert dump_baseline(merge_baselines([*parts, *parts])) == dump_baseline(baseline())


def test_shards_that_disagree_are_named() -> None:
    with pytest.raises(DocumentError, match=r"digits/int8 on pico differs in 1\.json and 2\.json"):
        merge_baselines(
            [("1.json", Baseline({KEY: entry(1)})), ("2.json", Baseline({KEY: entry(2)}))]
        )
    with pytest.raises(DocumentError, match=r"b was made with x 2, another part with 1"):
        merge_baselines([("a", Baseline({}, {"x": "1"})), ("b", Baseline({}, {"x": "2"}))])


def on_samples(*targets: str, dataset: str = "d1", offset: int = 0) -> Baseline:
    hashes = np.arange(offset, offset + 100, dtype=np.uint32) * np.uint32(40_000_003)
    kept = Samples(dataset, 100, True, True, OUTCOMES, hashes=hashes)
    own = Entry(entry().metrics, {"accuracy": kept, "f1": kept}, "f" * 64)
    return Baseline({("digits", target, "int8"): own for target in targets}, {"x": "1"})


def test_the_samples_of_a_dataset_are_written_once() -> None:
    one, two = dump_baseline(on_samples("pico")), dump_baseline(on_samples("rpi4", "pico"))
    document = json.loads(two)
    assert list(document["datasets"]) == ["d1"]
    assert 530 < len(document["datasets"]["d1"]["samples"]) < 550
    assert one.count(document["datasets"]["d1"]["samples"]) == 1
    assert two.count(document["datasets"]["d1"]["samples"]) == 1
    for item in read(two).entries.values():
        for samples in item.samples.values():
            assert samples.hashes is not None
            assert samples.hashes.tolist() == [i * 40_000_003 % 2**32 for i in range(100)]
    assert dump_baseline(read(two)) == two


def test_datasets_of_shards_are_merged() -> None:
    parts = on_samples("pico"), on_samples("rpi4", dataset="d0", offset=7)
    found = read(dump_baseline(merge_baselines([("a", parts[0]), ("b", parts[1])])))
    for (_, target, _), item in found.entries.items():
        hashes = item.samples["accuracy"].hashes
        assert hashes is not None
        assert hashes[0] == (0 if target == "pico" else 7 * 40_000_003)


def test_a_baseline_of_before_samples_were_told_apart_is_read() -> None:
    document = json.loads(dump_baseline(on_samples("pico")))
    del document["datasets"]
    (own,) = read(json.dumps(document)).entries.values()
    assert own.samples["accuracy"].hashes is None
    np.testing.assert_array_equal(own.samples["accuracy"].outcomes, OUTCOMES)


@pytest.mark.parametrize(
    "datasets, said",
    [
        ([], "datasets is []"),
        ({"d1": 3}, "dataset 'd1': it is 3"),
        ({"d1": {}}, "dataset 'd1': expected base64, got NoneType"),
        ({"d1": {"samples": "AAA="}}, "dataset 'd1': 2 bytes of hashes"),
        ({"d1": {"samples": "AAAAAA=="}}, "samples of accuracy: 1 hashes for 100 samples"),
    ],
)
def test_damaged_datasets_are_named(datasets: Any, said: str) -> None:
    document = json.loads(dump_baseline(on_samples("pico"))) | {"datasets": datasets}
    with pytest.raises(DocumentError) as caught:
        read(json.dumps(document))
    assert said in str(caught.value)

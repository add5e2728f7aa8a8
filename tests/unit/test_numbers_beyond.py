"""Numbers that no double holds, wherever someone gives one: an error of ours names them."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pytest_edgequant as eq
from pytest_edgequant.baseline.accepted import parse_accepted
from pytest_edgequant.baseline.rules import parse_growth
from pytest_edgequant.errors import DeviceResultError, DocumentError, UnitError
from pytest_edgequant.files import NotAFileError, read_bytes
from pytest_edgequant.limits import parse_drop, parse_fraction
from pytest_edgequant.measure.latency.device import parse_result, read_results
from pytest_edgequant.results.documents import read_file
from pytest_edgequant.targets import Targets
from pytest_edgequant.toml import load_toml
from pytest_edgequant.units import parse_duration, parse_frequency, parse_size
from pytest_edgequant.wording import shown

MODEL = Path(__file__).parents[1] / "data" / "tiny_int8.tflite"
BEYOND: dict[str, Any] = {
    "400 digits": 10**400,
    "more than Python writes": 10**5000,
    "below": -(10**400),
    "a fraction": Fraction(10**400, 3),
    "infinite": float("inf"),
    "text": "9" * 400,
    "long text": "9" * 5000,
}
TAKES: dict[str, Callable[[Any], object]] = {
    "a size": parse_size,
    "a frequency": parse_frequency,
    "a duration": lambda value: parse_duration(f"{value} s" if isinstance(value, str) else value),
    "a drop": lambda value: parse_drop(value, "accuracy", True),
    "a share": lambda value: parse_fraction(value, "max_lost"),
    "a growth": lambda value: parse_growth(value, "size_bytes"),
    "a limit of size": lambda value: eq.assert_size_within(MODEL, value),
    "headroom": lambda value: eq.assert_arena_fits(MODEL, "pico", headroom=value),
    "a target": lambda value: eq.measure_arena(MODEL, value),
    "a release": lambda value: eq.measure_arena(MODEL, "pico", release=value),
    "a runtime": lambda value: eq.evaluate(MODEL, (np.zeros((1, 8, 8, 1)), [0]), runtime=value),
    "a metric": lambda value: eq.evaluate(MODEL, (np.zeros((1, 8, 8, 1)), [0]), metric=value),
    "top_k": eq.top_k,
    "max_fpr": lambda value: eq.roc_auc(max_fpr=value),
    "a confidence": lambda value: eq.compare_outcomes(
        baseline=np.ones(30, bool), candidate=np.arange(30) > 2, confidence=value
    ),
    "a target's clock": lambda value: Targets(
        {"mine": {"base": "pico", "clock": {"value": value, "source": "the board"}}}, "it"
    ).get("mine"),
}


@pytest.mark.parametrize("value", BEYOND.values(), ids=BEYOND)
@pytest.mark.parametrize("take", TAKES.values(), ids=TAKES)
def test_a_number_that_no_double_holds_is_misuse_and_named(
    take: Callable[[Any], object], value: Any
) -> None:
    with pytest.raises(eq.EdgeQuantError) as caught:
        take(value)
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("value", [0.9999999999999999, 1 - 2**-53, 1e-300])
def test_a_confidence_that_no_samples_give_is_misuse(value: float) -> None:
    with pytest.raises(eq.EdgeQuantError, match="confidence"):
        eq.compare_outcomes(
            baseline=np.ones(30, bool), candidate=np.arange(30) > 2, confidence=value
        )


@pytest.mark.parametrize("target", [3, [], {}, b"pico", object()])
def test_what_is_no_target_is_misuse(target: Any) -> None:
    for ask in (eq.assert_ops_supported, eq.measure_arena, eq.estimate_latency, eq.optimize_arena):
        with pytest.raises(eq.EdgeQuantError, match="expected a target's name"):
            ask(MODEL, target)


@pytest.mark.parametrize("digits", [400, 5000])
def test_files_with_such_numbers_are_refused_by_name(digits: int) -> None:
    huge = "1" + "0" * digits
    line = f'{{"model_sha256": "{"a" * 64}", "target": "pico", "latency_us": {huge}}}'
    with pytest.raises(DeviceResultError, match=r"^results, line 1: "):
        parse_result(line, "results, line 1")
    names = dict.fromkeys(("model", "variant", "target"), "*")
    entry = {**names, "metric": "latency_ms", "limit": 10**digits, "reason": "it is"}
    entry["expires"] = "2099-01-01"
    with pytest.raises(eq.EdgeQuantError, match="limit: expected a number"):
        parse_accepted([entry], "it")
    if digits > 4300:
        with pytest.raises(eq.EdgeQuantError, match="x: not valid TOML"):
            load_toml(f"a = {huge}".encode(), "x")
    with pytest.raises(eq.EdgeQuantError, match="x: not valid TOML"):
        load_toml(b"a = " + b"[" * 100_000, "x")


def test_what_is_quoted_in_a_message_is_short() -> None:
    assert shown(10**400) == "an integer of about 401 digits"
    assert shown("x" * 500) == "'" + "x" * 79 + "..."
    assert shown(3) == "3"
    with pytest.raises(UnitError, match="an integer of about 5,001 digits"):
        parse_size(10**5000)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no pipes with names")
def test_a_pipe_that_nobody_writes_to_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "results.json"
    os.mkfifo(pipe)
    asked: list[tuple[Callable[[], object], type[Exception]]] = [
        (lambda: read_bytes(pipe), NotAFileError),
        (lambda: read_file(pipe), DocumentError),
        (lambda: read_results(pipe, Targets()), DeviceResultError),
        (lambda: eq.measure_arena(pipe, "pico"), eq.ModelError),
        (lambda: eq.convert(str(pipe), "int8"), eq.ModelError),
    ]
    for ask, kind in asked:
        found: list[BaseException] = []

        def work(ask: Callable[[], object] = ask, found: list[BaseException] = found) -> None:
            try:
                ask()
            except BaseException as error:
                found.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(20)
        assert not thread.is_alive()
        assert isinstance(found[0], kind)
        assert "a pipe, a socket or a device" in str(found[0])


def test_a_report_with_such_a_count_is_damaged() -> None:
    from pytest_edgequant.report.reading import _whole
    from pytest_edgequant.results.documents import Damaged

    document = json.loads('{"count": 1' + "0" * 400 + "}")
    with pytest.raises(Damaged, match="count is an integer of about 401 digits"):
        _whole(document, "count", "result")

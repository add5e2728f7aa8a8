from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_edgequant.baseline.accepted import covering, parse_accepted
from pytest_edgequant.baseline.known import ALIASES, FIGURES, own_name
from pytest_edgequant.baseline.rules import parse_growth, parse_rules
from pytest_edgequant.errors import SettingsError
from pytest_edgequant.measure.metrics import METRIC_NAMES
from pytest_edgequant.targets import Targets
from pytest_edgequant.toml import load_toml

KEY = ("digits", "pico", "int8")
ENTRY = {"model": "digits", "metric": "size", "reason": "wider", "expires": "2027-03-31"}


def test_what_is_not_said_has_sensible_rules() -> None:
    rules = parse_rules(None, "x")
    assert (rules.of("size_bytes", task=False).kind, rules.of("size_bytes", task=False).limit) == (
        "max_growth",
        "2%",
    )
    assert rules.of("arena_bytes", task=False).limit == "2%"
    assert rules.of("latency_ms", task=False).limit == 1.1
    assert rules.of("accuracy", task=True, share=True).limit == "1 pt"
    assert rules.of("mae", task=True).limit == "2% relative"
    assert rules.of("output_sqnr", task=False).kind is None


def test_the_readme_states_the_defaults() -> None:
    text = (Path(__file__).parents[3] / "README.md").read_text("utf-8")
    block = re.search(r"```toml\n(\[tool\.edgequant\.regression\].*?)```", text, re.DOTALL)
    assert block is not None
    table = load_toml(block[1].encode(), "README.md")["tool"]["edgequant"]["regression"]
    stated, default = parse_rules(table, "x"), parse_rules(None, "x")
    for metric, task, share in (
        ("size_bytes", False, False),
        ("arena_bytes", False, False),
        ("latency_ms", False, False),
        ("accuracy", True, True),
        ("mae", True, False),
    ):
        rules = [rules.of(metric, task=task, share=share) for rules in (stated, default)]
        first, second = ((rule.kind, rule.limit, rule.confidence) for rule in rules)
        assert first == second, metric


def test_the_users_table_wins() -> None:
    rules = parse_rules(
        {
            "size": {"max_growth": "1 KiB"},
            "arena": "5%",
            "latency": {"max-ratio": 1.5},
            "accuracy": {"max_drop": 0.002, "confidence": 0.99, "strict": True},
            "output_sqnr": {"informational": True},
        },
        "x",
    )
    assert rules.of("size_bytes", task=False).limit == "1 KiB"
    assert rules.of("arena_bytes", task=False).limit == "5%"
    assert rules.of("latency_ms", task=False).limit == 1.5
    accuracy = rules.of("accuracy", task=True, share=True)
    assert (accuracy.limit, accuracy.confidence, accuracy.strict) == (0.002, 0.99, True)
    assert rules.of("output_sqnr", task=False).informational
    assert not rules.of("mae", task=True).strict


def test_a_rule_of_all_task_metrics() -> None:
    rules = parse_rules({"task": "0.5 pt"}, "x")
    assert rules.of("accuracy", task=True, share=True).limit == "0.5 pt"
    assert rules.of("size_bytes", task=False).limit == "2%"


def test_a_rule_without_a_limit_keeps_the_default_one() -> None:
    rules = parse_rules({"accuracy": {"confidence": 0.9}, "size": {"informational": True}}, "x")
    assert rules.of("accuracy", task=True, share=True).limit == "1 pt"
    assert rules.of("accuracy", task=True, share=True).confidence == 0.9
    assert rules.of("size_bytes", task=False).limit == "2%"
    assert rules.of("size_bytes", task=False).informational


def test_flags_of_the_whole_table() -> None:
    rules = parse_rules({"strict": True, "informational": True}, "x")
    assert rules.of("accuracy", task=True).strict
    assert rules.of("size_bytes", task=False).informational
    assert parse_rules({}, "x", strict=True).of("accuracy", task=True).strict


WRONG: list[tuple[Any, str]] = [
    ("2%", "x: regression must be a table"),
    ({"size": {"max_grwth": 1}}, "unknown key 'max_grwth'. Did you mean max_growth"),
    ({"size": "100 MBfoo"}, "regression.size.max_growth: unknown unit 'MBfoo'"),
    ({"size": "64 KB"}, "could mean 1,000 or 1,024"),
    ({"size": "-5%"}, "expected a number of 0 or more"),
    ({"size": "x%"}, "can't read 'x%' as a percentage"),
    ({"size": -1}, "expected a number of 0 or more, got -1"),
    ({"size": True}, "expected a number of 0 or more, got True"),
    ({"size": {"max_drop": 1}}, "size_bytes is better when lower: limit it with max_growth"),
    ({"output_sqnr": {"max_growth": 1}}, "output_sqnr is better when higher"),
    ({"output_sqnr": {}}, "output_sqnr has no default"),
    ({"size": {"max_growth": 1, "max_ratio": 2}}, "max_growth and max_ratio; give one"),
    ({"latency": 0.5}, "expected a number of 1 or more, got 0.5"),
    ({"latency": float("nan")}, "expected a number of 1 or more"),
    ({"accuracy": "2%"}, "could mean points or a share"),
    ({"accuracy": {"confidence": 95}}, "expected a number such as 0.95, got 95"),
    ({"accuracy": {"strict": "yes"}}, "accuracy.strict: expected true or false, got 'yes'"),
    ({"strict": 1}, "regression.strict: expected true or false, got 1"),
    ({"size": 1, "size_bytes": 2}, "size_bytes has a rule already"),
    # Limits that no result can break.
    ({"accuracy": "100 pt"}, "accuracy.max_drop: '100 pt' is everything, so that it can't fail"),
    ({"accuracy": 1.0}, "accuracy.max_drop: 1.0 is everything, so that it can't fail"),
    ({"macro_f1": "100% relative"}, "'100% relative' is all of the baseline: it can't fail"),
    ({"task": "100 pt"}, "everything, so that it can't fail"),
    ({"agreement": {"max_drop": 1}}, "agreement.max_drop: 1 is everything"),
    ({"output_cosine": {"max_drop": 2}}, "2 is all that output_cosine can fall"),
    ({"accuracy": {"confidence": 1e-12}}, "accuracy.confidence: 1e-12: as good as no evidence"),
    ({"accuracy": {"confidence": 1 - 1e-12}}, "no number of samples at hand"),
    ({"accuracy": float("inf")}, "expected a number of 0 or more"),
    ({"size": "inf%"}, "expected a number of 0 or more"),
    ({"size": float("inf")}, "expected a number of 0 or more"),
    ({"latency": float("inf")}, "expected a number of 1 or more"),
]


def test_an_error_may_be_allowed_to_double() -> None:
    rule = parse_rules({"mae": "150% relative"}, "x").of("mae", task=True)
    assert (rule.kind, rule.limit) == ("max_drop", "150% relative")


@pytest.mark.parametrize("table, said", WRONG)
def test_a_wrong_rule_names_its_key(table: Any, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_rules(table, "x")
    assert said in str(caught.value)
    assert str(caught.value).startswith("x: regression") or "must be a table" in said


KNOWN = [*METRIC_NAMES, *ALIASES, *FIGURES, "task", "strict", "informational"]


@given(st.sampled_from(KNOWN), st.integers(0, 30), st.sampled_from("abqz"), st.integers(0, 2))
def test_one_misspelt_letter_never_passes(name: str, place: int, letter: str, kind: int) -> None:
    """Before the tests where it can be told, else when no figure of the run has the name."""
    place %= len(name)
    middle = [letter, letter + name[place], ""][kind]
    wrong = name[:place] + middle + name[place + 1 :]
    measured = {own_name(known) or known for known in KNOWN[:-3]}
    if not wrong or wrong in ("task", "strict") or own_name(wrong) is not None:
        return
    errors: list[SettingsError] = []
    try:
        rules = parse_rules({wrong: {"max_drop": 0.01}}, "x")
        errors += rules.unmet(measured, ["accuracy"], measured)[1]
    except SettingsError as error:
        errors.append(error)
    assert [f"unknown metric {wrong!r}" in str(error) for error in errors] == [True]


@pytest.mark.parametrize(
    "name", ["mape", "map", "f2", "macro_f2", "rmsle", "my_accuracy", "dice", "prauc", "top_3"]
)
def test_names_of_other_metrics_are_no_misspelt_ones(name: str) -> None:
    rules = parse_rules({name: {"max_drop": 0.01}}, "x")
    assert rules.of(name, task=True).limit == 0.01
    assert rules.unmet([name], [name]) == ([], [])


@pytest.mark.parametrize(
    "name, metric",
    [
        ("top-1", "accuracy"),
        ("top-5", "top_5"),
        ("Top 5", "top_5"),
        ("balanced_accuracy", "macro_recall"),
        ("AUC", "roc_auc"),
        ("roc_auc_0.1", "roc_auc_0.1"),
        ("Flash-Left", "flash_left_bytes"),
        ("output-sqnr", "output_sqnr"),
    ],
)
def test_a_rule_is_found_by_every_name_of_its_metric(name: str, metric: str) -> None:
    rules = parse_rules({name: {"max_drop": 0.01}}, "x")
    assert rules.of(metric, task=True).limit == 0.01
    entry = {**ENTRY, "metric": name}
    assert parse_accepted([entry], "x")[0].covers(KEY, metric)


def test_a_metric_of_ones_own_may_be_called_as_an_alias_is() -> None:
    rules = parse_rules({"auc": {"max_drop": 0.02}}, "x")
    assert rules.of("auc", task=True).limit == rules.of("roc_auc", task=True).limit == 0.02
    assert rules.unmet(["auc"], ["auc"]) == ([], [])


def test_a_name_of_the_baseline_is_known() -> None:
    with pytest.raises(SettingsError, match="Did you mean accuracy"):
        parse_rules({"accuracyy": 0.1}, "x")
    rules = parse_rules({"accuracyy": 0.1}, "x", measured=["accuracyy"])
    unmet, errors = rules.unmet(["mae"], ["mae"], ["accuracyy"])
    assert [rule.key for rule in unmet] == ["accuracyy"]
    assert not errors


def test_rules_that_met_nothing_are_told() -> None:
    rules = parse_rules({"latency": 1.2, "size": "2%", "task": "1 pt", "accuracy": "1 pt"}, "x")
    unmet, errors = rules.unmet(["size_bytes", "accuracy"], ["accuracy"])
    assert [rule.place for rule in unmet] == ["x: regression.latency", "x: regression.task"]
    assert not errors


def test_acceptances_are_of_variants_and_targets_that_there_are() -> None:
    targets = Targets({"my-board": {"base": "pico"}}, "x")
    entries = [
        {**ENTRY, "variant": "INT8", "target": "Raspberry-Pi-Pico"},
        {**ENTRY, "variant": "int*", "target": "my-b*"},
    ]
    first, second = parse_accepted(entries, "x", targets=targets)
    assert (first.variant, first.target) == ("int8", "pico")
    assert second.covers(("digits", "my-board", "int16x8"), "size_bytes")
    for wrong, said in (
        ({"variant": "imt8"}, "unknown variant 'imt8'. Did you mean"),
        ({"variant": "imt*"}, "unknown variant 'imt*'"),
        ({"target": "my-bord"}, "unknown target 'my-bord'. Did you mean my-board"),
        ({"target": "my-c*"}, "unknown target 'my-c*'"),
        ({"metric": "sise"}, "unknown metric 'sise'. Did you mean size"),
    ):
        with pytest.raises(SettingsError) as caught:
            parse_accepted([ENTRY, {**ENTRY, **wrong}], "x", targets=targets)
        assert "x: accepted (entry 2)." in str(caught.value)
        assert said in str(caught.value)


@pytest.mark.parametrize(
    "value, growth",
    [("1 KiB", (1024, False)), (512, (512, False)), ("2%", (0.02, True)), ("150%", (1.5, True))],
)
def test_growth_is_bytes_or_a_share(value: Any, growth: tuple[float, bool]) -> None:
    assert parse_growth(value, "x") == growth


# -- accepted regressions -----------------------------------------------------------------------


def day(text: str) -> datetime.date:
    return datetime.date.fromisoformat(text)


def test_an_entry_holds_to_the_end_of_its_last_day() -> None:
    entries = parse_accepted([ENTRY], "x")
    holding, over = covering(entries, KEY, "size_bytes", day("2027-03-31"))
    assert (holding, over) == (entries[0], None)
    holding, over = covering(entries, KEY, "size_bytes", day("2027-04-01"))
    assert (holding, over) == (None, entries[0])


@pytest.mark.parametrize(
    "change, covers",
    [
        ({}, True),
        ({"variant": "int*"}, True),
        ({"variant": "float32"}, False),
        ({"target": "pico"}, True),
        ({"target": "rpi4"}, False),
        ({"model": "dig*"}, True),
        ({"model": "other"}, False),
        ({"metric": "size_bytes"}, True),
        ({"metric": "arena"}, False),
    ],
)
def test_what_an_entry_is_about(change: dict[str, str], covers: bool) -> None:
    (entry,) = parse_accepted([ENTRY | change], "x")
    assert entry.covers(KEY, "size_bytes") is covers


def test_a_limit_is_the_worst_that_is_accepted() -> None:
    (entry,) = parse_accepted([ENTRY | {"limit": "10 KiB"}], "x")
    assert entry.reaches(10_240, higher_is_better=False)
    assert not entry.reaches(10_241, higher_is_better=False)
    (entry,) = parse_accepted([ENTRY | {"metric": "accuracy", "limit": 0.9}], "x")
    assert entry.reaches(0.9, higher_is_better=True)
    assert not entry.reaches(0.89, higher_is_better=True)


def test_of_several_entries_the_one_that_holds_longest_counts() -> None:
    later = ENTRY | {"expires": datetime.date(2028, 1, 1)}
    entries = parse_accepted([later, ENTRY], "x")
    assert covering(entries, KEY, "size_bytes", day("2027-01-01"))[0] is entries[0]
    holding, over = covering(entries, KEY, "size_bytes", day("2027-06-01"))
    assert (holding, over) == (entries[0], entries[1])


@pytest.mark.parametrize(
    "entries, said",
    [
        ({"model": "x"}, "must be a list of tables"),
        ("x", "must be a list of tables"),
        (["x"], "entry 1): expected a table, got 'x'"),
        ([{**ENTRY, "until": 1}], "unknown key 'until'"),
        ([{k: v for k, v in ENTRY.items() if k != "reason"}], "entry 1): reason is missing"),
        ([ENTRY, {k: v for k, v in ENTRY.items() if k != "expires"}], "entry 2): expires is miss"),
        ([ENTRY | {"reason": " "}], "entry 1).reason: expected text"),
        ([ENTRY | {"expires": "soon"}], "entry 1).expires: expected a date such as 2027-03-31"),
        ([ENTRY | {"expires": 2027}], "expected a date"),
        ([ENTRY | {"limit": "64 KB"}], "could mean 1,000 or 1,024"),
        ([ENTRY | {"metric": "accuracy", "limit": "90%"}], "entry 1).limit: expected a number"),
    ],
)
def test_a_wrong_entry_names_itself(entries: Any, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_accepted(entries, "pyproject.toml")
    assert said in str(caught.value)
    assert "pyproject.toml" in str(caught.value)

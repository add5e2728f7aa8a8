# Over 400 lines: every rule is held on the same two runs, whose helpers fill the beginning.

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from pytest_edgequant.baseline import (
    Baseline,
    Comparison,
    Entry,
    Samples,
    accept_all,
    compare,
    parse_accepted,
    parse_rules,
)
from pytest_edgequant.measure.paired import compare_outcomes
from pytest_edgequant.records import Change, Metric, Outcome
from pytest_edgequant.report.baseline import comparison_lines, differs, failed

KEY = ("digits", "pico", "int8")
TODAY = datetime.date(2027, 1, 1)


def outcomes(right: int, count: int, *, first: bool = True) -> np.ndarray[Any, Any]:
    """`right` of `count`, the first ones, or the last ones."""
    found = np.zeros(count, bool)
    found[:right] = True
    return found if first else found[::-1].copy()


def entry(
    metrics: Mapping[str, float] | None = None,
    right: np.ndarray[Any, Any] | None = None,
    *,
    values: Any = None,
    metric: str = "accuracy",
    dataset: str = "d",
    fingerprint: str | None = "f",
) -> Entry:
    units = {"size_bytes": "bytes", "arena_bytes": "bytes", "latency_ms": "ms"}
    found = {
        name: Metric(value, units.get(name, ""), "measured")
        for name, value in (metrics or {}).items()
    }
    samples = {}
    if right is not None:
        found[metric] = Metric(float(right.mean()), "fraction", "measured")
        samples[metric] = Samples(dataset, len(right), True, True, right)
    if values is not None:
        array = np.asarray(values, np.float32)
        found[metric] = Metric(float(array.mean()), "", "measured")
        samples[metric] = Samples(dataset, len(array), False, False, None, array)
    return Entry(found, samples, fingerprint)


def between(before: Entry, after: Entry, rules: Any = None, accepted: Any = None) -> Comparison:
    return compare(
        Baseline({KEY: before}),
        Baseline({KEY: after}),
        parse_rules(rules, "x"),
        parse_accepted(accepted, "x"),
        TODAY,
    )


def only(found: Comparison, metric: str) -> Change:
    (change,) = [change for change in found.changes[KEY] if change.metric == metric]
    return change


# -- figures that are computed ------------------------------------------------------------------


@pytest.mark.parametrize(
    "after, rule, verdict",
    [
        (10_000, None, Outcome.PASS),
        (10_200, None, Outcome.PASS),
        (10_201, None, Outcome.FAIL),
        (9_000, None, Outcome.PASS),
        (11_024, "1 KiB", Outcome.PASS),
        (11_025, "1 KiB", Outcome.FAIL),
        (10_001, 0, Outcome.FAIL),
        (10_001, "0%", Outcome.FAIL),
        (10_001, {"max_growth": 0, "informational": True}, Outcome.NOT_APPLICABLE),
        (20_000, {"max_ratio": 2}, Outcome.PASS),
    ],
)
def test_growth(after: int, rule: Any, verdict: Outcome) -> None:
    rules = {"size": rule} if rule is not None else None
    change = only(
        between(entry({"size_bytes": 10_000}), entry({"size_bytes": after}), rules), "size_bytes"
    )
    assert change.verdict is verdict
    assert (change.before, change.after) == (10_000, after)


def test_growth_says_how_much_and_what_is_allowed() -> None:
    change = only(
        between(entry({"size_bytes": 10_000}), entry({"size_bytes": 12_000})), "size_bytes"
    )
    assert change.message.startswith(
        "digits/int8 on pico: size_bytes 10,000 B -> 12,000 B (+2,000 B, +20.00%); beyond the "
        "limit of 2% more"
    )


def test_a_figure_of_nothing_may_not_grow_by_a_share() -> None:
    found = between(entry({"arena_bytes": 0}), entry({"arena_bytes": 1}))
    assert only(found, "arena_bytes").verdict is Outcome.FAIL


@pytest.mark.parametrize("after, verdict", [(11, Outcome.PASS), (11.1, Outcome.FAIL)])
def test_latency_by_its_ratio(after: float, verdict: Outcome) -> None:
    found = between(entry({"latency_ms": 10}), entry({"latency_ms": after}))
    assert only(found, "latency_ms").verdict is verdict


def test_an_estimate_is_not_held_against_a_measurement() -> None:
    before = Entry({"latency_ms": Metric(10, "ms", "estimated, 12%")})
    after = Entry({"latency_ms": Metric(90, "ms", "measured on device")})
    change = only(between(before, after), "latency_ms")
    assert change.verdict is Outcome.INCONCLUSIVE
    assert "estimated then, measured now" in change.message


def test_what_nothing_judges_is_shown() -> None:
    found = between(entry({"output_sqnr": 40}), entry({"output_sqnr": 20}))
    assert only(found, "output_sqnr").verdict is Outcome.NOT_APPLICABLE
    judged = between(
        entry({"output_sqnr": 40}), entry({"output_sqnr": 20}), {"output_sqnr": {"max_drop": 10}}
    )
    assert only(judged, "output_sqnr").verdict is Outcome.FAIL


# -- accuracy -----------------------------------------------------------------------------------


def test_a_proven_drop_fails_and_has_the_interval_of_the_same_samples() -> None:
    before, after = outcomes(950, 1000), outcomes(900, 1000)
    change = only(between(entry(right=before), entry(right=after)), "accuracy")
    expected = compare_outcomes(baseline=before, candidate=after)
    assert change.verdict is Outcome.FAIL
    assert change.low == pytest.approx(-(expected.high or 0))
    assert change.high == pytest.approx(-(expected.low or 0))
    assert "95.00% -> 90.00% (-5.00 pt) on 1,000 samples; worse by more than 1 pt" in change.message


def test_the_samples_decide_and_not_the_two_shares() -> None:
    """The same two shares: 5 lost and none gained, or 105 lost and 100 gained."""
    before = outcomes(600, 1000)
    few = outcomes(580, 1000)
    many = before.copy()
    many[:120], many[600:700] = False, True
    assert few.mean() == many.mean()
    assert only(between(entry(right=before), entry(right=few)), "accuracy").verdict is Outcome.FAIL
    change = only(between(entry(right=before), entry(right=many)), "accuracy")
    assert change.verdict is Outcome.INCONCLUSIVE
    assert "inconclusive" in change.message


def test_an_inconclusive_drop_fails_where_it_is_strict() -> None:
    before, after = entry(right=outcomes(50, 50)), entry(right=outcomes(49, 50))
    assert only(between(before, after), "accuracy").verdict is Outcome.INCONCLUSIVE
    for rules in ({"strict": True}, {"accuracy": {"strict": True}}):
        change = only(between(before, after, rules), "accuracy")
        assert change.verdict is Outcome.FAIL
        assert "inconclusive" in change.message
        assert "strict = true" in change.message


def test_strict_fails_nothing_that_is_unchanged_or_better() -> None:
    before = entry({"size_bytes": 9}, outcomes(40, 50))
    for right in (40, 41, 50):
        found = between(before, entry({"size_bytes": 9}, outcomes(right, 50)), {"strict": True})
        assert {change.verdict for change in found.changes[KEY]} == {Outcome.PASS}


def test_the_confidence_is_the_rules() -> None:
    before, after = entry(right=outcomes(400, 400)), entry(right=outcomes(390, 400))
    loose = between(before, after, {"accuracy": {"max_drop": "1 pt", "confidence": 0.5}})
    tight = between(before, after, {"accuracy": {"max_drop": "1 pt", "confidence": 0.9999}})
    assert only(loose, "accuracy").verdict is Outcome.FAIL
    assert only(tight, "accuracy").verdict is Outcome.INCONCLUSIVE


def test_a_drop_of_exactly_the_limit_passes() -> None:
    found = between(entry(right=outcomes(1000, 1000)), entry(right=outcomes(990, 1000)))
    assert only(found, "accuracy").verdict is Outcome.PASS


def test_metrics_that_are_better_when_lower() -> None:
    rng = np.random.default_rng(0)
    before = rng.random(400) + 1
    worse = entry(values=before * 1.1, metric="mae")
    change = only(between(entry(values=before, metric="mae"), worse), "mae")
    assert change.verdict is Outcome.FAIL
    assert change.low is not None
    assert 0 < change.low < change.after - change.before  # type: ignore[operator]
    better = entry(values=before * 0.9, metric="mae")
    found = between(entry(values=before, metric="mae"), better)
    assert only(found, "mae").verdict is Outcome.PASS
    assert (KEY, "mae") in found.improved
    noisy = entry(values=before + rng.normal(0.05, 3, 400), metric="mae")
    noise = only(between(entry(values=before, metric="mae"), noisy), "mae")
    assert noise.verdict in (Outcome.INCONCLUSIVE, Outcome.PASS)


def test_a_metric_without_values_by_sample_is_judged_as_observed() -> None:
    def own(value: float) -> Entry:
        samples = {"f2": Samples("d", 100, True, True)}
        return Entry({"f2": Metric(value, "fraction", "measured")}, samples, "f")

    change = only(between(own(0.9), own(0.88)), "f2")
    assert change.verdict is Outcome.FAIL
    assert "the observed drop decides" in change.message
    assert only(between(own(0.9), own(0.895)), "f2").verdict is Outcome.PASS


def test_another_dataset_is_not_comparable_and_leaves_the_rest_in_force() -> None:
    before = entry({"size_bytes": 100, "output_sqnr": 40}, outcomes(90, 100), dataset="old")
    after = entry({"size_bytes": 200, "output_sqnr": 10}, outcomes(10, 120), dataset="new")
    found = between(before, after)
    assert only(found, "accuracy").verdict is Outcome.INCONCLUSIVE
    assert only(found, "output_sqnr").verdict is Outcome.NOT_APPLICABLE
    assert "the dataset changed (100 samples then, 120 now)" in only(found, "accuracy").message
    assert only(found, "size_bytes").verdict is Outcome.FAIL
    lines = [line for line, _ in comparison_lines(found)]
    assert any(
        line.startswith("NOT COMPARABLE: the dataset changed")
        and "digits/int8 on pico (accuracy, output_sqnr)" in line
        for line in lines
    )


def test_what_can_not_be_compared_and_nothing_judges_does_not_sound_like_a_finding() -> None:
    before = entry({"output_sqnr": 40}, outcomes(90, 100), dataset="old")
    after = entry({"output_sqnr": 10}, outcomes(90, 120), dataset="new")
    found = between(before, after, {"informational": True})
    (line,) = [line for line, outcome in comparison_lines(found) if "output_sqnr" in line]
    assert line.startswith("not compared, which fails nothing: digits/int8 on pico (accuracy, out")
    assert line.endswith("the dataset changed (100 samples then, 120 now)")


def test_a_rule_that_does_not_fit_its_metric_fails_and_says_so() -> None:
    before, after = (entry(values=[v, v], metric="mae") for v in (1.0, 2.0))
    change = only(between(before, after, {"mae": "2 pt"}), "mae")
    assert change.verdict is Outcome.FAIL
    assert "mae is not a fraction" in change.message


# -- what is there and what is not --------------------------------------------------------------


def test_a_figure_that_went_missing_is_unavailable_and_never_passes() -> None:
    before = entry({"arena_bytes": 100})
    after = Entry({"arena_bytes": Metric.unavailable("bytes", "no wheel")}, {}, "f")
    change = only(between(before, after), "arena_bytes")
    assert change.verdict is Outcome.UNAVAILABLE
    assert change.after is None
    assert "no wheel" in change.message


def test_what_was_not_asked_for_is_no_change() -> None:
    assert between(entry({"arena_bytes": 1}), entry({})).changes[KEY] == ()


def test_new_figures_and_entries_are_shown_and_pass() -> None:
    found = between(entry({}), entry({"size_bytes": 5}))
    change = only(found, "size_bytes")
    assert (change.before, change.after, change.verdict) == (None, 5, Outcome.NOT_APPLICABLE)
    other = ("other", "", "int8")
    found = compare(Baseline({KEY: entry({})}), Baseline({other: entry({})}))
    assert (found.new, found.absent, found.changes) == ((other,), (KEY,), {})


def test_equal_runs_differ_in_nothing() -> None:
    both = entry({"size_bytes": 5, "latency_ms": 3, "output_sqnr": 2}, outcomes(9, 10))
    found = between(both, both, {"strict": True, "size": 0, "latency": 1.0})
    assert not differs(found)
    assert not failed(found)
    assert not list(comparison_lines(found))


def test_rounding_of_the_last_digits_is_no_improvement() -> None:
    found = between(entry({"latency_ms": 3.0}), entry({"latency_ms": 3.0 * (1 - 1e-15)}))
    assert not found.improved


# -- where it comes from ------------------------------------------------------------------------


def origin(before: Baseline, after: Baseline) -> str:
    return compare(before, after).changes[KEY][0].message


def test_a_changed_model_is_told_from_a_changed_toolchain() -> None:
    old = entry({"size_bytes": 100}, fingerprint="f")
    same = entry({"size_bytes": 200}, fingerprint="f")
    other = entry({"size_bytes": 200}, fingerprint="g")
    versions = {"tensorflow": "2.20"}, {"tensorflow": "2.21"}
    first = Baseline({KEY: old}, versions[0])
    assert "the model is the same (graph" in origin(first, Baseline({KEY: same}, versions[0]))
    assert "only the toolchain changed (tensorflow 2.20 -> 2.21)" in origin(
        first, Baseline({KEY: same}, versions[1])
    )
    assert "; the model changed" in origin(first, Baseline({KEY: other}, versions[0]))
    assert "the model changed, and the toolchain (tensorflow 2.20 -> 2.21)" in origin(
        first, Baseline({KEY: other}, versions[1])
    )


def test_another_quantization_of_the_same_float_model_is_told() -> None:
    whole = {("digits", "pico", "float32"): entry({}, fingerprint="w")}
    before = Baseline({KEY: entry({"size_bytes": 100}, fingerprint="f"), **whole})
    after = Baseline({KEY: entry({"size_bytes": 200}, fingerprint="g"), **whole})
    assert "the float32 model is the same, its quantized form changed" in origin(before, after)


# -- accepted -----------------------------------------------------------------------------------


def accepting(**change: Any) -> list[dict[str, Any]]:
    entry = {"model": "digits", "metric": "size", "reason": "wider head", "expires": "2027-01-01"}
    return [entry | change]


def grown(accepted: Any) -> Comparison:
    return between(entry({"size_bytes": 100}), entry({"size_bytes": 200}), None, accepted)


def test_an_accepted_regression_passes_with_its_reason() -> None:
    found = grown(accepting())
    change = only(found, "size_bytes")
    assert change.verdict is Outcome.PASS
    assert change.message.endswith("accepted until 2027-01-01: wider head")
    assert any(line.startswith("accepted: ") for line, _ in comparison_lines(found))


def test_an_expired_acceptance_fails_again_and_says_so() -> None:
    change = only(grown(accepting(expires="2026-12-31")), "size_bytes")
    assert change.verdict is Outcome.FAIL
    assert "its acceptance expired on 2026-12-31 (wider head)" in change.message


def test_more_than_what_was_accepted_fails() -> None:
    change = only(grown(accepting(limit=199)), "size_bytes")
    assert change.verdict is Outcome.FAIL
    assert "but up to 199 B only" in change.message
    assert only(grown(accepting(limit=200)), "size_bytes").verdict is Outcome.PASS


def test_an_acceptance_without_a_regression_is_named() -> None:
    found = between(entry({"size_bytes": 100}), entry({"size_bytes": 100}), None, accepting())
    assert [e.reason for e in found.unused] == ["wider head"]
    assert any("met no regression" in line for line, _ in comparison_lines(found))


def test_a_run_that_writes_the_baseline_anew_accepts_all() -> None:
    found = accept_all(grown(None))
    assert not failed(found)
    assert "accepted" in only(found, "size_bytes").message


# -- other samples than then --------------------------------------------------------------------


def evaluated(
    right: np.ndarray[Any, Any], ids: Any, *, values: bool = False, metric: str = "accuracy"
) -> Entry:
    """A metric on samples that are told by numbers of the test's own."""
    hashes = np.asarray(ids, np.uint32)
    dataset = f"d{hash(hashes.tobytes())}"
    if values:
        array = np.asarray(right, np.float32)
        mean = float(array.astype(float).mean())
        found = Metric(mean**0.5 if metric == "rmse" else mean, "", "measured")
        kept = Samples(dataset, len(ids), False, False, None, array, hashes)
    else:
        found = Metric(float(right.mean()), "fraction", "measured")
        kept = Samples(dataset, len(ids), True, True, right, None, hashes)
    return Entry({metric: found}, {metric: kept}, "f")


def test_a_part_is_compared_on_the_samples_that_both_have() -> None:
    """As of the network that was evaluated on 7,396 of 12,000 samples, and then on all of them."""
    rng = np.random.default_rng(3)
    part = np.sort(rng.permutation(12_000)[:7_396])
    before = rng.random(12_000) < 0.9
    after = before.copy()
    after[rng.permutation(12_000)[:1_200]] = False
    change = only(
        between(evaluated(before[part], part), evaluated(after, range(12_000))), "accuracy"
    )
    expected = compare_outcomes(baseline=before[part], candidate=after[part])
    assert change.verdict is Outcome.FAIL
    assert (change.before, change.after) == (before[part].mean(), after[part].mean())
    assert change.low == pytest.approx(-(expected.high or 0))
    assert "on the 7,396 samples that both have (7,396 then, 12,000 now)" in change.message
    same = between(evaluated(before, range(12_000)), evaluated(before[part], part))
    assert only(same, "accuracy").verdict is Outcome.PASS
    assert not differs(same)


@pytest.mark.parametrize("worse", [False, True])
@pytest.mark.parametrize("edit", ["one more", "one fewer", "another order", "one relabelled"])
def test_a_dataset_that_changed_a_little_is_compared(edit: str, worse: bool) -> None:
    rng = np.random.default_rng(5)
    right = rng.random(300) < 0.9
    ids = np.arange(300) * 7
    order = rng.permutation(300) if edit == "another order" else np.arange(300)
    later, new = right[order].copy(), ids[order]
    if worse:
        later[:60] = False
    if edit == "one more":
        later, new = np.append(later, False), np.append(new, 99_999)
    elif edit == "one fewer":
        later, new = later[1:], new[1:]
    elif edit == "one relabelled":
        new[-1] = 5
    change = only(between(evaluated(right, ids), evaluated(later, new)), "accuracy")
    assert change.verdict is (Outcome.FAIL if worse else Outcome.PASS)
    if not worse:
        assert change.before == change.after


def test_few_samples_in_common_decide_nothing() -> None:
    right = np.ones(100, bool)
    for shared, verdict in ((0, "INCONCLUSIVE"), (49, "INCONCLUSIVE"), (50, "PASS")):
        ids = np.arange(100) + 100 - shared
        found = between(evaluated(right, range(100)), evaluated(right, ids))
        assert only(found, "accuracy").verdict is Outcome[verdict]
        lines = list(comparison_lines(found))
        apart = [line for line, _ in lines if line.startswith("NOT COMPARABLE: ")]
        assert any("digits/int8 on pico" in line for line in apart) == (shared < 50)
        part = "compared on the 50 samples that both have (100 then, 100 now): digits/int8 on pico"
        assert any(line.startswith(part) for line, _ in lines) == (shared == 50)
        if shared < 50:
            assert f"100 now, {shared} of them the same" in only(found, "accuracy").message
            assert lines[0][1] is Outcome.INCONCLUSIVE


def test_what_can_not_be_compared_fails_where_it_is_strict() -> None:
    before, after = (evaluated(np.ones(9, bool), range(n, n + 9)) for n in (0, 50))
    for rules in ({"strict": True}, {"accuracy": {"strict": True}}):
        found = between(before, after, rules)
        assert only(found, "accuracy").verdict is Outcome.FAIL
        assert "not comparable: the dataset changed" in only(found, "accuracy").message
        assert failed(found)
    watched = between(before, after, {"accuracy": {"informational": True}, "strict": True})
    assert only(watched, "accuracy").verdict is Outcome.NOT_APPLICABLE


def test_duplicates_are_met_as_often_as_both_have_them() -> None:
    before = evaluated(np.array([True, True, True, False]), [4, 4, 4, 8])
    after = evaluated(np.array([False, True, True]), [8, 4, 4])
    change = only(between(before, after), "accuracy")
    assert change.verdict is Outcome.PASS
    assert (change.before, change.after) == (2 / 3, 2 / 3)


@pytest.mark.parametrize("metric", ["mae", "rmse"])
def test_values_by_sample_are_compared_on_what_both_have(metric: str) -> None:
    rng = np.random.default_rng(8)
    errors = rng.random(400) + 1
    worse = np.append(errors * 1.2, rng.random(100))
    found = between(
        evaluated(errors, range(400), values=True, metric=metric),
        evaluated(worse, range(500), values=True, metric=metric),
    )
    change = only(found, metric)
    root = (lambda v: v**0.5) if metric == "rmse" else (lambda v: v)
    assert change.verdict is Outcome.FAIL
    assert change.after == pytest.approx(root(1.2 * errors.mean()), rel=1e-5)
    improved = evaluated(worse * 0.5, range(500), values=True, metric=metric)
    before = evaluated(errors, range(400), values=True, metric=metric)
    assert only(between(before, improved), metric).verdict is Outcome.PASS


def test_a_metric_of_the_whole_set_needs_the_same_samples() -> None:
    def ranked(ids: Any) -> Entry:
        hashes = np.asarray(ids, np.uint32)
        samples = {"roc_auc": Samples(f"d{list(ids)}", len(ids), True, True, hashes=hashes)}
        return Entry({"roc_auc": Metric(0.9, "fraction", "measured")}, samples, "f")

    before = ranked(range(100))
    shuffled = between(before, ranked(range(99, -1, -1)))
    assert only(shuffled, "roc_auc").verdict is Outcome.PASS
    change = only(between(before, ranked(range(1, 100))), "roc_auc")
    assert change.verdict is Outcome.INCONCLUSIVE
    assert "roc_auc has no value by sample" in change.message


def test_samples_that_one_side_does_not_tell_are_not_comparable() -> None:
    right = np.ones(100, bool)
    old = entry(right=right, dataset="of before there were hashes")
    change = only(between(old, evaluated(right, range(100))), "accuracy")
    assert change.verdict is Outcome.INCONCLUSIVE
    bare = Entry(old.metrics, {}, "f")
    for pair in ((bare, old), (old, bare)):
        change = only(between(*pair), "accuracy")
        assert change.verdict is Outcome.INCONCLUSIVE
        assert "is not known" in change.message


def test_a_figure_that_went_missing_fails_where_it_is_strict() -> None:
    after = Entry({"arena_bytes": Metric.unavailable("bytes", "no wheel")}, {}, "f")
    found = between(entry({"arena_bytes": 100}), after, {"strict": True})
    assert only(found, "arena_bytes").verdict is Outcome.FAIL

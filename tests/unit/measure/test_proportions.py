"""Intervals and tests of proportions against published examples and other libraries."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from pytest_edgequant import compare_outcomes
from pytest_edgequant.measure.confidence import critical_value
from pytest_edgequant.measure.proportions import (
    mcnemar_exact,
    samples_to_decide,
    share_interval,
    smallest_detectable,
    tango_interval,
    tango_statistic,
)


def outcomes(lost: int, gained: int, count: int) -> tuple[Any, Any]:
    """Baseline and candidate with that many samples lost and gained, the rest right in both."""
    baseline, candidate = np.ones(count, bool), np.ones(count, bool)
    candidate[:lost] = False
    baseline[lost : lost + gained] = False
    return baseline, candidate


def compared(lost: int, gained: int, count: int, confidence: float = 0.95) -> Any:
    baseline, candidate = outcomes(lost, gained, count)
    return compare_outcomes(baseline=baseline, candidate=candidate, confidence=confidence)


# -- published examples -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lost, gained, count, confidence, low, high, digits",
    [
        # Fagerland, Lydersen and Laake, Statistics in Medicine 33 (2014), tables of Bentur et al.
        # (2009) and, as in R's contingencytables, of Cavo et al. (2012).
        (1, 7, 21, 0.95, -0.517, -0.026, 3),
        (6, 16, 161, 0.95, -0.1240, -0.0054, 4),
        # R's PropCIs, scoreci.mp(25, 28, 618, 0.90), which estimates (second - first) / n.
        (28, 25, 618, 0.90, -0.0148, 0.0247, 4),
        # Tango (1998), the two methods of disinfecting soft lenses: 43 pairs agree, one differs.
        (0, 1, 44, 0.90, -0.096, 0.037, 3),
    ],
)
def test_tangos_interval_of_published_tables(
    lost: int, gained: int, count: int, confidence: float, low: float, high: float, digits: int
) -> None:
    found = compared(lost, gained, count, confidence)
    assert (round(found.low, digits), round(found.high, digits)) == (low, high)


@pytest.mark.parametrize("lost, gained, p", [(1, 7, 0.070312), (6, 16, 0.052479), (5, 5, 1.0)])
def test_mcnemars_exact_p_of_published_tables(lost: int, gained: int, p: float) -> None:
    assert compared(lost, gained, 200).p_value == pytest.approx(p, abs=1e-6)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemars_exact_p_is_the_sum_of_its_tail(lost: int, gained: int) -> None:
    changed, fewer = lost + gained, min(lost, gained)
    tail = sum(Fraction(math.comb(changed, k), 2**changed) for k in range(fewer + 1))
    assert mcnemar_exact(lost, gained) == pytest.approx(float(min(Fraction(1), 2 * tail)))


def test_mcnemar_and_wilson_are_those_of_statsmodels() -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    for lost, gained in [(0, 0), (3, 0), (12, 5), (40, 61)]:
        theirs = tables.mcnemar([[100, lost], [gained, 7]], exact=True).pvalue
        assert mcnemar_exact(lost, gained) == pytest.approx(theirs)
        ours = share_interval(100 - lost, 100 + gained, 0.9)
        theirs = proportion.proportion_confint(100 - lost, 100 + gained, 0.1, method="wilson")
        assert ours == pytest.approx(theirs)


# -- what the interval is -----------------------------------------------------------------------

TABLES = st.integers(1, 400).flatmap(
    lambda n: st.integers(0, n).flatmap(
        lambda lost: st.tuples(st.just(lost), st.integers(0, n - lost), st.just(n))
    )
)


def likeliest_statistic(lost: int, gained: int, count: int, delta: float) -> float:
    """The score statistic with its likelihood maximized by a search instead of by a formula."""
    same = count - lost - gained

    def negative(share: float) -> float:
        parts = ((lost, share + delta), (gained, share), (same, 1 - delta - 2 * share))
        return -sum(k * math.log(max(p, 1e-300)) for k, p in parts if k)

    bounds = (max(0.0, -delta), (1 - delta) / 2)
    share = minimize_scalar(negative, bounds=bounds, method="bounded", options={"xatol": 1e-13}).x
    return (lost - gained - count * delta) / math.sqrt(count * (2 * share + delta - delta**2))


@pytest.mark.parametrize(
    "lost, gained, count", [(3, 1, 40), (20, 5, 50), (0, 4, 30), (30, 0, 400), (7, 7, 15)]
)
@pytest.mark.parametrize("delta", [-0.3, -0.02, 0.05, 0.4])
def test_the_statistic_is_that_of_the_likeliest_table(
    lost: int, gained: int, count: int, delta: float
) -> None:
    ours = tango_statistic(lost, gained, count, delta)
    assert ours == pytest.approx(likeliest_statistic(lost, gained, count, delta), rel=1e-4)


@given(TABLES, st.sampled_from([0.8, 0.95, 0.999]))
def test_an_interval_holds_what_the_statistic_does_not_refuse(
    table: tuple[int, int, int], confidence: float
) -> None:
    lost, gained, count = table
    low, high = tango_interval(lost, gained, count, confidence)
    z = critical_value(confidence)
    assert -1 <= low <= (lost - gained) / count <= high <= 1
    for end, sign in ((low, 1), (high, -1)):
        if abs(end) < 1:
            found = tango_statistic(lost, gained, count, end)
            assert found == pytest.approx(sign * z, abs=1e-6)
    swapped = tango_interval(gained, lost, count, confidence)
    assert swapped == pytest.approx((-high, -low), abs=1e-12)


@pytest.mark.parametrize("count", [1, 2, 10, 397, 1_000_000])
def test_without_a_changed_sample_the_interval_is_known_in_closed_form(count: int) -> None:
    z = critical_value(0.95)
    found = compared(0, 0, count)
    assert found.high == pytest.approx(z * z / (count + z * z), rel=1e-9)
    assert found.low == -found.high
    assert (found.drop, found.p_value, found.lost, found.gained) == (0, 1, 0, 0)


@pytest.mark.parametrize("count", [1, 2, 10, 397])
def test_where_every_sample_is_lost_the_interval_ends_at_one(count: int) -> None:
    found = compared(count, 0, count)
    assert (found.drop, found.high) == (1, 1)
    # Tango's statistic of n losses in n is sqrt(n (1 - delta) / (1 + ...)): the end by its meaning.
    assert tango_statistic(count, 0, count, found.low) == pytest.approx(critical_value(0.95))
    gained = compared(0, count, count)
    assert (gained.drop, gained.low, gained.high) == (-1, -1, pytest.approx(-found.low))


@pytest.mark.parametrize("lost, gained, count", [(0.02, 0.01, 300), (0.08, 0.0, 60), (0, 0, 100)])
def test_the_interval_covers_the_true_drop_about_as_often_as_it_says(
    lost: float, gained: float, count: int
) -> None:
    draws = np.random.default_rng(7).multinomial(count, [lost, gained, 1 - lost - gained], 800)
    covered = 0
    for row in draws:
        low, high = tango_interval(int(row[0]), int(row[1]), count)
        covered += low <= lost - gained <= high
    assert covered / len(draws) > 0.93


# -- what a dataset can show --------------------------------------------------------------------


@given(TABLES)
def test_a_detectable_drop_is_one_whose_interval_is_above_zero(table: tuple[int, int, int]) -> None:
    lost, gained, count = table
    found = compared(lost, gained, count)
    if lost >= gained:
        assert (found.low > 0) == (found.drop >= found.detectable)


def test_the_detectable_drop_shrinks_with_the_number_of_samples() -> None:
    found = [smallest_detectable(0, 0, n, 0.95) for n in (1, 3, 10, 100, 1000, 10_000)]
    assert found == [math.inf, math.inf, 0.4, 0.04, 0.004, 0.0004]


def test_a_seeded_drop_of_eight_points_is_found_and_one_of_a_tenth_is_not() -> None:
    generator = np.random.default_rng(3)
    baseline = generator.random(1000) < 0.95
    worse = baseline & ~(generator.random(1000) < 0.08)
    found = compare_outcomes(baseline=baseline, candidate=worse)
    assert found.low > 0.05
    assert found.p_value < 1e-9
    slightly = baseline.copy()
    slightly[np.flatnonzero(baseline)[0]] = False
    hardly = compare_outcomes(baseline=baseline, candidate=slightly)
    assert hardly.drop == 0.001
    assert hardly.low < 0 < hardly.high
    assert hardly.drop < hardly.detectable


@pytest.mark.parametrize(
    "lost, gained, count, limit",
    [(4, 1, 400, 0.02), (0, 0, 100, 0.01), (30, 10, 500, 0.02), (5, 9, 300, 0.005)],
)
def test_as_many_samples_as_it_says_decide(
    lost: int, gained: int, count: int, limit: float
) -> None:
    found = compared(lost, gained, count)
    assert found.low <= limit < found.high
    needed = samples_to_decide(found, limit)
    assert needed is not None
    assert needed > count

    def statistic(samples: int) -> float:
        factor = samples / count
        return abs(tango_statistic(lost * factor, gained * factor, samples, limit))

    z = critical_value(0.95)
    assert statistic(needed) >= z - 1e-9
    assert statistic(needed - 1) < z


def test_no_number_of_samples_decides_a_drop_that_is_the_limit() -> None:
    assert samples_to_decide(compared(4, 0, 200), 0.02) is None
    assert samples_to_decide(compared(0, 0, 200), 0.0) is None

"""The distributions of the standard library against SciPy's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pytest_edgequant.measure.probability import (
    binomial_at_least,
    binomial_at_most,
    binomial_quantile,
    normal_quantile,
    normal_share,
)
from pytest_edgequant.measure.proportions import mcnemar_exact

AS_SCIPY = {"rel": 1e-9, "abs": 1e-300}


@settings(deadline=None, max_examples=300)
@given(st.integers(1, 3000), st.floats(0.001, 0.999), st.data())
def test_binomial_tails_are_those_of_scipy(count: int, share: float, data: st.DataObject) -> None:
    """Below and above the mean, near and far from it."""
    k = data.draw(st.integers(0, count))
    assert binomial_at_most(k, count, share) == pytest.approx(
        float(stats.binom.cdf(k, count, share)), **AS_SCIPY
    )
    assert binomial_at_least(k, count, share) == pytest.approx(
        float(stats.binom.sf(k - 1, count, share)), **AS_SCIPY
    )


@pytest.mark.parametrize("count", [10_000, 999_999, 1_000_000])
@pytest.mark.parametrize("deviations", [0.0, 1.0, 6.0, 30.0])
def test_large_counts_neither_overflow_nor_lose_digits(count: int, deviations: float) -> None:
    """A million discordant pairs, near the middle and far out in the tail."""
    less = int(count / 2 - deviations * math.sqrt(count) / 2)
    expected = min(1.0, 2 * float(stats.binom.cdf(less, count, 0.5)))
    assert mcnemar_exact(less, count - less) == pytest.approx(expected, **AS_SCIPY)
    assert mcnemar_exact(count - less, less) == mcnemar_exact(less, count - less)


@pytest.mark.parametrize("least", [99_000, 100_000, 100_700, 101_500])
def test_large_counts_of_any_share(least: int) -> None:
    """Upper tails on both sides of the mean."""
    expected = float(stats.binom.sf(least - 1, 1_000_000, 0.1))
    assert binomial_at_least(least, 1_000_000, 0.1) == pytest.approx(expected, **AS_SCIPY)


def test_tails_at_the_ends() -> None:
    """No success, all successes, and what is impossible."""
    assert binomial_at_most(-1, 5, 0.3) == 0.0
    assert binomial_at_most(5, 5, 0.3) == 1.0
    assert binomial_at_most(0, 700, 0.25) == pytest.approx(0.75**700, rel=1e-12)
    assert binomial_at_least(0, 5, 0.3) == 1.0
    assert binomial_at_least(6, 5, 0.3) == 0.0
    assert binomial_at_least(700, 700, 0.75) == pytest.approx(0.75**700, rel=1e-12)
    assert mcnemar_exact(0, 1_000_000) == 0.0
    assert [binomial_at_least(3, 5, share) for share in (0.0, 1.0)] == [0.0, 1.0]
    assert [binomial_at_most(3, 5, share) for share in (0.0, 1.0)] == [1.0, 0.0]


@pytest.mark.parametrize("count", [1, 5, 6, 17, 100, 501, 4000])
def test_binomial_quantiles_are_those_of_scipy(count: int) -> None:
    """The order statistics of a median's interval."""
    for below in (0.005, 0.025, 0.5, 0.975):
        assert binomial_quantile(below, count) == int(stats.binom.ppf(below, count, 0.5))


def test_the_normal_distribution_is_that_of_scipy() -> None:
    """Quantiles of usual levels, and shares far into the lower tail."""
    for share in (1e-12, 0.025, 0.5, 0.9, 0.975, 1 - 1e-9):
        assert normal_quantile(share) == pytest.approx(float(stats.norm.ppf(share)), rel=1e-9)
    for value in np.linspace(-30, 8, 77):
        assert normal_share(value) == pytest.approx(float(stats.norm.cdf(value)), rel=1e-9)

"""Levels of confidence: which decide anything, and how wide they make an interval."""

from __future__ import annotations

from pytest_edgequant.errors import SettingsError
from pytest_edgequant.limits import is_number
from pytest_edgequant.measure.probability import normal_quantile
from pytest_edgequant.wording import shown

DEFAULT_CONFIDENCE = 0.95
LEAST_CONFIDENCE, MOST_CONFIDENCE = 0.5, 0.9999


def _as_fraction(confidence: object) -> str:
    """How a confidence in per cent is written; empty for what is none."""
    try:
        level = float(str(confidence).strip().removesuffix("%"))
    except ValueError:
        return ""
    return f"; {level:g} per cent are {level / 100:g}" if 1 < level < 100 else ""


def check_confidence(confidence: object, what: str = "confidence") -> float:
    """A confidence level such as 0.95; raises `SettingsError`, and for one that decides nothing."""
    if not is_number(confidence) or not 0 < confidence < 1:
        meant = _as_fraction(confidence)
        raise SettingsError(
            f"{what}: expected a number such as 0.95, got {shown(confidence)}{meant}"
        )
    level = float(confidence)
    if not LEAST_CONFIDENCE <= level <= MOST_CONFIDENCE:
        why = (
            "as good as no evidence would pass for proof"
            if level < LEAST_CONFIDENCE
            else "no number of samples at hand would be evidence"
        )
        raise SettingsError(
            f"{what}: {shown(confidence)}: {why}; expected {LEAST_CONFIDENCE:g} to "
            f"{MOST_CONFIDENCE:g}, such as 0.95"
        )
    return level


def critical_value(confidence: float) -> float:
    """The standard normal quantile of a two-sided interval: 1.96 for 0.95."""
    return normal_quantile(0.5 + confidence / 2)

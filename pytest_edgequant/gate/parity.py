"""The assertion on runtimes: what runs on the desktop decides as what runs on the device."""

from __future__ import annotations

from typing import Any

import numpy as np

from pytest_edgequant.api.accuracy import measure_runtime_parity
from pytest_edgequant.api.convert import for_target
from pytest_edgequant.errors import (
    CannotRunError,
    MeasurementUnavailable,
    MetricError,
    RuntimesDiffer,
    SettingsError,
    user_facing,
)
from pytest_edgequant.gate.verdicts import conclude, over, require_legal, unavailable
from pytest_edgequant.limits import parse_fraction, parse_number
from pytest_edgequant.records import Outcome, RuntimeParity, Target, Variant, Verdict
from pytest_edgequant.samples.stream import Preprocess


def _steps(count: float) -> str:
    return f"{count:g} {'step' if count == 1 else 'steps'}"


def _check_steps(max_steps: float, variant: Variant) -> None:
    """Raise `SettingsError` for more steps than the integers of all outputs have."""
    kinds = {info.dtype for info in variant.outputs}
    if any(kind.kind not in "iu" for kind in kinds):
        return
    widest = max(np.iinfo(kind).max - int(np.iinfo(kind).min) for kind in kinds)
    if max_steps >= widest:
        shown = ", ".join(sorted(str(kind) for kind in kinds))
        raise SettingsError(
            f"max_steps: {max_steps!r} can't fail: outputs of {variant.label} ({shown}) can't "
            f"differ by more than {widest:,} steps"
        )


def _read_limits(max_steps: object, max_changed: object) -> tuple[float | None, float | None]:
    """Both limits as numbers; raises `SettingsError` for what can't be meant, or can't fail."""
    steps = None if max_steps is None else parse_number(max_steps, "max_steps", "a number of steps")
    changed = None if max_changed is None else parse_fraction(max_changed, "max_changed")
    if steps is None and changed is None:
        raise SettingsError("assert_runtime_parity: give max_steps, max_changed or both")
    return steps, changed


@user_facing
def assert_runtime_parity(
    variant: Any,
    dataset: Any,
    *,
    max_steps: float | None = None,
    max_changed: float | str | None = 0.01,
    target: Target | str | None = None,
    runtimes: tuple[str, str] = ("litert", "tflm"),
    preprocess: Preprocess | None = None,
) -> RuntimeParity:
    """LiteRT's and TFLM's outputs for the same samples are as good as equal.

    `max_steps` limits the largest difference of any output value, in steps of the output's scale;
    `max_changed` the share of samples with another decision (0.01 or "1%": one in a hundred). None
    for no limit. On a stratified part of the samples where all would be more than `edge_tflm_macs`.

    Raises `RuntimesDiffer`, `CannotRun` where the target refuses the variant, `Unavailable` where
    a runtime is not installed or refuses the model, `DatasetError`, `SettingsError`.
    """
    steps, changed = _read_limits(max_steps, max_changed)
    variant, profile = for_target(variant, target)
    if steps is not None:
        _check_steps(steps, variant)
    require_legal("runtime_parity", variant, profile)
    try:
        parity = measure_runtime_parity(variant, dataset, runtimes=runtimes, preprocess=preprocess)
    except (MeasurementUnavailable, CannotRunError, MetricError) as error:
        raise unavailable(variant, "runtime_parity", error, what="runtime parity") from None
    verdict = _judge_parity(variant.label, parity, runtimes, steps, changed)
    conclude(variant, verdict, RuntimesDiffer)
    return parity


def _judge_parity(
    subject: str,
    parity: RuntimeParity,
    runtimes: tuple[str, str],
    max_steps: float | None,
    max_changed: float | None,
) -> Verdict:
    """The verdict on the differences between two runtimes; a limit of None is none."""
    share = parity.changed / parity.count
    first, second = runtimes
    apart = (
        f"differ by up to {_steps(parity.max_steps)} of the output {parity.output!r}"
        if parity.output
        else "give equal outputs"
    )
    message = (
        f"{subject}: {first} and {second} {apart}, with {parity.changed} of {parity.count} "
        f"decisions changed ({share:.2%})"
    )
    broken, briefs = [], []
    if max_steps is not None and parity.max_steps > max_steps:
        broken.append(f"allowed are {_steps(max_steps)}")
        briefs.append(over("output difference", parity.max_steps, max_steps, _steps))
    if max_changed is not None and share > max_changed:
        broken.append(f"allowed are {max_changed:.2%} changed")
        briefs.append(over("changed decisions", share, max_changed, lambda v: f"{v:.2%}"))
    if broken:
        message += (
            f"; {' and '.join(broken)}. Judge the accuracy with runtime={second!r}, which is what "
            "ships"
        )
    outcome = Outcome.FAIL if broken else Outcome.PASS
    limits = {"max_steps": max_steps, "max_changed": max_changed}
    limit_shown = ", ".join(f"{k}={v:g}" for k, v in limits.items() if v is not None)
    brief = "; ".join(briefs)
    return Verdict("runtime_parity", outcome, message, limit_shown, parity.max_steps, brief=brief)

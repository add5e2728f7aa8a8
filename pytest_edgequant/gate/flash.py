"""Whether a model fits into flash: judged by what TFLM's code takes at least and at most."""

from __future__ import annotations

import math
from fractions import Fraction

from pytest_edgequant.errors import EdgeQuantError
from pytest_edgequant.gate.verdicts import judge, over, sized, undecided
from pytest_edgequant.measure.arena.unrolled import described
from pytest_edgequant.measure.flash import FlashSplit
from pytest_edgequant.records import Metric, Outcome, Target, Variant, Verdict
from pytest_edgequant.tflite.model import graph_of
from pytest_edgequant.units import limit_share, parse_size_limit

SMALLER = "Use fewer channels or layers, or a target with more flash"
FROM_FLOAT = "Quantize to int8 (about a quarter of float32)"

WITHOUT_STEPS = (
    "Fewer time steps, a fused LSTM (an LSTM of tf_keras) or float32, where the layers stay loops, "
    "make a smaller file"
)


def size_metrics(variant: Variant, split: FlashSplit) -> dict[str, Metric]:
    """The figures of a variant's flash, by their names in reports."""
    found = {"size_bytes": Metric(variant.size_bytes, "bytes", "exact (file size)")}
    if split.runtime is not None:
        found["runtime_code_bytes"] = split.runtime
    if split.left is not None:
        found["flash_left_bytes"] = split.left
    return found


def _advice(variant: Variant) -> str:
    usual = FROM_FLOAT if variant.name in ("float32", "float16") else SMALLER
    try:
        unrolled = described(variant.content, graph_of(variant))
    except EdgeQuantError:  # bytes that are no model have a size all the same
        return usual
    if not unrolled:
        return usual
    return f"{unrolled[0].upper()}{unrolled[1:]}. {WITHOUT_STEPS}. {usual}"


def judge_size(variant: Variant, limit: str | float, split: FlashSplit, what: str) -> Verdict:
    """A limit as users write it: bytes, or a share of the flash that is left to a model."""
    share = limit_share(limit, what)
    if share is None or split.runtime is None:
        metric = size_metrics(variant, split)["size_bytes"]
        most = parse_size_limit(limit, split.limit, what)
        return judge(
            "size", metric, most, subject=variant.label, show=sized, advice=_advice(variant)
        )
    return judge_flash(variant, split, variant.target, share)


def judge_flash(
    variant: Variant, split: FlashSplit, target: Target | None, share: Fraction = Fraction(1)
) -> Verdict:
    """Pass where the model fits beside the most that TFLM's code takes, fail where not the least.

    Inconclusive between the two. `share` is the model's part of what is left.
    """
    size = variant.size_bytes
    if split.runtime is None:
        return judge_size(variant, split.limit or 0, split, "flash_for_model")
    assert split.at_most is not None
    at_most = math.floor(share * split.at_most)
    described = f". {split.describe()}" if split.describe() else ""
    part = "" if share == 1 else f"{float(100 * share):g}% of "
    if size > at_most:
        message = _too_large(variant, split, part, at_most)
        brief = over("size", size, max(at_most, 0), sized)
        return Verdict("size", Outcome.FAIL, message, max(at_most, 0), size, brief=brief)
    if split.limit is None:
        message = f"{variant.label}: size is unavailable: {split.runtime.reason}"
        return Verdict("size", Outcome.UNAVAILABLE, message, brief="size unavailable")
    certain = math.floor(share * split.limit)
    if size <= certain:
        message = (
            f"{variant.label}: size {sized(size)} is within the limit of {sized(certain)} "
            f"({part}the flash that firmware and TFLM's code leave){described}"
        )
        return Verdict("size", Outcome.PASS, message, certain, size)
    question = "fit" if share == 1 else f"are within {part}the flash that is left to a model"
    message = (
        f"{variant.label}: whether {sized(size)} {question} is not known: TFLM's code takes "
        f"{split.runtime.low:,} to {split.runtime.value:,} B, by what the firmware is built with"
        f"{described}"
    )
    message = undecided(_measure_firmware(target), message)
    return Verdict("size", Outcome.INCONCLUSIVE, message, at_most, size)


def _too_large(variant: Variant, split: FlashSplit, part: str, at_most: int) -> str:
    """Why a model doesn't fit however small the code is, and what would help."""
    size, described = variant.size_bytes, split.describe()
    text = f"{variant.label}: size {sized(size)} "
    if split.at_most is not None and split.at_most <= 0:
        least = (split.after_firmware or 0) - split.at_most
        text += (
            f"does not fit: TFLM's code for the model's operators takes at least {sized(least)} of "
            f"the {sized(split.after_firmware or 0)} of flash after firmware"
        )
        advice = (
            "Use fewer kinds of operators, register int8 kernels alone and state what the firmware "
            "then leaves (flash_for_model), or use a target with more flash"
        )
    else:
        text += (
            f"is over the limit of {sized(at_most)} by {sized(size - at_most)} ({part}the flash "
            "that firmware and TFLM's code leave at most)"
        )
        advice = _advice(variant)
    return f"{text}{f'. {described}' if described else ''}. {advice}"


def _measure_firmware(target: Target | None) -> str:
    name = target.name if target is not None else "NAME"
    return (
        "Build the firmware with the model's operators, and state what it leaves "
        f'(flash_for_model = "..." in [tool.edgequant.targets.{name}])'
    )

"""The words of reports that not everybody knows: one place for every format and for the docs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

TERMS: Mapping[str, str] = {
    "arena": (
        "the one block of SRAM in which TensorFlow Lite Micro keeps everything of a model that "
        "changes: activations, scratch memory and its own records. The firmware states its size"
    ),
    "drop": (
        "the baseline's score less the candidate's on the same samples: positive is worse. The "
        "candidate is the variant of the row, the baseline what the column's heading names "
        "(usually float32). 1 pt is one point of per cent"
    ),
    "interval": (
        "where the true difference lies with that confidence: a drop of +1.00 pt (-0.50 to +2.50) "
        "may be none at all. More samples make it narrower"
    ),
    "SQNR": (
        "signal to quantization noise ratio: how much larger the outputs are than what "
        "quantization changed of them, in decibels. 20 dB: a tenth is changed, 40 dB: a hundredth"
    ),
    "Tango": (
        "Tango's score interval: the interval of the difference of two shares that were had on the "
        "same samples (1998). It is right for few samples and for shares near 0 and 1"
    ),
    "BCa": (
        "bias-corrected and accelerated bootstrap: an interval for any metric, had by drawing from "
        "the samples again and again"
    ),
}
"""Each word with what it means, in a sentence or two."""


def terms_in(texts: Iterable[str]) -> list[str]:
    """The words that stand in texts, in the order of the glossary."""
    whole = "\n".join(texts)
    return [term for term in TERMS if re.search(rf"\b{re.escape(term)}\b", whole)]


def anchor(term: str) -> str:
    """What a link to a word within one document points at."""
    return f"edgequant-{term.lower()}"

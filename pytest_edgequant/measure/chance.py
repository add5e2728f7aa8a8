"""What a guess that never looks at the sample comes to, and whether a model does better.

A drop between two models that both guess says nothing of either: 10 % against 10 % is no loss. So
an accuracy gate asks first whether its baseline beats the best constant answer on the same labels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.measure.probability import binomial_at_least, normal_share
from pytest_edgequant.records import Chance
from pytest_edgequant.wording import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIGNIFICANCE = 0.05
"""A value that chance gives more often than this is not told from chance."""
_IMBALANCED = 0.8
_CERTAIN = 1e-6
_FEWEST_FOR_DECISIONS = 30
"""Below so many samples the normal approximation says little of decisions."""


def association(labels: NDArray[Any], predicted: NDArray[Any]) -> float:
    """How likely decisions that have nothing to do with the labels have so high a mean recall.

    By the mean and the variance over all permutations of the decisions (the sum of the classes'
    recalls is one of hypergeometric counts), in the normal approximation.
    """
    count = len(labels)
    classes, own = np.unique(labels, return_counts=True)
    if len(classes) < 2 or count < 2:
        return 1.0
    width = int(max(labels.max(), predicted.max())) + 1
    taken = np.bincount(predicted, minlength=width)[classes].astype(np.float64)
    right = np.bincount(labels[labels == predicted], minlength=width)[classes]
    recalls = float((right / own).sum())
    apart = ((count - own) * taken * (count - taken) / own).sum()
    together = taken.sum() ** 2 - np.square(taken).sum()
    variance = float(apart + together) / (count**2 * (count - 1))
    if variance <= 0:
        return 1.0
    return normal_share((float(taken.sum()) / count - recalls) / math.sqrt(variance))


def rank_test(positive: NDArray[np.bool_], scores: NDArray[Any]) -> float:
    """The one-sided p-value of Mann and Whitney's test that positives have higher scores.

    In the normal approximation with corrections for ties and continuity.
    """
    _, position, ties = np.unique(scores, return_inverse=True, return_counts=True)
    count, first = len(scores), int(positive.sum())
    pairs = first * (count - first)
    below = np.concatenate([[0], np.cumsum(ties)[:-1]])
    ranks = (below + (ties + 1) / 2)[position.reshape(-1)]
    statistic = float(ranks[positive].sum()) - first * (first + 1) / 2
    tied = float((ties.astype(np.float64) ** 3 - ties).sum()) / max(count * (count - 1), 1)
    variance = pairs / 12 * (count + 1 - tied)
    if variance <= 0:
        return 1.0
    return normal_share((pairs / 2 + 0.5 - statistic) / math.sqrt(variance))


def chance_of_share(
    right: int, labels: NDArray[Any], predicted: NDArray[Any], guesses: int = 1
) -> Chance:
    """Chance for the share of samples whose class is among so many guesses.

    Always answering the most frequent classes is right in their share of the samples; `right`
    samples are held against that, by the exact binomial test. `predicted` tells what may be wrong
    with the labels.
    """
    count = len(labels)
    classes, own = np.unique(labels, return_counts=True)
    often = np.argsort(-own, kind="stable")[:guesses]
    share = int(own[often].sum()) / count
    p_value = binomial_at_least(right, count, share)
    guess = _answering(classes[np.sort(often)])
    hints = []
    if len(classes) <= guesses:
        hints.append(_only(classes, count))
    else:
        if binomial_at_least(count, count, share) > SIGNIFICANCE:
            hints.append(f"{count} samples can't show more than that, even if all were right")
        shifted = _shifted(labels, predicted)
        if shifted:
            hints.append(shifted)
        elif share >= _IMBALANCED:
            hints.append(
                "where nearly all samples are of one class, use macro_recall, or roc_auc, which "
                "don't reward that"
            )
    hint = "; ".join(hints)
    return Chance(share, guess, p_value <= SIGNIFICANCE, p_value, "exact binomial test", hint)


def _answering(classes: NDArray[Any]) -> str:
    shown = ", ".join(map(str, classes[:5])) + (", ..." if len(classes) > 5 else "")
    return f"always answering class{'' if len(classes) == 1 else 'es'} {shown}"


def _only(classes: NDArray[Any], count: int) -> str:
    if count == 1:
        return "one sample tells no model from another"
    if len(classes) == 1:
        return f"all {count} samples are of class {classes[0]}, which tells no model from another"
    return (
        f"the samples are of {counted(len(classes), 'class')} only, of which that many guesses "
        "miss none"
    )


def _shifted(labels: NDArray[Any], predicted: NDArray[Any]) -> str:
    """Whether the decisions fit the labels once these are counted from another number."""
    count = len(labels)
    _, own = np.unique(labels, return_counts=True)
    share = float(own.max()) / count
    for step, said in ((1, "one more than"), (-1, "one less than")):
        fits = int((labels == predicted.astype(np.int64) + step).sum())
        if fits > count / 2 and binomial_at_least(fits, count, share) < _CERTAIN:
            return (
                f"{fits / count:.0%} of the labels are {said} the model's class: they are counted "
                "from another number"
            )
    return ""


def chance_of_agreement(decided: NDArray[Any]) -> Chance | None:
    """Chance for equal decisions, where the baseline `decided` the same of all samples.

    Then a candidate that never looks at the sample agrees with it on every one. Decisions that
    differ say something, however few of them do.
    """
    classes = np.unique(decided)
    if len(decided) < 2 or len(classes) > 1:
        return None
    guess = f"always deciding class {int(classes[0])}, as the baseline does,"
    return Chance(1.0, guess, False, hint="give samples that it tells apart")


def chance_of_one_answer(value: float, share: bool) -> Chance:
    """Chance for any metric, where the outputs are the same for every sample."""
    return Chance(
        value,
        "one answer for every sample, which is all that it has,",
        False,
        hint="check that the samples differ, and that the model is the trained one",
        share=share,
    )


def chance_of_recall(
    value: float, constant: float, labels: NDArray[Any], predicted: NDArray[Any]
) -> Chance:
    """Chance for a metric of the classes' recalls, given what a constant answer's `value` is."""
    classes, own = np.unique(labels, return_counts=True)
    guess = _answering(classes[[int(own.argmax())]])
    if len(classes) < 2:
        hint = _only(classes, len(labels))
        return Chance(constant, guess, False, 1.0, "one class", hint)
    p_value = association(labels, predicted)
    beaten = value > constant and p_value <= SIGNIFICANCE
    hint = "" if beaten else _shifted(labels, predicted)
    return Chance(constant, guess, beaten, p_value, "permutation test", hint)


def shuffled(predicted: NDArray[Any]) -> NDArray[Any]:
    """The same decisions, dealt out to the samples by chance; the same in every run."""
    return np.asarray(np.random.default_rng(0).permutation(predicted))


def chance_of_decisions(
    dealt: float, labels: NDArray[Any], predicted: NDArray[Any], share: bool
) -> Chance | None:
    """Chance for a function of labels and decisions that is not known: whether they are related.

    `dealt` is what the function gives for `shuffled` decisions. None for too few samples to tell,
    and for one class alone, of which such a function may be meant to say something.
    """
    if len(labels) < _FEWEST_FOR_DECISIONS or len(np.unique(labels)) < 2:
        return None
    p_value = association(labels, predicted)
    beaten = p_value <= SIGNIFICANCE
    hint = "" if beaten else _shifted(labels, predicted)
    guess = "dealing the same decisions out by chance"
    return Chance(dealt, guess, beaten, p_value, "permutation test", hint, share)


def chance_of_pixels(
    value: float, both: NDArray[Any], labelled: NDArray[Any], predicted: NDArray[Any]
) -> Chance:
    """Chance for a mean IoU, by the pixels of each class in both, in labels and in prediction.

    The better of a picture of one class, and the same decisions strewn over the pixels; the pixels
    that agree are held against these in the normal approximation of all permutations.
    """
    total, there = float(labelled.sum()), int(np.count_nonzero(labelled))
    most = int(labelled.argmax())
    constant = float(labelled[most] / total / there) if there else 0.0
    if there < 2:
        hint = f"all pixels are of class {most}"
        return Chance(constant, f"a picture all of class {most}", False, hint=hint)
    met = labelled * predicted / total
    union = labelled + predicted - met
    strewn = float((met[union > 0] / union[union > 0]).mean())
    apart = (labelled * (total - labelled) * predicted * (total - predicted)).sum()
    products = labelled * predicted
    together = products.sum() ** 2 - np.square(products).sum()
    variance = float(apart + together) / (total**2 * max(total - 1, 1))
    z = float(both.sum() - met.sum()) / math.sqrt(variance) if variance > 0 else 0.0
    chance, guess = max(
        (constant, f"a picture all of class {most}"),
        (strewn, "as many pixels of each class anywhere"),
    )
    p_value = normal_share(-z)
    beaten = value > chance and p_value <= SIGNIFICANCE
    return Chance(chance, guess, beaten, p_value, "permutation test of pixels")


def chance_of_ranking(value: float, positive: NDArray[np.bool_], scores: NDArray[Any]) -> Chance:
    """Chance for an area under the ROC curve: half of all pairs."""
    p_value = rank_test(positive, scores)
    beaten = value > 0.5 and p_value <= SIGNIFICANCE
    reverse = rank_test(~positive, scores)
    hint = ""
    if not beaten and reverse <= SIGNIFICANCE:
        hint = "normal samples have the higher scores: labels 0 and 1 may be exchanged"
    return Chance(0.5, "a score at random", beaten, p_value, "Mann-Whitney test", hint)


def chance_of_error(own: float, constant: float, what: str, spread: bool) -> Chance:
    """Chance for an error: that of the best constant answer, which is `what`."""
    hint = "" if spread else "all targets are the same, which tells no model from another"
    return Chance(constant, f"always answering {what}", own < constant, hint=hint, share=False)

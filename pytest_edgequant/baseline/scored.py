"""What a baseline keeps of an evaluation: which samples, and how each fared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pytest_edgequant.results.samples import Samples

if TYPE_CHECKING:
    from pytest_edgequant.measure.scores import Score, TaskMetric


def samples_of(metric: TaskMetric, score: Score, dataset: str) -> Samples:
    """What is kept of a metric's score on the samples with the digest `dataset`."""
    values = None
    if score.outcomes is None and score.per_sample is not None:
        values = score.per_sample.astype(np.float32)
        if not np.isfinite(values).all():
            values = None  # beyond float32
    return Samples(
        dataset,
        len(score.kept[0]),
        metric.share,
        metric.higher_is_better,
        score.outcomes,
        values,
    )

"""What evaluations, comparisons and calibrations were found to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pytest_edgequant.records import accounts
from pytest_edgequant.records.telling import Telling, Told
from pytest_edgequant.records.variants import Variant

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Evaluation(Telling):
    """What a metric says of one variant on one dataset.

    `outcomes` is a boolean array (count,) that tells which samples were right, for metrics that
    judge sample by sample (top-1 and top-k accuracy), else None. `per_sample` is a float64 array
    (count,) for metrics that are a mean over samples (the absolute errors of MAE). `details` are
    further figures, such as `recall[3]`, the recall of class 3. `runtime` is what it was run on,
    `provenance` says so for people, with the part of the samples where it was not all of them:
    `count` of `total`.
    """

    value: float
    metric: str
    count: int
    outcomes: NDArray[np.bool_] | None
    higher_is_better: bool = True
    per_sample: NDArray[np.float64] | None = None
    details: Mapping[str, float] = field(default_factory=dict)
    runtime: str = "litert"
    provenance: str = ""
    total: int | None = None

    def _told(self) -> Told:
        return accounts.of_evaluation(self)


@dataclass(frozen=True)
class Chance:
    """What an answer that never looks at the sample comes to with a metric, on the same labels.

    `value` is what `guess` gives. `beaten` tells whether the model does better: by `test` with its
    one-sided `p_value` where there is one, else by the values alone. `hint` says what is wrong with
    labels or samples where that can be told. `share`: values are fractions from 0 to 1.
    """

    value: float
    guess: str
    beaten: bool
    p_value: float | None = None
    test: str = ""
    hint: str = ""
    share: bool = True


@dataclass(frozen=True)
class Fidelity(Telling):
    """How near a variant's outputs are to the baseline's, over all values of `count` samples.

    `cosine` is the cosine similarity, `sqnr_db` the signal to quantization noise ratio in dB
    (infinite where outputs are identical), `largest_error` the largest absolute difference. Of
    several outputs they are those of the worst, `output`. None where all values are zero.
    """

    cosine: float | None
    sqnr_db: float | None
    largest_error: float
    count: int
    output: str = ""

    def _told(self) -> Told:
        return accounts.of_fidelity(self)


@dataclass(frozen=True)
class ClassDrop:
    """The recall of one class before and after: fractions, with the drop's interval."""

    label: int
    drop: float
    baseline: float
    candidate: float
    count: int
    low: float
    high: float


@dataclass(frozen=True)
class AccuracyComparison(Telling):
    """Candidate against baseline on the same samples.

    `drop` is positive when the candidate is worse, in the metric's own unit (a fraction for
    accuracy); `low` and `high` are its interval at `confidence`, by `method`, None with the
    `reason` where there is none. `lost` and `gained` count the samples that only the baseline, or
    only the candidate, got right, `p_value` is McNemar's exact one; None for metrics that do not
    judge sample by sample. `detectable` is the smallest drop that as many samples can show at that
    confidence, infinite where none can. `classes` has the drop of each class, the worst first, for
    metrics of classes; `agreement` the share of equal decisions, `fidelity` the outputs' distance,
    `candidate_interval` the interval of the candidate's own value. `baseline_chance` and
    `candidate_chance` hold each value against guessing, None where chance is not known of the
    metric. `notes` are what to know of the samples or outputs. `runtime` is what the candidate was
    run on, `provenance` says so for people; `total` are the samples that `count` is a part of.
    """

    drop: float
    metric: str
    baseline: float
    candidate: float
    count: int
    lost: int | None
    gained: int | None
    low: float | None = None
    high: float | None = None
    confidence: float = 0.95
    p_value: float | None = None
    detectable: float | None = None
    method: str = ""
    share: bool = False
    reason: str | None = None
    classes: tuple[ClassDrop, ...] = ()
    agreement: float | None = None
    fidelity: Fidelity | None = None
    candidate_interval: tuple[float, float] | None = None
    baseline_chance: Chance | None = None
    candidate_chance: Chance | None = None
    notes: tuple[str, ...] = ()
    runtime: str = "litert"
    provenance: str = ""
    total: int | None = None

    @property
    def worst_class(self) -> ClassDrop | None:
        """The class that lost most of its recall; None where the metric is not one of classes."""
        return self.classes[0] if self.classes else None

    def _told(self) -> Told:
        return accounts.of_comparison(self)


@dataclass(frozen=True)
class RuntimeParity(Telling):
    """How far a variant's outputs differ between two runtimes, over `count` samples.

    `max_steps` and `mean_steps` are in steps of the output's scale (float outputs: in float32
    steps at the output's magnitude), `output` is where the largest difference is. `differing`
    samples have any difference, `changed` ones another decision (the highest score).
    """

    runtimes: tuple[str, str]
    count: int
    max_steps: float
    mean_steps: float
    differing: int
    changed: int
    output: str
    provenance: str

    def _told(self) -> Told:
        return accounts.of_parity(self)


@dataclass(frozen=True)
class TensorRange:
    """A tensor's calibrated range, `low` to `high`, and the real values that were seen in it.

    `below` and `above` are the shares of values outside the range, 0 to 1.
    """

    name: str
    operator: str
    low: float
    high: float
    below: float
    above: float
    seen_low: float
    seen_high: float

    @property
    def outside(self) -> float:
        """The share of values that the range clips."""
        return self.below + self.above

    @property
    def used(self) -> float:
        """How much of the range the values span, as a fraction."""
        whole = self.high - self.low
        return (self.seen_high - self.seen_low) / whole if whole > 0 else 1.0


@dataclass(frozen=True)
class CalibrationQuality(Telling):
    """How well calibrated ranges fit the evaluation set; `findings` says what is wrong.

    `count` is the number of calibration samples, `evaluated` that of evaluation samples.
    `activations` are sorted by the share outside, `method` tells how that was found.
    `missing_classes` have evaluation samples and no calibration sample, by the labels or, where
    calibration came without (`labelled` is False), by what the model takes its samples for.
    `shared_samples` is the number of evaluation samples that were calibrated with. None where that
    is not known.
    """

    count: int | None
    evaluated: int
    inputs: tuple[TensorRange, ...]
    activations: tuple[TensorRange, ...]
    missing_classes: tuple[int, ...] | None
    shared_samples: int | None
    method: str
    labelled: bool = True
    findings: tuple[str, ...] = ()

    def _told(self) -> Told:
        return accounts.of_quality(self)


@dataclass(frozen=True)
class CalibrationTrial:
    """One conversion with a random part of the calibration samples, and the drop it gave."""

    size: int
    seed: int
    drop: float
    value: float


@dataclass(frozen=True)
class CalibrationRobustness(Telling):
    """How much the drop depends on which samples calibrate; `trials` by size and seed.

    `baseline_chance` and `notes` are as in `AccuracyComparison`.
    """

    variant: Variant
    metric: str
    baseline: float
    share: bool
    trials: tuple[CalibrationTrial, ...]
    baseline_chance: Chance | None = None
    notes: tuple[str, ...] = ()

    @property
    def worst(self) -> CalibrationTrial:
        return max(self.trials, key=lambda t: t.drop)

    @property
    def spread(self) -> float:
        """The worst drop less the best."""
        drops = [trial.drop for trial in self.trials]
        return max(drops) - min(drops)

    def _told(self) -> Told:
        return accounts.of_robustness(self)

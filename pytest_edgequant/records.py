"""What the rooms hand to each other: frozen records, and nothing that computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.errors import user_facing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_edgequant.measure.arena.profiles import Profile

UNVERIFIED = "unverified"


class Outcome(str, Enum):
    """The verdict of one check."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    CANNOT_RUN = "cannot_run"
    UNAVAILABLE = "unavailable"
    NOT_APPLICABLE = "not_applicable"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Figure:
    """One figure of a target with the source that it was read from.

    `source` is "unverified" where it is an assumption; `note` then says how it comes about.
    """

    value: int
    source: str
    note: str = ""

    @property
    def verified(self) -> bool:
        return self.source != UNVERIFIED


@dataclass(frozen=True, repr=False)
class Target:
    """A board or device profile. Sizes in bytes, clock in Hz; None means there is no such limit.

    `flash_after_firmware` is shared by the model and the runtime's code, `flash_for_model` is the
    model's alone and wins where both are given. `tflm` is the age of the TFLM sources in the
    firmware, as "2024-08" or "2024-08-15"; None where it is not known. `release` is the library
    that ships them, where the arena has a profile of it. `custom_operators` are those that the
    firmware registers.
    """

    name: str
    title: str
    vendor: str
    soc: str
    core: str
    isa: str
    runtime: str
    kernels: str
    variants: tuple[str, ...]
    refused: Mapping[str, str]
    aliases: tuple[str, ...] = ()
    accelerator: str | None = None
    requires_integer_io: bool = False
    tflm: str | None = None
    release: str | None = None
    custom_operators: tuple[str, ...] = ()
    clock: Figure | None = None
    flash: Figure | None = None
    sram: Figure | None = None
    flash_after_firmware: Figure | None = None
    flash_for_model: Figure | None = None
    sram_for_arena: Figure | None = None

    def __repr__(self) -> str:
        return f"<Target {self.name}>"

    @property
    def is_microcontroller(self) -> bool:
        return self.runtime == "tflm"

    @property
    def has_fpu(self) -> bool:
        """Whether the core computes float32 in hardware, as `isa` says."""
        return "no FPU" not in self.isa


@dataclass(frozen=True)
class Quantization:
    """Affine quantization of one tensor: real = scale * (quantized - zero_point).

    One scale and zero point for the whole tensor, or one for each index along `axis`.
    """

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int | None = None

    @property
    def per_axis(self) -> bool:
        return self.axis is not None


@dataclass(frozen=True)
class TensorInfo:
    """A tensor of a model: `shape` as stored (the batch is 1 in what we convert)."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    quantization: Quantization | None = None
    index: int = -1
    constant: bool = False

    @property
    def real_dtype(self) -> np.dtype[Any]:
        """The type of the values that users give and get: float32 where it is quantized."""
        return np.dtype(np.float32) if self.quantization is not None else self.dtype

    @property
    def scale(self) -> float | tuple[float, ...] | None:
        """One number per tensor, a tuple per axis, None where the tensor is not quantized."""
        if self.quantization is None:
            return None
        scales = self.quantization.scales
        return scales if self.quantization.per_axis else scales[0]

    @property
    def zero_point(self) -> int | tuple[int, ...] | None:
        """As `scale`: one number, a tuple, or None."""
        if self.quantization is None:
            return None
        points = self.quantization.zero_points
        return points if self.quantization.per_axis else points[0]


@dataclass(frozen=True)
class HeldOut:
    """Samples of a dataset that calibration used, so that evaluation leaves them out."""

    dataset: str
    indices: tuple[int, ...]


@dataclass(frozen=True)
class TrainingSummary:
    """What a quantization-aware training came to, on its validation samples.

    `metric` is "accuracy" (a fraction) or "loss"; `float_value`, `untrained_value` and
    `trained_value` are those of the float model, of int8 before training, and of the best epoch,
    the last two simulated (the second is None where the library that trained doesn't start from
    calibrated ranges). `best_epoch` is 0 where no epoch was better than none. `agreement` is
    the share of samples for which the simulated model and the file name the same class; None for a
    model without classes.
    """

    metric: str
    float_value: float
    untrained_value: float | None
    trained_value: float
    samples: int
    epochs: int
    best_epoch: int
    agreement: float | None


@dataclass(frozen=True, repr=False)
class Variant:
    """One quantization form of one model: the file that would be deployed, and what is known of it.

    `fingerprint` is the SHA-256 of `content`. `notes` is what the conversion has to say to the
    user. `tensors` are all tensors of the main subgraph, with their quantization parameters.
    `calibration` are the samples that it was calibrated with, None where there were none or where
    they are not known.
    `training` is there for a variant that was trained.
    """

    name: str
    content: bytes
    path: Path
    fingerprint: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    tensors: tuple[TensorInfo, ...]
    model_name: str = "model"
    target: Target | None = None
    notes: tuple[str, ...] = ()
    held_out: HeldOut | None = None
    calibration: Any = field(default=None, compare=False)
    training: TrainingSummary | None = None

    def __repr__(self) -> str:
        target = f" for {self.target.name}" if self.target else ""
        return f"<Variant {self.label}{target}, {self.size_bytes:,} B>"

    @property
    def label(self) -> str:
        """Model and variant as messages name them: `digits/int8`."""
        return f"{self.model_name}/{self.name}"

    @property
    def size_bytes(self) -> int:
        """Bytes of the .tflite file."""
        return len(self.content)

    @user_facing
    def predict(self, x: Any) -> NDArray[Any] | list[NDArray[Any]]:
        """Run real-valued samples through the model, as the device would, one at a time.

        `x` is an array (N, ...) of real values, or for several inputs a dict by input name or a
        sequence in input order. Integer inputs are quantized with the model's own scale and zero
        point (round half away from zero,
        saturating), outputs are dequantized: float32 arrays (N, ...),
        a list of them for several outputs.

        Raises `DatasetError` for shapes that don't fit and `IsolatedProcessError` when the
        interpreter dies.
        """
        from pytest_edgequant.pipeline import current_pipeline

        outputs = current_pipeline().predict(self, x)
        return outputs[0] if len(outputs) == 1 else outputs


@dataclass(frozen=True)
class Metric:
    """One measured figure. `value` is None exactly when it is unavailable; then `reason` says why.

    `low` and `high` bound the error where it is known; `provenance` says how it was obtained.
    """

    value: float | int | None
    unit: str
    provenance: str
    low: float | int | None = None
    high: float | int | None = None
    reason: str | None = None

    @classmethod
    def unavailable(cls, unit: str, reason: str) -> Metric:
        return cls(None, unit, "unavailable", reason=reason)


@dataclass(frozen=True)
class Verdict:
    """The outcome of one check on one variant, with the limit and the value it was judged by."""

    check: str
    verdict: Outcome
    message: str
    limit: float | int | str | None = None
    value: float | int | None = None


@dataclass(frozen=True)
class PlannedBuffer:
    """A buffer of the arena's non-persistent part: a tensor, or an operator's scratch.

    `operator` produces the tensor or owns the scratch (empty for the model's inputs). `tensor` is
    the index in the main subgraph, None for scratch. `first` and `last` are the scopes in which it
    is alive: 0 before the first operator, then one an operator.
    """

    name: str
    kind: str
    operator: str
    tensor: int | None
    offset: int
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Peak:
    """The operator at which most of the non-persistent part is alive, and what is alive then."""

    operator: str
    bytes: int
    alive: tuple[PlannedBuffer, ...]


@dataclass(frozen=True)
class Suggestion:
    """A way to a smaller arena, and how many bytes of `minimum_bytes` it saves, as computed."""

    text: str
    bytes: int

    def __str__(self) -> str:
        return f"{self.text}: {self.bytes:,} B less"


@dataclass(frozen=True)
class Arena:
    """The tensor arena that TFLM needs, in bytes.

    `nonpersistent_bytes` is the head (planned activations and scratch), `persistent_bytes` the
    tail (records of tensors and nodes, kernels' data); `total_bytes` their sum, as TFLM's
    `arena_used_bytes()` reports it. `minimum_bytes` is the smallest arena with which allocation
    succeeds: planning itself needs room, so it can be more. `lower_bound_bytes` is the most that is
    alive at once: no plan of the non-persistent part can be smaller. `sections` are the persistent
    bytes by purpose, `operators` by operator.

    Where the memory of operators is not known, `unknown` names them; all figures are upper bounds
    then, and `low_bytes` is the smallest arena without those operators' own data, which the need
    can't be below. Elsewhere `low_bytes` equals `minimum_bytes`.
    """

    total_bytes: int
    nonpersistent_bytes: int
    persistent_bytes: int
    minimum_bytes: int
    provenance: str
    lower_bound_bytes: int | None = None
    plan: tuple[PlannedBuffer, ...] = ()
    peak: Peak | None = None
    sections: Mapping[str, int] = field(default_factory=dict)
    operators: Mapping[str, int] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    low_bytes: int = -1
    model: bytes = field(default=b"", repr=False, compare=False)
    profile: Profile | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.low_bytes < 0:
            object.__setattr__(self, "low_bytes", self.minimum_bytes)

    @property
    def exact(self) -> bool:
        """Whether this is what the device needs, to the byte."""
        return not self.unknown and self.provenance.startswith("exact")

    def metric(self) -> Metric:
        """`minimum_bytes` as a metric; with bounds where operators are not known."""
        low = self.low_bytes if self.unknown else None
        high = self.minimum_bytes if self.unknown else None
        return Metric(self.minimum_bytes, "bytes", self.provenance, low, high)

    def suggestions(self) -> tuple[Suggestion, ...]:
        """What would make it smaller, computed with the same rules; the largest effect first."""
        if self.profile is None or not self.model:
            return ()
        from pytest_edgequant.measure.arena.suggestions import suggest

        return suggest(self.model, self.profile)

    def svg(self) -> str:
        """A picture of the plan as SVG: operators across, addresses up, a box for each buffer.

        Raises `MissingExtraError` without Matplotlib.
        """
        from pytest_edgequant.report.arena_plot import arena_svg

        return arena_svg(self)

    def explain(self) -> str:
        """Where the bytes go, and what would make them fewer.

        The peak and what is alive there, the persistent part by purpose and by operator, how far
        the plan is from its lower bound, and changes with their effect in bytes.
        """
        lines = [
            f"{self.minimum_bytes:,} B are needed ({self.provenance}): "
            f"{self.nonpersistent_bytes:,} B planned, {self.persistent_bytes:,} B persistent"
        ]
        if self.unknown:
            lines.append(f"{self.low_bytes:,} B are needed at least, without {self._unknown()}")
        if self.minimum_bytes > self.total_bytes + 15:
            lines.append(
                f"{self.total_bytes:,} B are used afterwards; preparing needs more room for a while"
            )
        if self.peak is not None and self.lower_bound_bytes is not None:
            lines.append(f"most is alive at {self.peak.operator}: {self.peak.bytes:,} B")
            largest = sorted(self.peak.alive, key=lambda b: -b.size)
            lines += [f"  {b.size:>10,} B  {b.kind} {b.name}" for b in largest[:8]]
            above = self.nonpersistent_bytes - self.lower_bound_bytes
            lines.append(
                f"the plan is {above:,} B above that"
                if above
                else "no plan of the same buffers can be smaller"
            )
        lines.append("persistent, by purpose:")
        lines += _shares(self.sections)
        if self.operators:
            lines.append("persistent, by operator:")
            lines += _shares(self.operators, 5)
        found = self.suggestions()
        if found:
            lines.append("what would make it smaller:")
            lines += [f"  {suggestion.bytes:>10,} B  {suggestion.text}" for suggestion in found]
        return "\n".join(lines)

    def _unknown(self) -> str:
        return f"what is not known of {', '.join(self.unknown)}"


def _shares(parts: Mapping[str, int], most: int | None = None) -> list[str]:
    """Lines of the largest parts, and how much the others are together."""
    by_size = sorted(parts.items(), key=lambda item: (-item[1], item[0]))
    shown, others = by_size[:most], by_size[len(by_size[:most]) :]
    lines = [f"  {count:>10,} B  {name}" for name, count in shown]
    if others:
        lines.append(f"  {sum(c for _, c in others):>10,} B  in {len(others)} others")
    return lines


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a metric says of one variant on one dataset.

    `outcomes` is a boolean array (count,) that tells which samples were right, for metrics that
    judge sample by sample (top-1 and top-k accuracy), else None. `per_sample` is a float64 array
    (count,) for metrics that are a mean over samples (the absolute errors of MAE). `details` are
    further figures, such as `recall[3]`, the recall of class 3. `runtime` is what it was run on,
    `provenance` says so for people, with the part of the samples where it was not all of them.
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


@dataclass(frozen=True)
class Fidelity:
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
class AccuracyComparison:
    """Candidate against baseline on the same samples.

    `drop` is positive when the candidate is worse, in the metric's own unit (a fraction for
    accuracy); `low` and `high` are its interval at `confidence`, by `method`, None with the
    `reason` where there is none. `lost` and `gained` count the samples that only the baseline, or
    only the candidate, got right, `p_value` is McNemar's exact one; None for metrics that do not
    judge sample by sample. `detectable` is the smallest drop that as many samples can show at that
    confidence, infinite where none can. `classes` has the drop of each class, the worst first, for
    metrics of classes; `agreement` the share of equal decisions, `fidelity` the outputs' distance,
    `candidate_interval` the interval of the candidate's own value. `runtime` is what the candidate
    was run on, `provenance` says so for people.
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
    runtime: str = "litert"
    provenance: str = ""

    @property
    def worst_class(self) -> ClassDrop | None:
        """The class that lost most of its recall; None where the metric is not one of classes."""
        return self.classes[0] if self.classes else None


@dataclass(frozen=True)
class RuntimeParity:
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
class CalibrationQuality:
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


@dataclass(frozen=True)
class CalibrationTrial:
    """One conversion with a random part of the calibration samples, and the drop it gave."""

    size: int
    seed: int
    drop: float
    value: float


@dataclass(frozen=True)
class CalibrationRobustness:
    """How much the drop depends on which samples calibrate; `trials` by size and seed."""

    variant: Variant
    metric: str
    baseline: float
    share: bool
    trials: tuple[CalibrationTrial, ...]

    @property
    def worst(self) -> CalibrationTrial:
        return max(self.trials, key=lambda t: t.drop)

    @property
    def spread(self) -> float:
        """The worst drop less the best."""
        drops = [trial.drop for trial in self.trials]
        return max(drops) - min(drops)


@dataclass(frozen=True)
class Change:
    """A figure of this run beside the baseline's, and whether that is a regression.

    `before` is None where the baseline has no such figure, `after` where this run has none.
    `verdict` is PASS for what is no regression (an improvement too), FAIL for one, INCONCLUSIVE
    where the samples don't decide it, UNAVAILABLE where the two can't be compared, NOT_APPLICABLE
    where nothing judges it (informational). `low` and `high` bound `after - before` where
    paired statistics tell; for accuracy and other metrics that are better when higher, a drop is
    negative. `message` says what happened and what to do.
    """

    metric: str
    unit: str
    before: float | int | None
    after: float | int | None
    verdict: Outcome
    message: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Result:
    """Everything that a run found out about one variant of one model on one target.

    `changes` are its differences to the baseline; none where the run had no baseline.
    """

    model: str
    variant: str
    target: str | None
    metrics: Mapping[str, Metric]
    verdicts: Sequence[Verdict]
    notes: Sequence[str] = ()
    changes: Sequence[Change] = ()


@dataclass(frozen=True)
class Failure:
    """A test that failed: its node id, where it stands, and the message it failed with.

    `file` is relative to pytest's root folder, `line` counts from 1; None where it is not known.
    """

    test: str
    file: str
    line: int | None
    message: str


@dataclass(frozen=True)
class ModelFile:
    """Where the .tflite behind a result is: `path`, or `content` where the file won't last.

    `fingerprint` is its SHA-256 in hexadecimal.
    """

    fingerprint: str
    path: str
    content: bytes | None = field(default=None, repr=False)

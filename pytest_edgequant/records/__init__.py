"""What the rooms hand to each other: frozen records, and nothing that computes."""

from pytest_edgequant.records.accuracy import (
    AccuracyComparison,
    CalibrationQuality,
    CalibrationRobustness,
    CalibrationTrial,
    Chance,
    ClassDrop,
    Evaluation,
    Fidelity,
    RuntimeParity,
    TensorRange,
)
from pytest_edgequant.records.arena import (
    Arena,
    Peak,
    PlannedBuffer,
    Suggestion,
)
from pytest_edgequant.records.results import (
    STATES,
    Change,
    Failure,
    GateTest,
    Metric,
    ModelFile,
    Outcome,
    Result,
    RowKey,
    Verdict,
)
from pytest_edgequant.records.targets import (
    UNVERIFIED,
    Figure,
    Target,
)
from pytest_edgequant.records.variants import (
    HeldOut,
    Quantization,
    TensorInfo,
    TrainingSummary,
    Variant,
)

__all__ = [
    "STATES",
    "UNVERIFIED",
    "AccuracyComparison",
    "Arena",
    "CalibrationQuality",
    "CalibrationRobustness",
    "CalibrationTrial",
    "Chance",
    "Change",
    "ClassDrop",
    "Evaluation",
    "Failure",
    "Fidelity",
    "Figure",
    "GateTest",
    "HeldOut",
    "Metric",
    "ModelFile",
    "Outcome",
    "Peak",
    "PlannedBuffer",
    "Quantization",
    "Result",
    "RowKey",
    "RuntimeParity",
    "Suggestion",
    "Target",
    "TensorInfo",
    "TensorRange",
    "TrainingSummary",
    "Variant",
    "Verdict",
]

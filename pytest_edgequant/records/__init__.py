"""What the rooms hand to each other: frozen records, and nothing that computes.

It may import the ground alone, the modules of the package's root; machinery that a record needs is
handed to it from above.
"""

from pytest_edgequant.outcomes import Outcome, Verdict
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
    NOT_COMPARABLE,
    STATES,
    Change,
    Failure,
    GateTest,
    Metric,
    ModelFile,
    Result,
    RowKey,
)
from pytest_edgequant.records.targets import (
    UNVERIFIED,
    CompilerOption,
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
    "NOT_COMPARABLE",
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
    "CompilerOption",
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

"""pytest-edgequant: deployment constraints of quantized models as tests.

The public names load what they need when they are first used: importing the package imports no
TensorFlow, no LiteRT and no NumPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pytest_edgequant.version import __version__

if TYPE_CHECKING:
    from pytest_edgequant.api.accuracy import compare_accuracy, evaluate, measure_runtime_parity
    from pytest_edgequant.api.convert import convert
    from pytest_edgequant.api.difference import compare_models
    from pytest_edgequant.api.fingerprint import model_fingerprint
    from pytest_edgequant.api.latency import (
        DeviceMeasurement,
        HostMeasurement,
        LatencyEstimate,
        LayerLatency,
        estimate_latency,
        measure_speedup,
    )
    from pytest_edgequant.api.layers import inspect_model
    from pytest_edgequant.api.memory import (
        measure_arena,
        optimize_arena,
    )
    from pytest_edgequant.api.strip import strip_model
    from pytest_edgequant.api.targets import load_target
    from pytest_edgequant.conversion.qat.recipe import TrainingRecipe
    from pytest_edgequant.diagnose.calibration_quality import calibration_quality
    from pytest_edgequant.diagnose.robustness import calibration_robustness
    from pytest_edgequant.errors import (
        AccuracyDropExceeded,
        ArenaExceeded,
        CalibrationError,
        CannotRun,
        CannotRunError,
        ConversionError,
        DatasetError,
        DeviceResultError,
        DocumentError,
        EdgeAssertionError,
        EdgeQuantError,
        Inconclusive,
        IsolatedProcessError,
        LatencyExceeded,
        MeasurementUnavailable,
        MetricError,
        MissingExtraError,
        ModelError,
        NotApplicableError,
        NotDeployable,
        NotDerivableError,
        NotFullyInteger,
        RuntimesDiffer,
        SettingsError,
        SizeExceeded,
        SpeedupMissed,
        TargetError,
        TrainingError,
        Unavailable,
        UnitError,
        UnknownNameError,
        UnsupportedOperators,
    )
    from pytest_edgequant.gate.accuracy import assert_calibration_robust, assert_max_accuracy_drop
    from pytest_edgequant.gate.deployment import (
        assert_arena_fits,
        assert_deployable,
        assert_fully_integer,
        assert_ops_supported,
        assert_size_within,
    )
    from pytest_edgequant.gate.latency import assert_latency_within, assert_speedup
    from pytest_edgequant.gate.parity import assert_runtime_parity
    from pytest_edgequant.measure.metrics import (
        TaskMetric,
        mean_iou,
        roc_auc,
        task_metric,
        top_k,
    )
    from pytest_edgequant.measure.paired import compare_outcomes
    from pytest_edgequant.records import (
        AccuracyComparison,
        Arena,
        CalibrationQuality,
        CalibrationRobustness,
        ClassDrop,
        Evaluation,
        Fidelity,
        Metric,
        Outcome,
        Peak,
        PlannedBuffer,
        Result,
        RuntimeParity,
        Target,
        TensorInfo,
        TrainingSummary,
        Variant,
        Verdict,
    )

__all__ = [
    "AccuracyComparison",
    "AccuracyDropExceeded",
    "Arena",
    "ArenaExceeded",
    "ArenaMismatch",
    "CalibrationError",
    "CalibrationQuality",
    "CalibrationRobustness",
    "CannotRun",
    "CannotRunError",
    "ClassDrop",
    "ConversionError",
    "DatasetError",
    "DeviceMeasurement",
    "DeviceResultError",
    "DocumentError",
    "EdgeAssertionError",
    "EdgeQuantError",
    "Evaluation",
    "Fidelity",
    "HostMeasurement",
    "Inconclusive",
    "IsolatedProcessError",
    "LatencyEstimate",
    "LatencyExceeded",
    "LayerLatency",
    "MeasurementUnavailable",
    "Metric",
    "MetricError",
    "MissingExtraError",
    "ModelError",
    "NotApplicableError",
    "NotDeployable",
    "NotDerivableError",
    "NotFullyInteger",
    "Outcome",
    "Peak",
    "PlannedBuffer",
    "Result",
    "RuntimeParity",
    "RuntimesDiffer",
    "SettingsError",
    "SizeExceeded",
    "SpeedupMissed",
    "Suggestion",
    "Target",
    "TargetError",
    "TaskMetric",
    "TensorInfo",
    "TrainingError",
    "TrainingRecipe",
    "TrainingSummary",
    "Unavailable",
    "UnitError",
    "UnknownNameError",
    "UnsupportedOperators",
    "Variant",
    "Verdict",
    "__version__",
    "assert_arena_fits",
    "assert_calibration_robust",
    "assert_deployable",
    "assert_fully_integer",
    "assert_latency_within",
    "assert_max_accuracy_drop",
    "assert_ops_supported",
    "assert_runtime_parity",
    "assert_size_within",
    "assert_speedup",
    "calibration_quality",
    "calibration_robustness",
    "compare_accuracy",
    "compare_models",
    "compare_outcomes",
    "convert",
    "estimate_latency",
    "evaluate",
    "inspect_model",
    "load_target",
    "mean_iou",
    "measure_arena",
    "measure_runtime_parity",
    "measure_speedup",
    "model_fingerprint",
    "optimize_arena",
    "roc_auc",
    "strip_model",
    "task_metric",
    "top_k",
]


# Lightest first: an error class must not load what measures.
_HOMES = (
    "errors",
    "records",
    "conversion.qat.recipe",
    "measure.metrics",
    "measure.paired",
    "api.convert",
    "api.targets",
    "api.fingerprint",
    "api.memory",
    "api.layers",
    "api.difference",
    "api.strip",
    "api.accuracy",
    "diagnose.calibration_quality",
    "diagnose.robustness",
    "api.latency",
    "gate.latency",
    "gate.deployment",
    "gate.accuracy",
    "gate.parity",
)


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in _HOMES:
            module = import_module(f"{__name__}.{home}")
            if hasattr(module, name):
                globals()[name] = getattr(module, name)
                return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

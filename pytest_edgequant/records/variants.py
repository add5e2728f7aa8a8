"""One quantization form of one model, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.errors import ModelError, user_facing
from pytest_edgequant.records.targets import Target
from pytest_edgequant.records.telling import Telling, Told
from pytest_edgequant.units import format_bytes
from pytest_edgequant.wording import counted, short

if TYPE_CHECKING:
    from numpy.typing import NDArray


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


def _described(info: TensorInfo) -> str:
    """A tensor in words: `image: int8 (1, 8, 8, 1), scale 0.00392, zero point -128`."""
    text = f"{short(info.name)}: {info.dtype} {info.shape}"
    if info.quantization is None:
        return text
    if info.quantization.per_axis:
        return f"{text}, scales along axis {info.quantization.axis}"
    return f"{text}, scale {info.quantization.scales[0]:.4g}, zero point {info.zero_point}"


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
class Variant(Telling):
    """One quantization form of one model: the file that would be deployed, and what is known of it.

    `fingerprint` is the SHA-256 of `content`. `notes` is what the conversion has to say to the
    user. `tensors` are all tensors of the main subgraph, with their quantization parameters.
    `calibration` are the samples that it was calibrated with, None where there were none or where
    they are not known.
    `training` is there for a variant that was trained. `runner` is what `predict` asks.
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
    runner: Callable[[Variant, Any], list[NDArray[Any]]] | None = field(default=None, compare=False)

    _UNTOLD = frozenset({"content", "runner"})

    def _told(self) -> Told:
        target = f" for {self.target.name}" if self.target else ""
        trained = self.training
        training = (
            ""
            if trained is None
            else f"{trained.metric} {trained.trained_value:.4g} after {trained.best_epoch} of "
            f"{counted(trained.epochs, 'epoch')} (float model {trained.float_value:.4g})"
        )
        return Told(
            f"{self.label}{target}: {format_bytes(self.size_bytes)}",
            (
                ("inputs", "\n".join(map(_described, self.inputs))),
                ("outputs", "\n".join(map(_described, self.outputs))),
                ("training", training),
                ("file", str(self.path)),
                ("sha256", self.fingerprint),
                ("note", "\n".join(self.notes)),
            ),
        )

    def identity(self) -> Any:
        """The names, and the file that they stand for."""
        target = self.target.name if self.target is not None else None
        return {
            "model_name": self.model_name,
            "name": self.name,
            "target": target,
            "fingerprint": self.fingerprint,
            "size_bytes": self.size_bytes,
        }

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

        Raises `DatasetError` for shapes that don't fit, `ModelError` without a `runner`, and
        `IsolatedProcessError` when the interpreter dies.
        """
        if self.runner is None:
            raise ModelError(
                f"{self.label}: this record was made by hand and has nothing that runs it; "
                "convert() gives one that has"
            )
        outputs = self.runner(self, x)
        return outputs[0] if len(outputs) == 1 else outputs

"""What goes into a conversion and what comes out of it: description, order, converted file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_edgequant.forms import VariantSpec
from pytest_edgequant.progress import Progress, silent

if TYPE_CHECKING:
    from pytest_edgequant.conversion.calibration import Calibration
    from pytest_edgequant.conversion.qat.recipe import Training
    from pytest_edgequant.samples.inputs import InputSpec


@dataclass(frozen=True)
class Description:
    """What is known of a source before conversion.

    `recurrent` is None where layers can't be seen (a SavedModel), else whether there are any;
    `stateful` names those that keep their state from one inference to the next.
    """

    inputs: tuple[InputSpec, ...]
    output_names: tuple[str, ...]
    legacy_keras: bool
    recurrent: bool | None
    stateful: tuple[str, ...] = ()


@dataclass(frozen=True)
class Order:
    """What to convert to: the variant, and what it is calibrated and trained with.

    `description` is what is known of the source, for conversions that need it; `progress` shows a
    line while something takes its time.
    """

    spec: VariantSpec
    calibration: Calibration | None = None
    dense_per_channel: bool = False
    training: Training | None = None
    description: Description | None = None
    progress: Progress = silent


@dataclass(frozen=True)
class Converted:
    """What a conversion gives: the file with float inputs and outputs, and what to say of it.

    `inputs` and `outputs` are (name, signature key) in the model's order. `training` is what a
    training came to, as plain values of a `TrainingSummary`.
    """

    content: bytes
    inputs: tuple[tuple[str, str], ...] = ()
    outputs: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    training: Mapping[str, Any] | None = None

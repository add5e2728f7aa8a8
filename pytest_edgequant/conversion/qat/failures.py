"""What TensorFlow raises in a training, as an error that names the layer."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator

from pytest_edgequant.conversion.qat.plan import Plan, layer_of
from pytest_edgequant.errors import EdgeQuantError, TrainingError
from pytest_edgequant.tflite.graph import Operator

_SCOPE = "operator_"
_NODE = re.compile(rf"\b{_SCOPE}(\d+)\b")
_NOISE = re.compile(r"\{\{function_node .*?\}\}|\[\[.*?\]\]|\[Op:[^\]]*\]|\{\{node .*?\}\}")
_MOST = 500


def scope_of(operator: Operator) -> str:
    """The name scope in which an operator is computed; TensorFlow's messages quote it."""
    return f"{_SCOPE}{operator.index}"


def place_of(plan: Plan, operator: Operator) -> str:
    """The operator and its layer, as messages say it."""
    return f"{operator.place}, layer {layer_of(plan, operator)!r}"


def operator_namer(plan: Plan) -> Callable[[str], str]:
    """Finds the operator that a message of TensorFlow is about; empty where it names none."""

    def name(text: str) -> str:
        found = _NODE.search(text)
        operators = {o.index: o for o in plan.main.operators}
        operator = operators.get(int(found.group(1))) if found else None
        return place_of(plan, operator) if operator is not None else ""

    return name


def layer_namer(layers: Iterable[str]) -> Callable[[str], str]:
    """Finds the layer whose name is part of a node's path in a message; empty where none is."""
    names = sorted(layers, key=len, reverse=True)

    def name(text: str) -> str:
        parts = re.split(r"[/{}\s\[\]]+", text)
        return next((f"layer {layer!r}" for layer in names if layer in parts), "")

    return name


def training_error(where: str, place: str, error: BaseException) -> TrainingError:
    """The error for what TensorFlow raised at a place; empty where that is not known."""
    text = " ".join(_NOISE.sub(" ", str(error)).split()) or "no reason given"
    text = text if len(text) <= _MOST else f"{text[:_MOST]} ..."
    at = f"at {place}" if place else "outside of the model's layers (the loss or the optimizer)"
    advice = (
        "Lower the recipe's batch_size"
        if type(error).__name__ in ("ResourceExhaustedError", "MemoryError")
        else "Replace the layer, or use int8 without training"
        if place
        else "Check that the loss fits the model's outputs and the labels"
    )
    return TrainingError(
        f"{where}: qat_int8: TensorFlow failed in training {at}: {type(error).__name__}: {text}. "
        f"{advice}; the float model is unchanged"
    )


@contextlib.contextmanager
def as_training_error(where: str, name: Callable[[str], str]) -> Iterator[None]:
    """Turn what is not this package's own error into a `TrainingError`."""
    try:
        yield
    except EdgeQuantError:
        raise
    except Exception as error:
        raise training_error(where, name(str(error)), error) from None

"""What the diabetes model has to keep to be shipped: a regressor, so its metric is not accuracy."""

from pathlib import Path

import numpy as np
import pytest

from pytest_edgequant import (
    Target,
    Variant,
    assert_arena_fits,
    assert_deployable,
    assert_fully_integer,
    assert_max_accuracy_drop,
    assert_size_within,
    evaluate,
    load_target,
    measure_arena,
)

Samples = tuple[np.ndarray, np.ndarray]

# What goes in, as in test_edge_digits.py, and the metric. A module's own fixtures are all it takes
# to gate several models in one repository.


@pytest.fixture(scope="module")
def edge_model() -> Path:
    return Path(__file__).parents[1] / "models" / "diabetes.keras"


@pytest.fixture(scope="module")
def edge_dataset(diabetes: dict[str, np.ndarray]) -> Samples:
    return diabetes["x_test"], diabetes["y_test"]


@pytest.fixture(scope="module")
def edge_calibration(diabetes: dict[str, np.ndarray]) -> np.ndarray:
    """All 100 patients that were kept for validation."""
    return diabetes["x_validation"]


@pytest.fixture(scope="module")
def edge_metric() -> str:
    """Mean absolute error, in the unit of the progression (25 to 346). Lower is better."""
    return "mae"


# Every form that the board can run.


def test_deployable(edge_variant: Variant, edge_target: Target) -> None:
    """Every form keeps all of the board's own limits."""
    assert_deployable(edge_variant, edge_target)


def test_every_form_predicts_alike(
    edge_variant: Variant, edge_float32: Variant, edge_dataset: Samples, edge_metric: str
) -> None:
    """No form is more than one unit worse than float32: for a metric, the drop is in its unit."""
    assert_max_accuracy_drop(
        edge_variant, edge_float32, edge_dataset, max_drop=1.0, metric=edge_metric
    )


# int8: the form that we ship.


def test_int8_size(edge_int8: Variant) -> None:
    """The file takes 8 KiB of flash at most."""
    assert_size_within(edge_int8, "8 KiB")


def test_int8_arena(edge_int8: Variant, edge_target: Target) -> None:
    """The arena fits the board."""
    assert_arena_fits(edge_int8, edge_target)


def test_int8_arena_on_our_product(edge_int8: Variant) -> None:
    """2 KiB is its share of our product's arena, whichever board the run is about.

    The product is defined in pyproject.toml, on top of the board that it is built with.
    """
    product = load_target("nano33ble-product")
    assert measure_arena(edge_int8, product).total_bytes <= 2 * 1024


def test_int8_is_fully_integer(edge_int8: Variant) -> None:
    """No float tensor is left inside or at the edges."""
    assert_fully_integer(edge_int8)


def test_int8_is_of_use(
    edge_int8: Variant,
    edge_dataset: Samples,
    edge_metric: str,
    diabetes: dict[str, np.ndarray],
) -> None:
    """What ships is a quarter better than always answering with the median patient."""
    _, y = edge_dataset
    guessing = np.abs(y - np.median(diabetes["y_validation"])).mean()
    assert evaluate(edge_int8, edge_dataset, metric=edge_metric).value <= 0.75 * guessing


# Other forms, for other uses.


def test_float_io_for_old_firmware(
    edge_int8_float_io: Variant, edge_float32: Variant, edge_dataset: Samples, edge_metric: str
) -> None:
    """Firmware that knows nothing of scales gets floats at both ends, and int8 between them."""
    assert edge_int8_float_io.inputs[0].dtype == np.float32
    assert edge_int8_float_io.outputs[0].dtype == np.float32
    assert_max_accuracy_drop(
        edge_int8_float_io, edge_float32, edge_dataset, max_drop=1.0, metric=edge_metric
    )


def test_int16x8_is_finer(
    edge_int16x8: Variant, edge_float32: Variant, edge_dataset: Samples, edge_metric: str
) -> None:
    """With 16 bits for activations the answer has steps of a tenth or less, and the same error."""
    assert edge_int16x8.outputs[0].scale <= 0.1
    assert_max_accuracy_drop(
        edge_int16x8, edge_float32, edge_dataset, max_drop=0.5, metric=edge_metric
    )


@pytest.mark.edge(target="rpi4")
def test_dynamic_range_on_the_gateway(
    edge_dynamic_range: Variant, edge_float32: Variant, edge_dataset: Samples, edge_metric: str
) -> None:
    """The gateway's model needs no calibration, and is smaller by 40 % at least.

    The marker keeps the test to that target, whatever --edge-target says: no microcontroller runs
    dynamic range.
    """
    assert edge_dynamic_range.size_bytes <= 0.6 * edge_float32.size_bytes
    assert_max_accuracy_drop(
        edge_dynamic_range, edge_float32, edge_dataset, max_drop=0.5, metric=edge_metric
    )

"""What the digits model has to keep to be shipped. Each test states one requirement."""

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
    assert_ops_supported,
    assert_size_within,
    compare_accuracy,
    evaluate,
    measure_arena,
)

Samples = tuple[np.ndarray, np.ndarray]

# What goes in: these three fixtures are all that the plugin has to be told.


@pytest.fixture(scope="module")
def edge_model() -> Path:
    return Path(__file__).parents[1] / "models" / "digits.keras"


@pytest.fixture(scope="module")
def edge_dataset(digits: dict[str, np.ndarray]) -> Samples:
    return digits["x_test"], digits["y_test"]


@pytest.fixture(scope="module")
def edge_calibration(digits: dict[str, np.ndarray]) -> np.ndarray:
    """300 images, 30 of each digit, of those that the tests below don't judge by."""
    x, y = digits["x_validation"], digits["y_validation"]
    return np.concatenate([x[y == digit][:30] for digit in range(10)])


def test_name_in_reports(edge_model_name: str) -> None:
    """Reports know the model by the name of its file."""
    assert edge_model_name == "digits"


# Every form that the board can run: `edge_variant` goes through them.


def test_deployable(edge_variant: Variant, edge_target: Target) -> None:
    """Every form keeps all of the board's own limits: flash, arena, operators, input and output."""
    assert_deployable(edge_variant, edge_target)


def test_operators(edge_variant: Variant, edge_target: Target) -> None:
    """The runtime on the board has a kernel for each operator, in the types that are used."""
    assert_ops_supported(edge_variant, edge_target)


def test_batch_is_pinned(edge_variant: Variant) -> None:
    """The board reads one image at a time: a dynamic batch would cost flash and arena."""
    assert edge_variant.inputs[0].shape[0] == 1


# int8: the form that we ship.


def test_int8_accuracy_drop(
    edge_int8: Variant, edge_float32: Variant, edge_dataset: Samples
) -> None:
    """Quantization costs at most two points of top-1 accuracy."""
    assert_max_accuracy_drop(edge_int8, edge_float32, edge_dataset, max_drop=0.02)


def test_int8_accuracy(edge_int8: Variant, edge_dataset: Samples) -> None:
    """What ships reads 97 of 100 digits, however good the float model is."""
    assert evaluate(edge_int8, edge_dataset).value >= 0.97


def test_int8_keeps_what_float32_reads(
    edge_int8: Variant, edge_float32: Variant, edge_dataset: Samples
) -> None:
    """At most four images are lost, also if as many others are gained and accuracy stays."""
    assert compare_accuracy(edge_int8, edge_float32, edge_dataset).lost <= 4


def test_int8_size(edge_int8: Variant) -> None:
    """The file takes 32 KiB of flash at most."""
    assert_size_within(edge_int8, "32 KiB")


def test_int8_arena(edge_int8: Variant, edge_target: Target) -> None:
    """The arena leaves 16 KiB of what the board has for it, for the model's next version."""
    assert_arena_fits(edge_int8, edge_target, headroom="16 KiB")


@pytest.mark.edge(target="nano33ble")
def test_int8_halves_the_arena(
    edge_int8: Variant, edge_float32: Variant, edge_target: Target
) -> None:
    """Quantization is worth it: on our board it saves at least half of the arena."""
    int8 = measure_arena(edge_int8, edge_target)
    float32 = measure_arena(edge_float32, edge_target)
    assert int8.total_bytes <= float32.total_bytes / 2


def test_int8_is_fully_integer(edge_int8: Variant) -> None:
    """No float tensor is left inside or at the edges, so nothing needs an FPU."""
    assert_fully_integer(edge_int8)


def test_int8_reads_each_digit(edge_int8: Variant, edge_dataset: Samples) -> None:
    """Real pixels in, real scores out: `predict` quantizes and dequantizes by itself."""
    x, y = edge_dataset
    each_digit, first_image = np.unique(y, return_index=True)
    scores = edge_int8.predict(x[first_image])
    np.testing.assert_array_equal(scores.argmax(axis=1), each_digit)


# Other forms, for other uses.


def test_uint8_takes_camera_pixels(
    edge_uint8_io: Variant, edge_float32: Variant, edge_dataset: Samples
) -> None:
    """The board with a camera hands over its grey values as they are: 0 to 255 means 0 to 1."""
    image = edge_uint8_io.inputs[0]
    assert image.dtype == np.uint8
    assert image.zero_point == 0
    assert image.scale == pytest.approx(1 / 255, rel=1e-3)
    assert_max_accuracy_drop(edge_uint8_io, edge_float32, edge_dataset, max_drop=0.02)


@pytest.mark.edge(target="rpi4")
def test_float16_on_the_gateway(
    edge_float16: Variant, edge_float32: Variant, edge_dataset: Samples
) -> None:
    """The gateway's model, a Raspberry Pi 4's, is half as large and just as good.

    The marker keeps the test to that target, whatever --edge-target says: no microcontroller runs
    float16.
    """
    assert edge_float16.size_bytes < 0.6 * edge_float32.size_bytes
    assert_max_accuracy_drop(edge_float16, edge_float32, edge_dataset, max_drop=0.005)

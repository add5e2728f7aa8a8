"""What all rooms of the tests share: the small models, their samples, and a cache of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_edgequant.pipeline.pipeline import Pipeline

pytest_plugins = ["pytester"]

DATA = Path(__file__).parent / "data"
REFERENCE = Path(__file__).parents[2] / "shared" / "reference"
FORMS = (
    "float32",
    "float16",
    "dynamic_range",
    "int8",
    "int8_float_io",
    "uint8_io",
    "int16x8",
)


@pytest.fixture(scope="session")
def tiny() -> Mapping[str, Path]:
    """The small digits model as a file: one .tflite by name of its form, and "keras"."""
    return {form: DATA / f"tiny_{form}.tflite" for form in FORMS} | {"keras": DATA / "tiny.keras"}


@pytest.fixture(scope="session")
def _tiny_arrays() -> dict[str, Any]:
    import numpy as np

    with np.load(DATA / "tiny.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="session")
def tiny_dataset(_tiny_arrays: dict[str, Any]) -> tuple[Any, Any]:
    """Samples that the small model was not trained on: images from 0 to 1, and digits."""
    x = (_tiny_arrays["x"] / 16).astype("float32")
    return x, _tiny_arrays["y"]


@pytest.fixture(scope="session")
def tiny_calibration(_tiny_arrays: dict[str, Any]) -> Any:
    """200 images from 0 to 1 of the small model's training set."""
    return (_tiny_arrays["x_calibration"] / 16).astype("float32")


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of reference models and measurements, which lies beside the repository."""
    if not REFERENCE.is_dir():
        pytest.skip(f"the reference data is not here: {REFERENCE}")
    return REFERENCE


def _use(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_edgequant import context

    monkeypatch.setattr(context, "pipeline_factory", lambda: pipeline)
    # What a test asserts on the tiny models is no finding of the run that tests this package.
    monkeypatch.setattr(context, "events", None)


@pytest.fixture(scope="session")
def _shared_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    from pytest_edgequant.pipeline.pipeline import Pipeline

    pipeline = Pipeline(tmp_path_factory.mktemp("edgequant-cache"), timeout=120)
    yield pipeline
    pipeline.close()


@pytest.fixture
def pipeline(_shared_pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """The current pipeline, with a cache and child processes that all such tests share."""
    _use(_shared_pipeline, monkeypatch)
    return _shared_pipeline


@pytest.fixture
def fresh_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    """The current pipeline, with an empty cache of this test's own."""
    from pytest_edgequant.pipeline.pipeline import Pipeline

    pipeline = Pipeline(tmp_path / "cache", timeout=120)
    _use(pipeline, monkeypatch)
    yield pipeline
    pipeline.close()

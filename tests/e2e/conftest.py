"""Real conversions. Models and the pipeline are shared: TensorFlow is imported once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from pytest_edgequant import context
from pytest_edgequant.pipeline.pipeline import Pipeline

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

# Not imported here: pytest loads this file also where no test of this folder runs.
collect_ignore_glob = [] if find_spec("keras") else ["test_*.py"]


@pytest.fixture(scope="session")
def shared_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    pipeline = Pipeline(tmp_path_factory.mktemp("cache"), timeout=300)
    yield pipeline
    pipeline.close()


@pytest.fixture(autouse=True)
def pipeline(shared_pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setattr(context, "pipeline_factory", lambda: shared_pipeline)
    # What these tests check is no gate of this repository: keep it out of the run's own summary.
    monkeypatch.setattr(context, "events", None)
    return shared_pipeline

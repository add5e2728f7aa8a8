"""Checking arenas against the interpreter: the smallest one, mismatches, and no wheel."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_edgequant import ArenaMismatch, CannotRunError, context, measure_arena
from pytest_edgequant.isolation import IsolatedProcess
from pytest_edgequant.measure.arena import compute_arena, tflm_worker, verification
from pytest_edgequant.measure.arena.verification import check_arena, smallest_arena
from pytest_edgequant.pipeline import interpreters
from pytest_edgequant.pipeline.pipeline import Pipeline
from pytest_edgequant.targets.profiles import make_profile
from pytest_edgequant.tflite.graph import read_graph
from pytest_edgequant.tflite.model import TFLiteModel

DATA = Path(__file__).parents[3] / "data"
HOST = make_profile("x86_64", "-", "reference")
TINY = ("tiny_int8", "tiny_float32", "tiny_int16x8", "tiny_int8_float_io", "residual_int8")


@pytest.fixture(scope="module")
def process() -> Iterator[IsolatedProcess]:
    pytest.importorskip("tflite_micro", reason="there is no tflite-micro wheel for this machine")
    made = IsolatedProcess("verifying", timeout=60)
    yield made
    made.close()


@pytest.fixture
def verifying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    pytest.importorskip("tflite_micro", reason="there is no tflite-micro wheel for this machine")
    made = Pipeline(tmp_path, arena_verify=True)
    monkeypatch.setattr(context, "pipeline_factory", lambda: made)
    yield made
    made.close()


def content(name: str) -> bytes:
    return (DATA / f"{name}.tflite").read_bytes()


@pytest.mark.parametrize("name", TINY)
def test_the_smallest_arena_is_found_wherever_the_search_begins(
    name: str, process: IsolatedProcess
) -> None:
    ours = compute_arena(read_graph(content(name)), HOST).minimum_bytes
    found = {smallest_arena(process, content(name), ours + off) for off in (0, -256, 4096)}
    assert found == {ours}


def test_the_smallest_arena_of_all_models_at_hand(
    reference: Path, process: IsolatedProcess
) -> None:
    compared, wrong = 0, []
    for path in sorted((reference / "models").glob("[eopt]*.tflite")):
        model = path.read_bytes()
        try:
            ours = compute_arena(read_graph(model), HOST).minimum_bytes
            theirs = smallest_arena(process, model, ours)
        except CannotRunError:
            continue
        compared += 1
        if ours != theirs:
            wrong.append((path.name, ours, theirs))
    assert not wrong
    assert compared > 100


def test_an_arena_that_was_verified_says_so(verifying: Pipeline) -> None:
    arena = measure_arena(DATA / "tiny_int8.tflite", "nano33ble")
    assert arena.provenance == (
        "exact, TFLM 90b983c2, arm32, cmsis-nn; verified against the interpreter on x86-64"
    )


def test_nothing_is_verified_unless_asked_for(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path)
    assert pipeline.interpreters.arena_verification(TFLiteModel(content("tiny_int8"), "tiny")) == ""
    pipeline.close()


def test_without_the_wheel_it_says_that_it_was_not_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interpreters, "versions", lambda packages: {})
    pipeline = Pipeline(tmp_path, arena_verify=True)
    said = pipeline.interpreters.arena_verification(TFLiteModel(content("tiny_int8"), "tiny"))
    assert said == "not verified: there is no tflite-micro wheel here"
    pipeline.close()


@pytest.mark.parametrize(
    ("head", "tail", "more", "said"),
    [
        (16, 0, 0, "B planned, it has"),
        (0, -16, 0, "B persistent, it has"),
        (0, 0, 16, "B in the smallest arena that works, it has"),
    ],
)
def test_a_mismatch_fails_with_both_numbers(head: int, tail: int, more: int, said: str) -> None:
    model = TFLiteModel(content("tiny_int8"), "tiny")
    ours = compute_arena(model.graph, HOST)
    reported = tflm_worker.TFLMAllocation(
        ours.total_bytes + head + tail,
        ours.nonpersistent_bytes + head,
        ours.persistent_bytes + tail,
    )
    with pytest.raises(ArenaMismatch, match=said) as caught:
        check_arena(model, reported, lambda expected: expected + more)
    if more:
        assert f"{ours.minimum_bytes:,} B" in str(caught.value)
        assert f"{ours.minimum_bytes + more:,} B" in str(caught.value)


def test_a_mismatch_fails_the_measurement(
    verifying: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = verification.compute_arena

    def wrong(*args: object) -> object:
        found = real(*args)  # type: ignore[arg-type]
        return dataclasses.replace(found, minimum_bytes=found.minimum_bytes + 16)

    monkeypatch.setattr(verification, "compute_arena", wrong)
    with pytest.raises(ArenaMismatch, match="tiny_int8/int8: the arena computed for x86-64"):
        measure_arena(DATA / "tiny_int8.tflite", "nano33ble")

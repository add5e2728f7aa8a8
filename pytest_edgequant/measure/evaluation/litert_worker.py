"""Running a .tflite on LiteRT, in a child process: what the parent calls.

The result does not depend on how a model is run (`evaluation.litert_runner`).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, wait

from pytest_edgequant.errors import CannotRunError
from pytest_edgequant.measure.evaluation.jobs import Choice, Field, First, Job, Loaded, attach
from pytest_edgequant.measure.evaluation.litert_runner import Runner, message

_runners = Loaded(Runner)


def check(content: bytes) -> None:
    """Allocate a model's tensors; raises `CannotRunError` where LiteRT refuses it."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        Interpreter(model_content=content, num_threads=1).allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise CannotRunError(f"LiteRT refuses the model: {message(error)}") from None


def prepare(job: Job) -> None:
    """Load a model; raises `CannotRunError` where LiteRT refuses it."""
    _runners.prepare(job)


def run(
    key: str,
    path: str,
    inputs: Sequence[Field],
    outputs: Sequence[Field],
    first: First | None,
) -> Choice | Future[Choice]:
    """Run a prepared model over samples in shared memory, and leave the raw outputs there.

    `first` comes with the first block of an evaluation. Gives the choice that holds from there on;
    raises `CannotRunError` where an inference fails.
    """
    runner = _runners[key]
    samples = [attach(path, field) for field in inputs]
    results = [attach(path, field) for field in outputs]
    if first is not None:
        _finish()  # what else runs would be measured too
        choice = first.choice or runner.choose(samples, first.threads, first.total)
        runner.choice = runner.verified(samples, choice)
    assert runner.choice is not None
    if runner.choice.threads == 1:
        runner.run(samples, results, runner.choice)
        return runner.choice
    begun = runner.begin(samples, results, runner.choice)
    _unfinished.append(begun)
    begun.add_done_callback(_unfinished.remove)
    return begun


_unfinished: list[Future[Choice]] = []


def _finish() -> None:
    """Wait for all that was begun."""
    wait(_unfinished.copy())

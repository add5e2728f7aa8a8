from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import isolation_functions as functions
import numpy as np
import pytest

from pytest_edgequant.errors import CannotRunError, IsolatedProcessError
from pytest_edgequant.isolation import IsolatedProcess
from pytest_edgequant.measure.evaluation.jobs import Job
from pytest_edgequant.measure.evaluation.litert_worker import prepare


@pytest.fixture(scope="module")
def child() -> Iterator[IsolatedProcess]:
    process = IsolatedProcess("test", timeout=60)
    yield process
    process.close()


def assert_works(process: IsolatedProcess) -> None:
    assert process.call(functions.add, 2, b=3) == 5


def test_a_value_returns(child: IsolatedProcess) -> None:
    assert_works(child)


def test_large_values_cross_both_ways(child: IsolatedProcess) -> None:
    array = np.arange(2_000_000, dtype=np.float32)
    np.testing.assert_array_equal(child.call(functions.add, array, 1), array + 1)


def test_calls_share_one_child_that_is_not_this_process(child: IsolatedProcess) -> None:
    first = child.call(functions.process_id)
    assert first == child.call(functions.process_id)
    assert first != os.getpid()


def test_nothing_starts_before_the_first_call() -> None:
    assert IsolatedProcess("idle").starts == 0


def test_a_foreign_exception_comes_back_as_ours_with_its_type_and_message(
    child: IsolatedProcess,
) -> None:
    said = "^the test process failed: LookupError: no such layer$"
    with pytest.raises(IsolatedProcessError, match=said):
        child.call(functions.fail, "no such layer")
    assert_works(child)


def test_our_own_errors_come_back_as_they_are(child: IsolatedProcess) -> None:
    with pytest.raises(CannotRunError, match="LiteRT refuses the model"):
        child.call(prepare, Job("x", b"no model", "litert", (), (), False, False, 1))


def test_questions_are_answered_in_any_order(child: IsolatedProcess) -> None:
    first, second = child.post(functions.add, 1, b=1), child.post(functions.fail, "no such layer")
    third = child.post(functions.add, 2, b=1)
    assert child.call(functions.add, 3, b=1) == 4
    assert child.answer(third) == 3
    with pytest.raises(IsolatedProcessError, match="LookupError: no such layer"):
        child.answer(second)
    assert child.answer(first) == 2


def test_the_child_goes_on_while_an_answer_is_still_to_come(child: IsolatedProcess) -> None:
    first, second = (child.post(functions.promise, name) for name in ("first", "second"))
    assert_works(child)
    assert child.call(functions.keep, "second", 2) == "kept"
    assert child.answer(second) == 2
    failing = child.post(functions.promise, "failing")
    assert child.call(functions.keep, "failing", LookupError("no such layer")) == "kept"
    with pytest.raises(IsolatedProcessError, match="LookupError: no such layer"):
        child.answer(failing)
    assert child.call(functions.keep, "first", 1) == "kept"
    assert child.answer(first) == 1


def test_a_late_answer_that_can_not_be_pickled_fails_that_call_only(child: IsolatedProcess) -> None:
    late = child.post(functions.promise, "lock")
    assert child.call(functions.keep, "lock", "a lock") == "kept"
    with pytest.raises(IsolatedProcessError, match="cannot pickle"):
        child.answer(late)
    assert_works(child)


def test_a_question_to_a_child_that_died_is_told_so(child: IsolatedProcess) -> None:
    dying = child.post(functions.abort, "bye")
    assert child._process is not None
    child._process.wait()
    waiting = child.post(functions.add, 1, b=1)
    with pytest.raises(IsolatedProcessError, match="died"):
        child.answer(dying)
    with pytest.raises(IsolatedProcessError, match="was ended"):
        child.answer(waiting)
    assert_works(child)


@pytest.mark.parametrize(
    "function, arguments, message",
    [
        (functions.fail_unpicklably, ("held by a lock",), "Unpicklable: held by a lock"),
        (functions.fail_with_two_arguments, (), "TwoArguments: layer 3: no kernel"),
    ],
)
def test_an_exception_that_can_not_be_pickled_keeps_its_text(
    child: IsolatedProcess, function: object, arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(IsolatedProcessError) as caught:
        child.call(function, *arguments)
    assert str(caught.value) == f"the test process failed: {message}"
    assert_works(child)


def test_an_abort_fails_that_call_and_the_next_one_works(child: IsolatedProcess) -> None:
    starts = child.starts
    with pytest.raises(IsolatedProcessError, match=r"^the test process died \(signal SIGABRT\)"):
        child.call(functions.abort, "")
    assert_works(child)
    assert child.starts == starts + 1


def test_what_was_printed_before_the_end_is_in_the_message(child: IsolatedProcess) -> None:
    with pytest.raises(IsolatedProcessError) as caught:
        child.call(functions.abort, "x" * 5000 + " filter != nullptr was not true\n")
    head, _, tail = str(caught.value).partition("Its last words:\n")
    assert head == "the test process died (signal SIGABRT). "
    assert "filter != nullptr was not true" in tail
    assert len(tail) <= 2000


def test_an_exit_is_told_by_its_code(child: IsolatedProcess) -> None:
    with pytest.raises(IsolatedProcessError, match=r"died \(exit code 3\)$"):
        child.call(functions.leave, 3)
    assert_works(child)


def test_a_child_that_was_killed_between_calls_is_replaced(child: IsolatedProcess) -> None:
    os.kill(child.call(functions.process_id), signal.SIGKILL)
    child._process.wait()
    assert_works(child)


def test_a_hang_is_stopped_and_the_next_call_works() -> None:
    process = IsolatedProcess("test", timeout=1)
    try:
        with pytest.raises(
            IsolatedProcessError,
            match=r"did not finish within 1 s and was stopped \(raise edge_timeout",
        ):
            process.call(functions.hang)
        process.timeout = 60
        assert_works(process)
    finally:
        process.close()


def test_chatter_on_stdout_does_not_break_the_answer(child: IsolatedProcess) -> None:
    assert child.call(functions.chatter, [1, 2]) == [1, 2]
    assert_works(child)


def test_a_function_that_reads_stdin_gets_nothing(child: IsolatedProcess) -> None:
    assert child.call(functions.read_stdin) == ""
    assert_works(child)


def test_a_value_that_can_not_be_pickled_fails_that_call_only(child: IsolatedProcess) -> None:
    with pytest.raises(IsolatedProcessError, match="cannot pickle"):
        child.call(functions.give_a_lock)
    assert_works(child)


def test_an_argument_that_can_not_be_pickled_fails_that_call_only(child: IsolatedProcess) -> None:
    with pytest.raises((TypeError, AttributeError), match="pickle"):
        child.call(functions.add, functions.give_a_lock())
    assert_works(child)


def test_the_child_finds_what_this_process_finds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    process = IsolatedProcess("test", timeout=60)
    try:
        assert str(tmp_path) in process.call(functions.paths)
    finally:
        process.close()


def test_closing_twice_is_harmless_and_a_call_starts_anew() -> None:
    process = IsolatedProcess("test", timeout=60)
    try:
        assert_works(process)
        process.close()
        process.close()
        assert_works(process)
        assert process.starts == 2
    finally:
        process.close()


def test_a_time_limit_that_became_shorter_holds(child: IsolatedProcess) -> None:
    assert_works(child)
    child.timeout = 0.3
    with pytest.raises(IsolatedProcessError, match=r"did not finish within 0\.3 s"):
        child.call(functions.hang)
    child.timeout = 60
    assert_works(child)


_PARENT = """
import sys, threading
sys.path[:0] = {path!r}
from pytest_edgequant.isolation import IsolatedProcess
import isolation_functions as functions
def work():
    child = IsolatedProcess("test")
    print(child.call(functions.process_id), flush=True)
    child.call(getattr(functions, {function!r}))
threading.Thread(target=work).start() if {threaded} else work()
"""


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    # A zombie runs no more; nobody may be there to take its answer.
    return not (status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] == "Z")


@pytest.mark.skipif(sys.platform == "win32", reason="kills a parent as POSIX does")
@pytest.mark.parametrize(
    "function, threaded",
    [
        pytest.param(
            "spin_in_native_code",
            False,
            marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux' signal alone does"),
        ),
        ("hang", True),
    ],
)
def test_a_child_ends_with_a_parent_that_was_killed(function: str, threaded: bool) -> None:
    code = _PARENT.format(path=sys.path, function=function, threaded=threaded)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert _alive(child)
        parent.kill()
    deadline = time.monotonic() + 20
    while _alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(child)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_a_child_has_limits_on_memory_and_processor_time(child: IsolatedProcess) -> None:
    import resource

    soft, _ = child.call(resource.getrlimit, resource.RLIMIT_CPU)
    cores = os.cpu_count() or 1
    assert 0 < soft <= (child.timeout + 60) * cores + 60
    memory, _ = child.call(resource.getrlimit, resource.RLIMIT_DATA)
    assert 4 << 30 <= memory < 1 << 50
    with pytest.raises(IsolatedProcessError, match=r"MemoryError|signal"):
        child.call(bytearray, memory)
    assert_works(child)


@pytest.mark.skipif(sys.platform == "win32", reason="an alarm of POSIX")
def test_a_child_whose_parent_does_not_look_ends_by_the_clock() -> None:
    process = IsolatedProcess("test", timeout=0.2, measures=True)
    process._watchdog.arm = lambda *_: None  # type: ignore[method-assign]
    grace = process.call(functions.without_grace)
    assert grace > 0
    with pytest.raises(IsolatedProcessError, match="signal SIGALRM"):
        process.call(functions.hang)
    process.close()


@pytest.mark.skipif(sys.platform != "linux", reason="a clock of Linux")
def test_a_child_that_measures_has_a_fine_clock() -> None:
    process = IsolatedProcess("test", measures=True)
    assert process.call(functions.finest_step) < 1e-4
    process.close()

"""The child process in which native code runs.

The converter and the interpreters are C++ that can abort, overrun or hang on a model. They run in
a child that serves calls over a pipe: when it dies or does not answer in time, that one call fails
with a clear error, and the next call gets a new child. The child serves many calls, so TensorFlow
is imported once.

A call names a function by its import path and passes picklable arguments. The package's own
exceptions come back as they are, all others as an `IsolatedProcessError` that names them; what
native code printed on stderr is at the end of the message of one that died. A function may give a
`concurrent.futures.Future`: its result is the answer, and the child takes the next call meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import IO, Any

from pytest_edgequant.confinement import confine, time_limit
from pytest_edgequant.errors import EdgeAssertionError, EdgeQuantError, IsolatedProcessError

DEFAULT_TIMEOUT = 900.0
_HEADER = struct.Struct("<Q")
_TAIL = 2000
_CHATTER = re.compile(r"fully_quantize:|INFO:|[IW]\d{4} \d\d:|WARNING: All log messages")


def _pickled(message: object) -> bytes:
    return pickle.dumps(message, protocol=5)


def _send(stream: IO[bytes], payload: bytes) -> None:
    stream.write(_HEADER.pack(len(payload)))
    stream.write(payload)
    stream.flush()


def _receive(stream: IO[bytes]) -> Any:
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise EOFError
    (size,) = _HEADER.unpack(header)
    payload = stream.read(size)
    if len(payload) < size:
        raise EOFError
    return pickle.loads(payload)


class _Watchdog:
    """Kills a process that takes too long: one thread for all calls.

    A timer a call would make each wait until its thread has been given a core, which on a busy
    machine takes longer than many calls.
    """

    def __init__(self) -> None:
        self.fired = False
        self._changed = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._deadline = 0.0
        self._thread: threading.Thread | None = None
        self._waits_until = 0.0

    def arm(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        with self._changed:
            self.fired = False
            self._process, self._deadline = process, time.monotonic() + seconds
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, daemon=True)
                self._thread.start()
            elif self._deadline < self._waits_until:
                self._changed.notify()

    def disarm(self) -> None:
        with self._changed:
            self._process = None

    def _watch(self) -> None:
        with self._changed:
            while True:
                left = self._deadline - time.monotonic()
                if self._process is None:
                    self._waits_until = float("inf")
                    self._changed.wait()
                elif left > 0:
                    # A call that begins meanwhile has a later deadline, and is looked at then.
                    self._waits_until = self._deadline
                    self._changed.wait(left)
                else:
                    self.fired = True
                    self._process.kill()
                    self._process = None


class IsolatedProcess:
    """One child process, started at the first call and again after it died.

    `environment` are variables that it gets beside those of this process. A child that `measures`
    processor time has no limit on it: with one, Linux tells it in steps of milliseconds.
    """

    def __init__(
        self,
        purpose: str,
        timeout: float = DEFAULT_TIMEOUT,
        *,
        environment: Mapping[str, str] | None = None,
        measures: bool = False,
    ) -> None:
        self.purpose = purpose
        self.timeout = timeout
        self.measures = measures
        self.environment = dict(environment or {})
        self.starts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None
        self._watchdog = _Watchdog()
        self._asked = 0
        self._pending: dict[int, int] = {}
        self._answers: dict[int, Sequence[Any]] = {}

    def _start(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        environment = dict(os.environ)
        # The child must find what the parent finds, the project's own modules included.
        environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
        environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        environment.setdefault("CUDA_VISIBLE_DEVICES", "-1")
        # Coverage tools would measure the child as well, and slow it down.
        environment.pop("COV_CORE_SOURCE", None)
        environment.update(self.environment)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pytest_edgequant.isolation", *self._bonds()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=environment,
        )
        self.starts += 1
        return self._process

    def _bonds(self) -> tuple[str, ...]:
        """What the child is told: its parent, whether that is a main thread, its time limit."""
        main = threading.current_thread() is threading.main_thread()
        clock = "measures" if self.measures else "limited"
        return str(os.getpid()), "main" if main else "thread", repr(self.timeout), clock

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a module-level function in the child and give what it returns.

        Raises the package's own errors that the function raises, and `IsolatedProcessError` for
        all others, and when the child dies or does not answer within the timeout.
        """
        return self.answer(self.post(function, *args, **kwargs))

    def post(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
        """Ask without waiting; the number that is given goes to `answer`.

        The child takes one question after the other. Questions must be small: what does not fit
        into the pipe waits for the child to take it.
        """
        # A child that died with questions open is not begun anew: the answers say why it died.
        process = self._process if self._pending else self._start()
        assert process is not None
        assert process.stdin is not None
        assert self._stderr is not None
        self._asked += 1
        question = self._asked
        self._pending[question] = self._stderr.seek(0, os.SEEK_END)
        try:
            call = question, function.__module__, function.__qualname__, args, kwargs
            _send(process.stdin, _pickled(call))
        except OSError:
            pass  # the child is dead: `answer` says so
        except BaseException:
            self.close()
            raise
        return question

    def answer(self, question: int) -> Any:
        """What the function of that question returned; raises as `call` does."""
        while question not in self._answers:
            if question not in self._pending:
                raise IsolatedProcessError(f"the {self.purpose} process was ended")
            self._take_next()
        succeeded, value = self._answers.pop(question)
        if succeeded:
            return value
        if type(value) is IsolatedProcessError:
            raise IsolatedProcessError(f"the {self.purpose} process failed: {value}")
        raise value

    def _take_next(self) -> None:
        """Wait for the next answer, and keep it."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        oldest = next(iter(self._pending))
        begin = self._pending[oldest]
        self._watchdog.arm(process, self.timeout)
        try:
            question, *answer = _receive(process.stdout)
            self._answers[question] = answer
            del self._pending[question]
        except (EOFError, OSError, pickle.UnpicklingError):
            process.kill()
            code = process.wait()
            tail = self._last_words(begin)
            self.close()
            if self._watchdog.fired:
                reason = (
                    f"did not finish within {self.timeout:g} s and was stopped "
                    "(raise edge_timeout if it needs longer)"
                )
            else:
                reason = f"died ({_describe_exit(code)})"
            raise IsolatedProcessError(f"the {self.purpose} process {reason}{tail}") from None
        except BaseException:
            # Interrupted between question and answer: the pipe is out of step, begin anew.
            self.close()
            raise
        finally:
            self._watchdog.disarm()

    def _last_words(self, begin: int) -> str:
        """What the child printed on stderr during a call, without native libraries' chatter."""
        assert self._stderr is not None
        end = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(begin, end - _TAIL))
        lines = self._stderr.read().decode("utf-8", "replace").splitlines()
        text = "\n".join(line for line in lines if line.strip() and not _CHATTER.match(line))
        return f". Its last words:\n{text}" if text else ""

    def close(self) -> None:
        """End the child, if there is one."""
        self._pending.clear()
        self._answers.clear()
        process, self._process = self._process, None
        if process is not None:
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    if stream is not None:
                        stream.close()
            process.kill()
            process.wait()
        if self._stderr is not None:
            self._stderr.close()
            self._stderr = None


def _describe_exit(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"


def _portable(error: BaseException) -> BaseException:
    """The package's own error where it survives pickling, else one that keeps its text."""
    error.__traceback__ = None
    error.__cause__ = error.__context__ = None
    if isinstance(error, EdgeQuantError | EdgeAssertionError):
        with contextlib.suppress(Exception):
            pickle.loads(_pickled(error))
            return error
    return IsolatedProcessError(f"{type(error).__name__}: {error}")


def _answer(question: int, value: Any) -> bytes:
    try:
        return _pickled((question, True, value))
    except Exception as error:
        raise IsolatedProcessError(f"the answer can't be sent: {error}") from None


def _call(module: str, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    function: Any = import_module(module)
    for part in name.split("."):
        function = getattr(function, part)
    return function(*args, **kwargs)


def serve(parent: str, thread: str, timeout: str, clock: str) -> None:
    """The child's loop: calls on stdin, answers on what was stdout, until stdin ends."""
    from concurrent.futures import Future  # loads logging: only the child waits for it

    confine(int(parent), dies_at_once=thread == "main")
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    # Native code prints on stdout, and would break the pipe.
    os.dup2(2, 1)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    # Ctrl-C goes to the whole group; the parent decides what becomes of this child.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sending = threading.Lock()

    def reply(question: int, action: Callable[[], Any]) -> None:
        """Answer with what the action gives or raises."""
        try:
            found: Any = action()
            if isinstance(found, Future):
                found.add_done_callback(lambda done: reply(question, done.result))
                return
            answer = _answer(question, found)
        except Exception as error:
            answer = _pickled((question, False, _portable(error)))
        with sending:
            _send(answers, answer)

    while True:
        try:
            question, module, name, args, kwargs = _receive(requests)
        except EOFError:
            return
        with time_limit(float(timeout), measures=clock == "measures"):
            reply(question, partial(_call, module, name, args, kwargs))


if __name__ == "__main__":
    serve(*sys.argv[1:])

"""What the tests run in other processes: there it has to be importable."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any


def add(a: Any, b: Any = 0) -> Any:
    return a + b


def process_id() -> int:
    return os.getpid()


def fail(message: str) -> None:
    raise LookupError(message)


class Unpicklable(Exception):
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()


class TwoArguments(Exception):
    """Pickles, but can't be made again from its message alone."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")


def fail_unpicklably(message: str) -> None:
    raise Unpicklable(message)


def fail_with_two_arguments() -> None:
    raise TwoArguments("layer 3", "no kernel")


def give_a_lock() -> Any:
    return threading.Lock()


def abort(last_words: str) -> None:
    os.write(2, last_words.encode())
    os.abort()


def leave(code: int) -> None:
    os._exit(code)


def hang() -> None:
    time.sleep(600)


def chatter(value: Any) -> Any:
    """Write on stdout in every way there is, native code's included."""
    print("from Python", flush=True)
    os.write(1, b"from native code\n")
    sys.stdout.flush()
    return value


def read_stdin() -> str:
    return sys.stdin.read()


_futures: dict[str, Future[Any]] = {}


def promise(name: str) -> Future[Any]:
    """An answer that comes when it is kept."""
    _futures[name] = Future()
    return _futures[name]


def keep(name: str, value: Any) -> str:
    if isinstance(value, Exception):
        _futures[name].set_exception(value)
    else:
        _futures[name].set_result(threading.Lock() if value == "a lock" else value)
    return "kept"


def paths() -> list[str]:
    return sys.path


def make_once(folder: str, key: str, log: str, barrier: Any) -> None:
    """Make the value of `key` unless it is there, and write a line into `log` when making it."""
    from pytest_edgequant.cache import Cache

    cache = Cache(Path(folder))
    barrier.wait()
    with cache.lock(key):
        if cache.get(key) is None:
            with open(log, "a") as stream:
                stream.write("made\n")
            # Long enough for the other process to arrive while this one is at it.
            time.sleep(0.3)
            cache.put(key, b"value", {}, ".bin")


def tensor_details(files: dict[str, bytes]) -> dict[str, list[dict[str, Any]] | str]:
    """What LiteRT says of the tensors of each model, or why it refuses it."""
    from ai_edge_litert.interpreter import Interpreter

    found: dict[str, list[dict[str, Any]] | str] = {}
    for name, content in files.items():
        try:
            found[name] = Interpreter(model_content=content).get_tensor_details()
        except (RuntimeError, ValueError) as error:
            found[name] = str(error)
    return found


def spin_in_native_code() -> None:
    """Hold the interpreter's lock, and run no Python: nothing in this process can stop it."""
    import re

    re.match(r"(a+)+$", "a" * 64 + "b")


def without_grace() -> float:
    """Have the clock end this process at once where its parent does not."""
    from pytest_edgequant import confinement

    grace, confinement._GRACE = confinement._GRACE, 0.1
    return grace


def finest_step() -> float:
    """The smallest difference between two looks at the processor's time."""
    looks = [time.process_time() for _ in range(20_000)]
    return min(b - a for a, b in itertools.pairwise(looks) if b > a)


def save_baselines(path: Path, target: str) -> None:
    """Save five baselines of one entry each into the same file."""
    from pytest_edgequant.baseline import Baseline, Entry, save_measured
    from pytest_edgequant.records import Metric

    for number in range(5):
        entry = Entry({"size_bytes": Metric(10, "bytes", "exact")}, {}, "f")
        save_measured(Baseline({("ant", target, f"v{number}"): entry}), path)

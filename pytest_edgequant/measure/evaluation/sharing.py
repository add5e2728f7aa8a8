"""Work that threads share: each takes the next task when it is done with the last."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from pytest_edgequant.measure.evaluation.jobs import Choice


class Begun:
    """Tasks that threads share; a thread takes the next one when it is done with the last.

    A thread that finds none left goes on with what was begun next, and waits for no other.
    """

    def __init__(
        self,
        choice: Choice,
        tasks: Iterable[tuple[int, int]],
        work: Callable[[int, tuple[int, int]], None],
    ) -> None:
        self.done: Future[Choice] = Future()
        self._choice = choice
        self._left = iter(tasks)
        self._work = work
        self._lock = threading.Lock()
        self._busy = choice.threads
        self._error: BaseException | None = None
        pool = _threads(choice.threads)
        for _ in range(choice.threads):
            pool.submit(self._loop)

    def _loop(self) -> None:
        try:
            for task in self._left:
                self._work(_local.number, task)
        except BaseException as error:
            self._left = iter(())
            self._error = error
        with self._lock:
            self._busy -= 1
            last = not self._busy
        if last and self._error is None:
            self.done.set_result(self._choice)
        elif last:
            self.done.set_exception(self._error)


_local = threading.local()
_pool: tuple[int, ThreadPoolExecutor] | None = None


def _threads(count: int) -> ThreadPoolExecutor:
    """A pool of so many threads, each with its number from 0 on."""
    global _pool
    if _pool is None or _pool[0] != count:
        if _pool is not None:
            _pool[1].shutdown()
        numbers = itertools.count()

        def start() -> None:
            _local.number = next(numbers)

        _pool = count, ThreadPoolExecutor(count, initializer=start)
    return _pool[1]

"""What is shown on a terminal while something takes its time: what, how far, how long still.

One line below the cursor, which stays where it is: what a test runner or a script has printed, and
prints next, is not touched. Nothing is shown of what is done in some tenths of a second, and
nothing at all where nobody looks: in files, pipes and logs of CI.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import IO

DELAY = 0.5
"""Seconds that something takes before it is shown."""
_INTERVAL = 0.5
_NAME = "[edgequant]"
# Make room for a line below (index, reverse index), go there and back (save, restore).
_BELOW = "\x1bD\x1bM\x1b7\x1b[1B\r\x1b[2K"
_BACK = "\x1b8"


class Step:
    """Something that takes its time, and how far it is."""

    def __init__(
        self,
        what: str = "",
        *,
        clock: Callable[[], float] = time.monotonic,
        last: float | None = None,
    ) -> None:
        """`last` is how long the last of its kind took, None where there was none."""
        self.what = what
        self._clock = clock
        self._last = last
        self._began = self._told = clock()
        self._done, self._total, self._unit, self._note = 0, 0, "", ""

    def at(self, done: int, total: int | None = None, unit: str = "", note: str = "") -> None:
        """So many are done, of `total` where that is known."""
        self._done, self._total, self._unit, self._note = done, total or 0, unit, note
        self._told = self._clock()

    @property
    def age(self) -> float:
        """Seconds since it began."""
        return self._clock() - self._began

    @property
    def counted(self) -> bool:
        """Whether it told of how many it has done how many."""
        return self._total > 0

    def text(self) -> str:
        """`training kws: 3 of 20 epochs, 41 s left`."""
        parts = []
        if self._total:
            parts.append(f"{self._done:,} of {self._total:,} {self._unit}".rstrip())
        elif self._done:
            parts.append(f"{self._done:,} {self._unit}".rstrip())
        if self._total and self._done:
            whole = (self._told - self._began) * self._total / self._done
            parts.append(f"{duration(max(whole - self.age, 0.0))} left")
        else:
            parts.append(f"{duration(self.age)} so far")
            if self._last is not None and not self._done:
                parts.append(f"the last took {duration(self._last)}")
        parts += [self._note] if self._note else []
        return f"{self.what}: {', '.join(parts)}"


Progress = Callable[[str], contextlib.AbstractContextManager[Step]]


def duration(seconds: float) -> str:
    """`41 s`, `3 min 5 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@contextlib.contextmanager
def silent(_: str) -> Iterator[Step]:
    """Show nothing."""
    yield Step()


def is_watched(stream: IO[str], environ: Mapping[str, str] = os.environ) -> bool:
    """Whether somebody sees lines that come and go there."""
    if environ.get("CI") or environ.get("TERM") == "dumb":
        return False
    if os.name == "nt" and "WT_SESSION" not in environ:  # an older console shows the codes
        return False
    return stream.isatty()


class Display:
    """Shows what is under way, one thing within another, on the stream that `open_stream` gives.

    It is asked when something begins, until it gives one; None for nowhere.
    """

    def __init__(
        self,
        open_stream: Callable[[], IO[str] | None],
        *,
        delay: float = DELAY,
        interval: float = _INTERVAL,
    ) -> None:
        self._open = open_stream
        self._delay = delay
        self._interval = interval
        self._stream: IO[str] | None = None
        self._steps: list[Step] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._shown = False
        self._took: dict[tuple[str, str], float] = {}

    @contextlib.contextmanager
    def __call__(self, what: str) -> Iterator[Step]:
        """Show `what` until it is done; the step that is given takes how far it is."""
        if self._stream is None:
            self._stream = self._open()
        if self._stream is None:
            yield Step()
            return
        words = what.split()
        # What is done, and to what form: "converting a.keras to int8".
        kind = (words[0], words[-1]) if words else ("", "")
        step = Step(what, last=self._took.get(kind))
        with self._changed:
            self._steps.append(step)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, daemon=True)
                self._thread.start()
            elif len(self._steps) == 1:
                self._changed.notify()
        try:
            yield step
        finally:
            if step.age >= self._delay and not step.counted:
                self._took[kind] = step.age
            with self._changed:
                self._steps.remove(step)
                if self._shown and not self._steps:
                    self._write("")
                    self._shown = False

    def _watch(self) -> None:
        """Draw while something is under way: the thread at work may be waiting for a child."""
        with self._changed:
            while True:
                if not self._steps:
                    self._changed.wait()
                    continue
                wait = self._delay - self._steps[0].age
                if wait <= 0:
                    self._draw()
                    wait = self._interval
                self._changed.wait(wait)

    def _draw(self) -> None:
        line = f"{_NAME} {' > '.join(step.text() for step in self._steps)}"
        shown = "".join(c if c.isprintable() else "?" for c in line)
        columns = self._columns()
        if len(shown) >= columns:
            shown = f"{shown[: columns - 4]}..."
        self._write(shown)
        self._shown = True

    def _columns(self) -> int:
        assert self._stream is not None
        with contextlib.suppress(OSError, ValueError, AttributeError):
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        return 80

    def _write(self, text: str) -> None:
        """Put a line below the cursor; the terminal may be gone."""
        assert self._stream is not None
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(f"{_BELOW}{text}{_BACK}")
            self._stream.flush()


def _stderr() -> IO[str] | None:
    return sys.stderr if sys.stderr is not None and is_watched(sys.stderr) else None


on_terminal: Progress = Display(_stderr)
"""For scripts: on stderr, where that is a terminal."""

"""What holds a child process: it ends with its parent, whatever it does, and within limits.

A child in a native loop runs no Python: what must end it there is the kernel's. On Linux that is
the signal at the parent's death; elsewhere a thread looks after the parent, which native code that
keeps the interpreter's lock can hold up, and the limit on processor time then ends it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

_SECONDS_BETWEEN_LOOKS = 1.0
_GRACE = 30.0
"""Seconds that the parent is given to see to it itself."""
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG
_SHARE_OF_MEMORY = 0.9
_LEAST_MEMORY = 4 << 30
"""Below it the converter itself might not start: it reserves more than it uses."""


def confine(parent: int, *, dies_at_once: bool) -> None:
    """Bind this process to its parent, and let it be the first that a full machine ends.

    `dies_at_once` asks for the signal of Linux, which comes when the thread ends that started this
    process: only the main thread may ask for it.
    """
    if sys.platform == "linux":
        # Where memory runs out, the kernel shall take the converter and not pytest.
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as stream:
            stream.write("800")
        if dies_at_once:
            import ctypes

            ctypes.CDLL(None).prctl(_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)
    _limit_memory()
    threading.Thread(target=_outlive_nobody, args=(parent,), daemon=True).start()


def _outlive_nobody(parent: int) -> None:
    """End this process with its parent."""
    if sys.platform == "win32":
        import ctypes

        kernel = ctypes.windll.kernel32
        kernel.OpenProcess.restype = ctypes.c_void_p
        kernel.WaitForSingleObject.argtypes = ctypes.c_void_p, ctypes.c_uint32
        handle = kernel.OpenProcess(0x00100000, False, parent)  # SYNCHRONIZE
        if handle:
            kernel.WaitForSingleObject(handle, 0xFFFFFFFF)
            os._exit(1)
        return
    while os.getppid() == parent:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    os.kill(os.getpid(), signal.SIGKILL)


def machine_memory() -> int | None:
    """The bytes of memory that this machine, or the container that this runs in, has."""
    found = []
    with contextlib.suppress(AttributeError, ValueError, OSError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in (
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ):
        with contextlib.suppress(OSError, ValueError), open(path) as stream:
            found.append(int(stream.read()))
    return min((n for n in found if n > 0), default=None)


def _limit_memory() -> None:
    """Not more than nine tenths of the machine: an allocation beyond them fails in this process."""
    whole = machine_memory()
    if whole is None or sys.platform != "linux":
        return
    import resource

    most = max(int(whole * _SHARE_OF_MEMORY), _LEAST_MEMORY)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or most < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


@contextlib.contextmanager
def time_limit(seconds: float, *, measures: bool) -> Iterator[None]:
    """Let one call take so long; native code that does not end is ended by the kernel.

    The parent looks at the clock as well, and acts first: this is for one that is gone. Processor
    time is limited to what all cores give in that time, but not where it is measured.
    """
    if sys.platform == "win32":
        yield
        return
    if not measures:
        _limit_processor_time(seconds)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    # The kernels of some systems take no more than a hundred million seconds.
    signal.setitimer(signal.ITIMER_REAL, min(1.5 * seconds + _GRACE, 1e8))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _limit_processor_time(seconds: float) -> None:
    """More than so long on every core, from now on, ends this process (SIGXCPU)."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    most = used.ru_utime + used.ru_stime + (seconds + _GRACE) * (os.cpu_count() or 1)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    allowed = min(int(most), hard) if hard != resource.RLIM_INFINITY else int(min(most, 1e9))
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CPU, (allowed, hard))

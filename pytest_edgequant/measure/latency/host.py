"""What this machine is, and what times measured on it say."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from pytest_edgequant.errors import SettingsError
from pytest_edgequant.measure.probability import binomial_quantile
from pytest_edgequant.records import Metric, Target
from pytest_edgequant.wording import shown

DEVICE_TREE = Path("/proc/device-tree/model")
"""The board's name as Linux on Arm has it (Devicetree specification, root node, `model`)."""

CONFIDENCE = 0.95

_BOARDS = (
    ("Raspberry Pi 5", "rpi5"),
    ("Raspberry Pi 4 Model B", "rpi4"),
    ("Raspberry Pi 3 Model B Plus", "rpi3bplus"),
    ("Raspberry Pi Zero 2", "rpi-zero-2w"),
    ("NVIDIA Jetson Nano", "jetson-nano"),
)
"""Beginnings of device tree names, and the targets that they are."""


def board() -> str:
    """The board's name from the device tree; empty where there is none."""
    try:
        return DEVICE_TREE.read_bytes().rstrip(b"\0").decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def describe_host() -> str:
    """This machine in words: the board or processor, architecture and system."""
    name = board() or _processor() or "unknown processor"
    return f"{name}, {platform.machine()}, {platform.system()}"


def is_target(target: Target | None) -> bool:
    """Whether this machine is the target: `host` always, a board where the device tree names it."""
    if target is None:
        return False
    if target.name == "host":
        return True
    name = board()
    return any(name.startswith(start) and target.name == known for start, known in _BOARDS)


def check_threads(threads: int) -> int:
    """The number of threads; raises `SettingsError` for one that can't be meant."""
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= 1024:
        raise SettingsError(f"threads: expected a whole number from 1 on, got {shown(threads)}")
    return threads


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The median and its 95 % confidence interval, of whatever distribution.

    From order statistics: the number of values below the median is binomial with p = 1/2 (Conover,
    Practical Nonparametric Statistics, 3.2). With fewer than six values the interval is all of
    them.
    """
    ordered = sorted(values)
    below = binomial_quantile((1 - CONFIDENCE) / 2, len(ordered)) - 1
    below = max(below, 0)
    return median(ordered), ordered[below], ordered[-1 - below]


def latency_metric(seconds: Sequence[float], target: Target | None, host: str) -> Metric:
    """Milliseconds from the seconds of each round."""
    center, low, high = (1e3 * value for value in median_interval(seconds))
    where = "on the target" if is_target(target) else "host, not target"
    if target is not None and target.name == "host":
        where = "host"
    provenance = f"measured ({where}: {host})"
    return Metric(center, "ms", provenance, low, high)

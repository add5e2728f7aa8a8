"""What boards measured: the lines of --edge-device-results, and those that a board prints."""

from __future__ import annotations

import contextlib
from functools import cached_property
from pathlib import Path
from typing import Any

from pytest_edgequant.api.convert import for_target
from pytest_edgequant.api.latency import record_device
from pytest_edgequant.errors import DeviceResultError, SettingsError, user_facing
from pytest_edgequant.measure.latency.device import (
    DeviceResult,
    measurement,
    parse_result,
    read_results,
)
from pytest_edgequant.measure.latency.records import DeviceMeasurement
from pytest_edgequant.records import Target, Variant
from pytest_edgequant.targets import Targets


def _on_board(variant: Any, target: Any) -> tuple[Variant, Target]:
    loaded, profile = for_target(variant, target)
    if profile is None:
        raise SettingsError(f"{loaded.label}: a device result needs a target; give one")
    return loaded, profile


class DeviceResults:
    """The device results of one run; `path` is that of the file with them, None without one."""

    def __init__(self, path: Path | None, targets: Targets) -> None:
        self._path = path
        self._targets = targets

    @cached_property
    def results(self) -> list[DeviceResult]:
        path = self._path
        return [] if path is None else read_results(path, self._targets)

    @user_facing
    def result(self, variant: Any, target: Any) -> DeviceMeasurement:
        """The measurement of a variant in --edge-device-results, recorded."""
        loaded, profile = _on_board(variant, target)
        return record_device(measurement(self.results, loaded, profile))

    @user_facing
    def printed(self, line: bytes, variant: Any, target: Any) -> DeviceMeasurement:
        """The measurement of a variant in a line that a board has just printed, recorded."""
        loaded, profile = _on_board(variant, target)
        result = parse_result(line, "dut")
        self._targets.get(result.target)
        found = measurement([result], loaded, profile)
        if found.metric.value is None:
            raise DeviceResultError(
                f"dut: the board says that it is {result.target!r}, this test is for "
                f"{profile.name!r}"
            )
        return record_device(found)

    def note(self, variant: Variant, target: Target) -> None:
        """Record what a board measured of a variant, whether or not a test gates on it."""
        if any(result.model_sha256 == variant.fingerprint for result in self.results):
            with contextlib.suppress(DeviceResultError):
                found = measurement(self.results, variant, target)
                if found.metric.value is not None:
                    record_device(found)

"""The fixtures about time: measured here with pytest-benchmark, or by the board itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from pytest_edgequant.plugin.current import get_run

if TYPE_CHECKING:
    from pytest_edgequant.measure.latency.records import DeviceMeasurement, HostMeasurement


def register(config: pytest.Config) -> None:
    """Add the fixtures; edge_benchmark builds on `benchmark` where pytest-benchmark is there."""
    there = hasattr(config.option, "benchmark_disable")
    plugin = _WithBenchmark() if there else _WithoutBenchmark()
    config.pluginmanager.register(plugin, "edgequant-benchmark")
    config.pluginmanager.register(_Device(), "edgequant-device")


def _stop(message: str) -> NoReturn:
    __tracebackhide__ = True
    raise pytest.fail.Exception(message, pytrace=False)


class _WithBenchmark:
    @pytest.fixture
    def edge_benchmark(self, benchmark: Any) -> Callable[..., HostMeasurement]:
        """Time invoke on this machine: `measured = edge_benchmark(variant, threads=1)`.

        Batch 1, warmed up, with a pinned number of threads. The rounds are pytest-benchmark's, and
        show in its table, JSON and comparisons; give the result to assert_latency_within.
        """
        from pytest_edgequant.api.host_benchmark import HostBenchmark

        return HostBenchmark(benchmark)


class _WithoutBenchmark:
    @pytest.fixture
    def edge_benchmark(self) -> Callable[..., HostMeasurement]:
        """Time invoke on this machine; needs pytest-benchmark, which is not active in this run."""

        def edge_benchmark(*_: Any, **__: Any) -> NoReturn:
            __tracebackhide__ = True
            _stop(
                "edge_benchmark needs the plugin pytest-benchmark, which is not active in this "
                "run (-p no:benchmark, or not installed): not measured. Activate it, or gate on "
                "estimate_latency instead"
            )

        return edge_benchmark


class _Device:
    @pytest.fixture
    def edge_device_result(
        self, request: pytest.FixtureRequest
    ) -> Callable[..., DeviceMeasurement]:
        """What a board measured of a variant: `edge_device_result(variant)`.

        From the lines of --edge-device-results whose hash is the variant's.
        """
        devices = get_run(request.config).devices

        def edge_device_result(variant: Any, target: Any = None) -> DeviceMeasurement:
            __tracebackhide__ = True
            return devices.result(variant, target)

        return edge_device_result

    @pytest.fixture
    def edge_dut_result(self, request: pytest.FixtureRequest) -> Callable[..., DeviceMeasurement]:
        """Wait for a board's result on pytest-embedded's `dut`: `edge_dut_result(variant)`."""
        from pytest_edgequant.measure.latency.device import RESULT_LINE

        devices = get_run(request.config).devices
        try:
            dut = request.getfixturevalue("dut")
        except pytest.FixtureLookupError:
            _stop(
                "edge_dut_result needs the fixture `dut` of pytest-embedded, which is not active "
                "here. Install it: pip install 'pytest-edgequant[embedded]'"
            )

        def edge_dut_result(
            variant: Any, target: Any = None, *, timeout: float = 60
        ) -> DeviceMeasurement:
            __tracebackhide__ = True
            try:
                match = dut.expect(re.compile(RESULT_LINE), timeout=timeout)
            except Exception as error:
                _stop(
                    f"edge_dut_result: no result line came within {timeout:g} s "
                    f"({type(error).__name__}). The firmware must print one line of JSON with "
                    "model_sha256, target and latency_us"
                )
            found = match if isinstance(match, re.Match) else dut.match
            return devices.printed(found.group(0), variant, target)

        return edge_dut_result

"""Latency on this machine through pytest-benchmark's `benchmark` fixture."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_edgequant.api.convert import for_target
from pytest_edgequant.errors import user_facing
from pytest_edgequant.measure.latency import runner
from pytest_edgequant.measure.latency.host import (
    check_threads,
    describe_host,
    is_target,
    latency_metric,
)
from pytest_edgequant.measure.latency.records import HostMeasurement
from pytest_edgequant.pipeline.current import current_pipeline
from pytest_edgequant.records import Outcome, Verdict
from pytest_edgequant.results import recording


class HostBenchmark:
    """Callable once a test, as `benchmark` is: times a variant and gives what was measured."""

    def __init__(self, benchmark: Any) -> None:
        self._benchmark = benchmark

    @user_facing
    def __call__(self, variant: Any, *, threads: int = 1, target: Any = None) -> HostMeasurement:
        """Milliseconds of one inference on LiteRT: batch 1, `threads` threads, `invoke` alone.

        `variant` is a Variant, or a path or the bytes of a .tflite. The test is skipped with "not
        measured" where pytest-benchmark measures nothing. Raises `CannotRunError` where LiteRT
        refuses the model, `IsolatedProcessError` where it aborts.
        """
        __tracebackhide__ = True
        loaded, profile = for_target(variant, target)
        check_threads(threads)
        if self._benchmark.disabled:
            reason = (
                f"{loaded.label}: latency on this host was not measured: pytest-benchmark is "
                "disabled (--benchmark-disable, or pytest-xdist's -n)"
            )
            recording.record_ungated(loaded, Verdict("latency", Outcome.UNAVAILABLE, reason))
            pytest.skip(reason)
        # Where it aborts, it does so in the child process, and the run goes on.
        current_pipeline().isolated(runner.check, loaded.content, threads)
        host, on_target = describe_host(), is_target(profile)
        self._benchmark.extra_info.update(
            model=loaded.model_name,
            variant=loaded.name,
            model_sha256=loaded.fingerprint,
            target=profile.name if profile is not None else None,
            host=host,
            threads=threads,
            on_target=on_target,
        )
        self._benchmark(runner.invoker(loaded.content, threads))
        seconds = self._benchmark.stats.stats.data
        metric = latency_metric(seconds, profile, host)
        name = "latency_ms" if on_target else "host_latency_ms"
        recording.record_metric(loaded, name, metric)
        return HostMeasurement(loaded, profile, metric, host, threads, len(seconds), on_target)

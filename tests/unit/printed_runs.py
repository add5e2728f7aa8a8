"""Runs as newcomers have them, so that what is printed of them can be read.

Keyword spotting on two boards; anomaly detection and a recurrent model on ten; four `.tflite` files
on all microcontrollers. Models are built, sizes, arenas and verdicts are the package's own; what a
dataset would tell is recorded as `assert_max_accuracy_drop` records it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from random_models import GraphBuilder, options
from recorded_events import recording

from pytest_edgequant.api.convert import load_variant
from pytest_edgequant.api.memory import for_target, refusals
from pytest_edgequant.errors import EdgeAssertionError
from pytest_edgequant.gate.deployment import assert_deployable
from pytest_edgequant.records import Failure, Metric, Outcome, Target, Variant, Verdict
from pytest_edgequant.results import recording as recorder
from pytest_edgequant.results.session import Session
from pytest_edgequant.targets import Targets

Build = Callable[[GraphBuilder, str], None]
TEN = (
    *("nano33ble", "teensy41", "pico", "esp32", "uno-r4", "microbit-v2"),
    *("nucleo-h743zi", "esp32s3", "nano33iot", "xiao-nrf52840"),
)


def conv(b: GraphBuilder, x: int, count: int, size: tuple[int, int], stride: int = 1) -> int:
    n, height, width, channels = b.shape(x)
    kind = b.kind(x)
    filters = b.weights((count, *size, channels), kind, 0, False)
    output = (n, -(-height // stride), -(-width // stride), count)
    made = options("Conv2DOptions", padding=0, strideH=stride, strideW=stride)
    return b.add("CONV_2D", [x, filters, b.bias(count, kind)], output, kind, made)


def depthwise(b: GraphBuilder, x: int) -> int:
    shape, kind = b.shape(x), b.kind(x)
    filters = b.weights((1, 3, 3, shape[3]), kind, 3)
    made = options("DepthwiseConv2DOptions", padding=0, strideH=1, strideW=1, depthMultiplier=1)
    inputs = [x, filters, b.bias(shape[3], kind)]
    return b.add("DEPTHWISE_CONV_2D", inputs, shape, kind, made)


def dense(b: GraphBuilder, x: int, units: int) -> int:
    shape, kind = b.shape(x), b.kind(x)
    depth = 1
    for extent in shape[1:]:
        depth *= extent
    inputs = [x, b.weights((units, depth), kind, 0, False), b.bias(units, kind, False)]
    return b.add("FULLY_CONNECTED", inputs, (1, units), kind, options("FullyConnectedOptions"))


def keywords(b: GraphBuilder, kind: str) -> None:
    """A depthwise-separable network on a spectrogram of a second."""
    x = conv(b, b.activation((1, 49, 10, 1), kind), 32, (10, 4), 2)
    for _ in range(3):
        x = conv(b, depthwise(b, x), 32, (1, 1))
    dense(b, x, 12)


def autoencoder(b: GraphBuilder, kind: str) -> None:
    """Dense layers around a bottleneck."""
    x = b.activation((1, 320), kind)
    for units in (64, 64, 8, 64, 64, 320):
        x = dense(b, x, units)


def recurrent(b: GraphBuilder, kind: str, steps: int = 40) -> None:
    """A cell unrolled over its time steps."""
    x = b.activation((1, 24), kind)
    for _ in range(steps):
        x = dense(b, x, 24)
        x = b.add("ADD", [x, x], b.shape(x), kind, options("AddOptions"))


def person(b: GraphBuilder, kind: str) -> None:
    """A picture of 96 x 96, so that the first layers take much memory."""
    x = conv(b, b.activation((1, 96, 96, 1), kind), 16, (3, 3), 2)
    for channels in (32, 64):
        x = conv(b, depthwise(b, x), channels, (1, 1), 2)
    dense(b, x, 2)


def gesture(b: GraphBuilder, kind: str) -> None:
    """A little network on three axes of acceleration."""
    x = conv(b, b.activation((1, 128, 3, 1), kind), 8, (4, 3), 4)
    dense(b, x, 4)


def made(name: str, form: str, build: Build) -> Variant:
    """A variant of a model, as the fixtures hand it out."""
    builder = GraphBuilder()
    build(builder, {"float32": "FLOAT32", "int8": "INT8"}[form])
    return dataclasses.replace(load_variant(builder.build()), model_name=name, name=form)


class Printed:
    """A session that is filled as the plugin fills it."""

    def __init__(self, boards: Iterable[str]) -> None:
        known = Targets()
        self.targets = [target for name in boards for target in known.expand(name)]
        self.session = Session(watched=True, targets={t.name: t for t in self.targets})

    def deploy(self, variant: Variant, target: Target) -> None:
        """`test_deployable[board-form]`: skipped where it can't run, red where it doesn't fit."""
        test = f"test_edge.py::test_deployable[{target.name}-{variant.name}]"
        loaded, _ = for_target(variant, target)
        with recording() as events:
            reasons = refusals(loaded, target)
            if reasons:
                message = f"{loaded.label} cannot run on {target.name}: {'; '.join(reasons)}"
                recorder.record_skip(
                    loaded.model_name, loaded.name, target.name, "runs", message,
                    outcome=Outcome.CANNOT_RUN,
                )  # fmt: skip
                self._end(test, events, "skipped")
                return
            recorder.record_variant(loaded)
            try:
                assert_deployable(loaded, target)
            except EdgeAssertionError as error:
                self._end(test, events, "failed", str(error))
            else:
                self._end(test, events, "passed")

    def evaluated(
        self,
        variant: Variant,
        target: Target,
        score: tuple[str, float],
        drop: tuple[float, float, float] | None = None,
        limit: float = 0.02,
        count: int = 4_890,
        unit: str = "fraction",
    ) -> None:
        """What an evaluation records: a score, and a drop with its interval and limit."""
        loaded, _ = for_target(variant, target)
        where = "measured (TFLM's interpreter on this host)"
        how = "Tango's score interval" if unit else "paired bootstrap (BCa, 2,000 resamples)"
        with recording() as events:
            recorder.record_metric(loaded, score[0], Metric(score[1], unit, where, count=count))
            if drop is not None:
                value, low, high = drop
                provenance = f"{where}, against {loaded.model_name}/float32; 95% interval, {how}"
                figure = Metric(value, unit, provenance, low, high, count=count)
                recorder.record_metric(loaded, "accuracy_drop", figure)
                fits = value <= limit
                message = f"{loaded.label}: {score[0]} drops by {value} of {limit}"
                outcome = Outcome.PASS if fits else Outcome.FAIL
                verdict = Verdict("accuracy_drop", outcome, message, limit, value)
                recorder.record_verdict(loaded, verdict)
                test = f"test_edge.py::test_accuracy[{target.name}-{variant.name}]"
                self._end(test, events, "passed" if fits else "failed", message)
            else:
                self._end("test_edge.py::test_score", events, "passed")

    def break_(self, model: str, form: str, target: Target) -> None:
        """A further check of a variant, that fails."""
        message = f"{model}/{form} on {target.name}: latency 90 ms is over the limit of 50 ms"
        verdict = {"check": "latency", "verdict": "fail", "message": message, "limit": 50.0}
        event = {"kind": "verdict", "model": model, "variant": form, "target": target.name}
        events = [{**event, "skipped": False, "verdict": {**verdict, "value": 90.0}}]
        self._end(f"test_edge.py::test_latency[{target.name}-{model}]", events, "failed", message)

    def _end(self, test: str, events: Sequence[dict[str, Any]], state: str, why: str = "") -> None:
        self.session.add(events, test)
        if state == "failed":
            self.session.fail(Failure(test, "test_edge.py", 7, why))
            self.session.exit_status = 1
        else:
            self.session.end(test, state)


def keyword_spotting() -> Printed:
    """A model of one's own on two boards, its accuracy judged on both."""
    run = Printed(["nano33ble", "esp32"])
    for target in run.targets:
        for form, accuracy in (("float32", 0.9301), ("int8", 0.9252)):
            variant = made("kws", form, keywords)
            run.deploy(variant, target)
            drop = (0.0049, 0.0011, 0.0087) if form == "int8" else None
            run.evaluated(variant, target, ("accuracy", accuracy), drop)
    run.session.exit_status = run.session.exit_status or 0
    return run


def anomaly_and_recurrent() -> Printed:
    """Two models on ten boards: one judged by its ROC-AUC, which drops too much on all."""
    run = Printed(TEN)
    for target in run.targets:
        for name, build in (("anomaly", autoencoder), ("gru", recurrent)):
            for form in ("float32", "int8"):
                variant = made(name, form, build)
                run.deploy(variant, target)
                if (name, form) == ("gru", "int8"):
                    run.evaluated(
                        variant, target, ("mae", 0.412), (0.018, 0.009, 0.027), 0.05, 500, ""
                    )
    run.session.exit_status = run.session.exit_status or 0
    return run


def four_files() -> Printed:
    """Four `.tflite` files on every microcontroller that is known."""
    run = Printed(["all-mcu"])
    files = {"gesture": gesture, "kws": keywords, "person": person, "gru": recurrent}
    variants = [made(name, "int8", build) for name, build in files.items()]
    for target in run.targets:
        for variant in variants:
            run.deploy(variant, target)
    run.session.exit_status = run.session.exit_status or 0
    return run

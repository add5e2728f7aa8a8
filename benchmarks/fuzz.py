"""Damaged models through every public function that takes one, and what came out.

    python benchmarks/fuzz.py 20000 [--first SEED] [--models FOLDER] [--without-interpreters]

Each input runs in a worker process with limits: a crash, a hang (60 s) or too much memory (2 GiB
above what the worker began with) is counted and the run goes on. Right are `ok` and `named error`;
everything else is printed with its seed, and makes the script fail. `--one SEED` runs one input
here, with its traceback.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from damage import damaged

import pytest_edgequant as eq
from pytest_edgequant import context
from pytest_edgequant.api.convert import load_variant
from pytest_edgequant.diagnose.weights import layer_weights
from pytest_edgequant.report import html, markdown
from pytest_edgequant.report import json as json_report
from pytest_edgequant.results.session import Session
from pytest_edgequant.samples.inputs import input_specs

ROOT = Path(__file__).parents[1]
TARGETS = ("nano33ble", "esp32s3", "rpi4")
HANG = 60.0
MEMORY = 2 << 30
OK, NAMED, FOREIGN = "ok", "named error", "foreign exception"


def _inputs(content: bytes) -> Any:
    specs = input_specs(load_variant(content))
    if sum(int(np.prod(spec.sample_shape, dtype=np.float64)) for spec in specs) > 1 << 20:
        raise eq.ModelError("inputs of more than a million values are not made here")
    return {spec.name: np.zeros((2, *spec.sample_shape), np.float32) for spec in specs}


def _report(content: bytes, target: str) -> None:
    """All that gates record of a model, as each report shows it."""
    outer, context.events = context.events, []
    try:
        with contextlib.suppress(eq.EdgeAssertionError):
            eq.assert_deployable(content, target)
        session = Session()
        session.add(context.events, "test_it.py::test_it")
        for report in (json_report, markdown, html):
            report.render(session)
    finally:
        context.events = outer


STEPS: Mapping[str, Callable[[bytes, str], object]] = {
    "read": lambda content, target: load_variant(content),
    "fingerprint": lambda content, target: eq.model_fingerprint(content),
    "ops": lambda content, target: eq.assert_ops_supported(content, target),
    "size": lambda content, target: eq.assert_size_within(content, "10 kB"),
    "integer": lambda content, target: eq.assert_fully_integer(content),
    "arena": lambda content, target: eq.measure_arena(content, target).explain(),
    "arena gate": lambda content, target: eq.assert_arena_fits(content, target, headroom="99%"),
    "optimize": lambda content, target: eq.optimize_arena(content, target),
    "latency": lambda content, target: eq.estimate_latency(content, target),
    "weights": lambda content, target: layer_weights(content),
    "report": _report,
}
"""What takes a model and needs no interpreter."""

INTERPRETED: Mapping[str, Callable[[bytes, str], object]] = {
    "predict": lambda content, target: load_variant(content).predict(_inputs(content)),
    "evaluate": lambda content, target: eq.evaluate(content, (_inputs(content), np.array([0, 1]))),
    "evaluate tflm": lambda content, target: eq.evaluate(
        content, (_inputs(content), np.array([0, 1])), runtime="tflm"
    ),
}


def outcomes(
    content: bytes, target: str, steps: Mapping[str, Callable[[bytes, str], object]]
) -> Iterator[tuple[str, str, str]]:
    """(step, what came out, the foreign exception's text) of each step on a file."""
    for name, step in steps.items():
        try:
            step(content, target)
            yield name, OK, ""
        except (eq.EdgeQuantError, eq.EdgeAssertionError):
            yield name, NAMED, ""
        except MemoryError:
            yield name, "memory", ""
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            at = f"{Path(place.filename).name}:{place.lineno}"
            yield name, FOREIGN, f"{type(error).__name__} at {at}: {str(error)[:100]}"


def sources(folder: Path | None) -> list[Path]:
    """The models that are damaged."""
    return sorted((folder or ROOT / "tests" / "data").glob("*.tflite"))


def case(files: Sequence[Path], seed: int) -> tuple[str, bytes, str]:
    """How the input of a seed is damaged, the input, and the target it is judged for."""
    kind, content = damaged(files[seed % len(files)].read_bytes(), seed)
    return kind, content, TARGETS[seed % len(TARGETS)]


def work(files: Sequence[Path], first: int, stop: int, interpreters: bool) -> None:
    """A worker: a line of JSON before and after each input."""
    if sys.platform != "win32":
        import resource

        with open("/proc/self/statm") as stream:
            now = int(stream.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, resource.RLIM_INFINITY))
    steps = {**STEPS, **(INTERPRETED if interpreters else {})}
    for seed in range(first, stop):
        print(json.dumps({"begin": seed}), flush=True)
        kind, content, target = case(files, seed)
        found = list(outcomes(content, target, steps))
        print(json.dumps({"end": seed, "kind": kind, "found": found}), flush=True)


class _Run:
    """The counts of a run, and the worker that makes them."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.counts: collections.Counter[tuple[str, str]] = collections.Counter()
        self.foreign: dict[str, int] = {}
        self.bad = 0

    def start(self, first: int) -> subprocess.Popen[str]:
        arguments = self.arguments
        command = [sys.executable, __file__, str(arguments.number), "--worker", str(first)]
        command += ["--first", str(arguments.first)]
        command += ["--models", str(arguments.models)] if arguments.models else []
        command += ["--without-interpreters"] if arguments.without_interpreters else []
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ
        )

    def failed(self, seed: int, what: str) -> None:
        self.counts["the worker", what] += 1
        self.bad += 1
        print(f"seed {seed}: {what}", flush=True)

    def take(self, line: Mapping[str, Any]) -> None:
        for name, what, text in line["found"]:
            self.counts[name, what] += 1
            if what not in (OK, NAMED):
                self.bad += 1
            if text and text not in self.foreign:
                self.foreign[text] = line["end"]
                print(f"seed {line['end']}: {line['kind']}: {name}: {text}", flush=True)

    def run(self) -> None:
        seed, stop = self.arguments.first, self.arguments.first + self.arguments.number
        while seed < stop:
            process = self.start(seed)
            assert process.stdout is not None
            with selectors.DefaultSelector() as waiting:
                waiting.register(process.stdout, selectors.EVENT_READ)
                while True:
                    if not waiting.select(HANG):
                        self.failed(seed, "hang")
                        break
                    text = process.stdout.readline()
                    if not text:
                        if seed < stop:
                            self.failed(seed, "crash")
                        break
                    line = json.loads(text)
                    if "end" in line:
                        self.take(line)
                        seed = line["end"] + 1
            process.kill()
            process.wait()
            seed += seed < stop


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("number", type=int, nargs="?", default=20_000)
    parser.add_argument("--first", type=int, default=0, metavar="SEED")
    parser.add_argument("--models", type=Path, metavar="FOLDER")
    parser.add_argument("--without-interpreters", action="store_true")
    parser.add_argument("--one", type=int, metavar="SEED")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    files = sources(arguments.models)
    steps = {**STEPS, **({} if arguments.without_interpreters else INTERPRETED)}
    if arguments.one is not None:
        kind, content, target = case(files, arguments.one)
        print(kind, len(content), target, files[arguments.one % len(files)].name)
        for name, step in steps.items():
            try:
                step(content, target)
                print(name, OK)
            except (eq.EdgeQuantError, eq.EdgeAssertionError) as error:
                print(name, type(error).__name__, str(error)[:200])
            except Exception:
                traceback.print_exc()
        return
    if arguments.worker is not None:
        stop = arguments.first + arguments.number
        work(files, arguments.worker, stop, not arguments.without_interpreters)
        return
    begin = time.monotonic()
    run = _Run(arguments)
    run.run()
    columns = sorted({what for _, what in run.counts})
    for name in (*steps, "the worker"):
        row = {what: run.counts[name, what] for what in columns if run.counts[name, what]}
        print(f"{name:14}", ", ".join(f"{count:,} {what}" for what, count in row.items()))
    print(f"{arguments.number:,} inputs in {time.monotonic() - begin:.0f} s: {run.bad} are wrong")
    sys.exit(1 if run.bad else 0)


if __name__ == "__main__":
    main()

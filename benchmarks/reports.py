"""Time and size of the reports of a large run: 10 models, 7 variants, 5 targets.

    python benchmarks/reports.py [FOLDER]

The variants are the small digits model and a residual network of the tests, each copy a file of its
own, with a metric or verdict of every kind, some of them failures, and changes against a baseline.
Writes the reports into FOLDER where one is given. For comparison the time that `json.dumps` takes
for the same document.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_edgequant.api.memory import computed_arena
from pytest_edgequant.errors import EdgeQuantError
from pytest_edgequant.records import Change, Failure, Metric, Outcome
from pytest_edgequant.report import html, markdown
from pytest_edgequant.report import json as json_report
from pytest_edgequant.results.session import Event, Session
from pytest_edgequant.targets import Targets

DATA = Path(__file__).parents[1] / "tests/data"
FORMS = ("float32", "float16", "dynamic_range", "int8", "int8_float_io", "uint8_io", "int16x8")
BOARDS = ("nano33ble", "pico", "esp32s3", "stm32f746-disco", "rpi4")
MODELS = 10


def _plain(metric: Metric) -> dict[str, Any]:
    return dict(vars(metric))


def _file(model: int, form: str, folder: Path) -> tuple[str, bytes]:
    """A file of its own for each model and variant: the bytes differ, the graph is a real one."""
    name = "residual_int8" if form == "int8" and model % 2 else f"tiny_{form}"
    content = (DATA / f"{name}.tflite").read_bytes() + bytes([model] * 4)
    path = folder / f"model{model}_{form}.tflite"
    path.write_bytes(content)
    return str(path), content


def _events(model: int, form: str, board: str, path: str, content: bytes) -> list[Event]:
    key = {"model": f"model{model}", "variant": form, "target": board}
    accuracy = 0.98 - 0.004 * FORMS.index(form) - 0.001 * model
    metrics = {
        "size_bytes": Metric(len(content), "bytes", "exact (file size)"),
        "accuracy": Metric(accuracy, "fraction", "measured (LiteRT on this host)"),
        "accuracy_drop": Metric(0.98 - accuracy, "fraction", "measured", -0.01, 0.03),
        "latency_ms": Metric.unavailable("ms", f"{board}: nobody has measured this core"),
    }
    target = Targets().get(board)
    try:
        arena = computed_arena(content, target)
        metrics["arena_bytes"] = Metric(arena.minimum_bytes, "bytes", arena.provenance)
    except EdgeQuantError as error:
        metrics["arena_bytes"] = Metric.unavailable("bytes", str(error))
    checks = {
        "size": Outcome.PASS,
        "arena": Outcome.FAIL if (model + BOARDS.index(board)) % 7 == 0 else Outcome.PASS,
        "accuracy_drop": Outcome.INCONCLUSIVE if form == "int16x8" else Outcome.PASS,
    }
    found: list[Event] = [
        {"kind": "metric", **key, "name": name, "metric": _plain(metric)}
        for name, metric in metrics.items()
    ]
    found += [
        {
            "kind": "verdict",
            **key,
            "skipped": False,
            "verdict": {
                "check": check,
                "verdict": outcome.value,
                "message": f"model{model}/{form} on {board}: {check} is judged, and what to do "
                "about it takes a sentence or two: fewer channels, or a target with more SRAM",
                "limit": 1,
                "value": 2,
            },
        }
        for check, outcome in checks.items()
    ]
    classes = [
        {"label": i, "count": 100, "recall": accuracy - 0.001 * i, "baseline": 0.98}
        for i in range(10)
    ]
    found.append({"kind": "details", **key, "name": "classes", "rows": classes})
    fingerprint = hashlib.sha256(content).hexdigest()
    found.append({"kind": "file", **key, "fingerprint": fingerprint, "path": path, "content": None})
    return found


def large_session(folder: Path) -> Session:
    session = Session(watched=True, baseline_note="compared with baseline.json of the base commit")
    for model in range(MODELS):
        for form in FORMS:
            path, content = _file(model, form, folder)
            for board in BOARDS:
                session.add(_events(model, form, board, path, content), f"test[{board}-{form}]")
                size = len(content)
                change = Change("size_bytes", "bytes", size - 64, size, Outcome.PASS, "64 B more")
                session.add_changes((f"model{model}", board, form), [change])
    failed = "model0/int8 on nano33ble: arena is judged"
    session.failures.append(Failure("tests/test_edge.py::test_it", "tests/test_edge.py", 9, failed))
    return session


def timed(action: Callable[[], str], repeats: int) -> tuple[float, str]:
    """The median time in seconds, and what came of it."""
    times, text = [], ""
    for _ in range(repeats):
        start = time.perf_counter()
        text = action()
        times.append(time.perf_counter() - start)
    return statistics.median(times), text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as temporary:
        session = large_session(Path(temporary))
        print(f"{MODELS} models x {len(FORMS)} variants x {len(BOARDS)} targets")
        document = json_report.document(session)
        dumps, _ = timed(lambda: json.dumps(document), 3)
        both = 0.0
        for name, render, repeats in (
            ("json", json_report.render, 3),
            ("md", markdown.render, 3),
            ("html", html.render, 1),
        ):
            seconds, text = timed(lambda render=render: render(session), repeats)  # type: ignore[misc]
            both += seconds if name != "html" else 0
            print(f"{name}: {seconds:.2f} s, {len(text.encode()):,} B")
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"report.{name}").write_text(text, encoding="utf-8")
        print(f"json and md together: {both:.2f} s ({both / dumps:.0f}x json.dumps alone)")


if __name__ == "__main__":
    main()

"""A throw-away repository as a user of the plugin has it, for the tests of this folder."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parents[1] / "data"
TFLM = find_spec("tflite_micro") is not None
needs_tflm = pytest.mark.skipif(not TFLM, reason="no tflite-micro wheel for this machine")

_HEAD = """
import numpy as np
import pytest
import pytest_edgequant as eq
from pytest_edgequant import *

DATA = {data!r}

def samples():
    with np.load(DATA + "/tiny.npz") as stored:
        return {{k: (v / 16).astype(np.float32) if k[0] == "x" else v for k, v in stored.items()}}
"""
_MODEL = """
@pytest.fixture(scope="session")
def edge_model():
    return DATA + "/{model}.tflite"
"""
_DATASET = """
@pytest.fixture(scope="session")
def edge_dataset():
    return samples()["x"], samples()["y"]
"""
_CALIBRATION = """
@pytest.fixture(scope="session")
def edge_calibration():
    return samples()["x_calibration"]
"""


@dataclass
class Project:
    """The folder is the current one. `cache` is this test's own; `warm` is shared by the tests.

    Nothing is converted or measured again in `warm`, so it is for tests that are not about that.
    """

    pytester: pytest.Pytester
    cache: Path
    warm: Path

    @property
    def path(self) -> Path:
        return self.pytester.path

    def conftest(
        self,
        *parts: str,
        model: str | None = "tiny_int8",
        dataset: bool = True,
        calibration: bool = True,
    ) -> None:
        """Write conftest.py: the inputs that a user defines, then `parts`."""
        inputs = [_HEAD.format(data=str(DATA))]
        inputs += [_MODEL.format(model=model)] if model else []
        inputs += [_DATASET] if dataset else []
        inputs += [_CALIBRATION] if calibration else []
        self.write("conftest.py", "".join([*inputs, *parts]))

    def test(self, source: str, name: str = "test_it") -> None:
        """Write a test module; it has `eq` and the names of pytest_edgequant."""
        self.write(f"{name}.py", _HEAD.format(data=str(DATA)) + source)

    def write(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def run(self, *args: object, cache: Path | None = None) -> pytest.RunResult:
        """Run pytest in this process, with the shared cache unless another is given."""
        return self.pytester.runpytest_inprocess(*self._arguments(args, cache))

    def run_subprocess(self, *args: object, cache: Path | None = None) -> pytest.RunResult:
        """Run pytest in a process of its own (pytest-xdist, what is imported)."""
        return self.pytester.runpytest_subprocess(*self._arguments(args, cache), timeout=60)

    def _arguments(self, args: tuple[object, ...], cache: Path | None) -> list[str]:
        return [f"--edge-cache-dir={cache or self.warm}", *map(str, args)]

    def collected(self, *args: object) -> list[str]:
        """The ids between brackets, or the bare names, of the tests that a run would collect."""
        result = self.run("--collect-only", "-q", *args)
        assert result.ret == 0, result.stdout.str()
        names = [line.split("::", 1)[1] for line in result.outlines if "::" in line]
        return [re.sub(r".*\[(.*)\]$", r"\1", name) for name in names]

    def report(self, *args: object, cache: Path | None = None) -> Report:
        """Run, and give what `--edge-report` wrote."""
        path = self.path / "report.json"
        path.unlink(missing_ok=True)
        result = self.run(*args, f"--edge-report={path}", cache=cache)
        return Report(result, json.loads(path.read_text(encoding="utf-8")))

    def cache_entries(self) -> list[Path]:
        """The converted models and measurements in this test's own cache."""
        return sorted(p for p in self.cache.rglob("*") if p.is_file() and p.suffix == ".json")


@dataclass
class Report:
    """A run, and its JSON report."""

    result: pytest.RunResult
    document: dict[str, Any]

    def verdicts(self) -> list[tuple[str, str, str]]:
        """(variant, check, verdict) of everything that was judged or skipped."""
        return [
            (result["variant"], verdict["check"], verdict["verdict"])
            for result in self.document["results"]
            for verdict in result["verdicts"]
        ]


def summary(result: pytest.RunResult) -> list[str]:
    """The lines of the plugin's section in the terminal summary; none where it has none."""
    lines = result.outlines
    starts = [i for i, line in enumerate(lines) if re.fullmatch(r"-+ edgequant -+", line)]
    if not starts:
        return []
    section = lines[starts[0] + 1 :]
    ends = [i for i, line in enumerate(section) if re.match(r"[=]{4,}|\d+ passed|-{4,} \w", line)]
    return section[: ends[0] if ends else len(section)]


def failures(result: pytest.RunResult) -> str:
    """The sections ERRORS and FAILURES, up to the summaries."""
    text = result.stdout.str()
    start = re.search(r"^=+ (ERRORS|FAILURES) =+$", text, re.MULTILINE)
    assert start is not None, text
    end = re.search(
        r"^(-+ edgequant -+|=+ short test summary info =+)$", text[start.start() :], re.MULTILINE
    )
    return text[start.start() :][: end.start() if end else None]


def own_frames(text: str) -> list[str]:
    """The places inside the plugin's own package that a traceback shows to the user."""
    return re.findall(r"pytest_edgequant[/\\][\w/\\]+\.py:\d+.*", text)

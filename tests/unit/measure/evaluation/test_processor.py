from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_edgequant.measure.evaluation import processor
from pytest_edgequant.tflite.folding import KERNELS


@pytest.fixture(autouse=True)
def _read_anew() -> Iterator[None]:
    processor.instructions.cache_clear()
    yield
    processor.instructions.cache_clear()


@pytest.mark.parametrize(
    "line, kernel",
    [
        ("flags\t\t: fpu sse avx2 avx512_vnni amx_int8", "amx"),
        ("flags\t\t: fpu sse avx2", "vector"),
        ("Features\t: fp asimd asimddp", ""),
        ("model name\t: something", ""),
    ],
)
def test_the_kernel_follows_from_the_instructions(
    line: str, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: f"processor\t: 0\n{line}\n")
    assert processor.usual_kernel() == kernel
    assert kernel in ("", *KERNELS)


def test_where_nothing_tells_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert processor.instructions() == frozenset()
    assert processor.usual_kernel() == ""


@pytest.mark.skipif(platform.system() != "Linux", reason="only Linux has /proc/cpuinfo")
def test_linux_tells_them() -> None:
    assert processor.instructions()

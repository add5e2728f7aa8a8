"""Fixtures of the gate's tests."""

from __future__ import annotations

import pytest

from pytest_edgequant.pipeline import interpreters


@pytest.fixture
def without_tflm(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine for which there is no tflite-micro wheel."""
    installed = interpreters.versions

    def versions(packages: list[str]) -> dict[str, str]:
        return {k: v for k, v in installed(packages).items() if k != "tflite-micro"}

    monkeypatch.setattr(interpreters, "versions", versions)

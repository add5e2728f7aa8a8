"""Fixtures of the plugin's tests: pytest runs inside pytest."""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
from pathlib import Path

import pytest
from edge_project import Project

import pytest_edgequant

# pytester drops what a run in this process imports. NumPy can't be imported twice, and the package
# itself would be loaded anew, and its classes with it, in every test.
for _module in pkgutil.walk_packages(pytest_edgequant.__path__, "pytest_edgequant."):
    importlib.import_module(_module.name)
for _name in ("filelock", "jinja2", "platformdirs", "tabulate"):
    importlib.import_module(_name)
with contextlib.suppress(ImportError):
    importlib.import_module("matplotlib.backends.backend_svg")


@pytest.fixture(scope="session")
def warm_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that the tests share which are not about the cache."""
    return tmp_path_factory.mktemp("edgequant-cache")


@pytest.fixture
def project(
    pytester: pytest.Pytester, warm_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Project:
    """An empty repository, which is the current folder."""
    # Hypothesis' plugin imports all of Hypothesis at the end of every run.
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest")
    # Runs that are compared with each other end at the same time.
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    # What these runs find is no finding of a workflow that runs the tests.
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    return Project(pytester, pytester.path / "own-cache", warm_cache)

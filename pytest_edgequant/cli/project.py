"""What the commands know of the project that they are run in: its boards, its cache."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_edgequant import context
from pytest_edgequant.errors import SettingsError

if TYPE_CHECKING:
    from pytest_edgequant.pipeline.pipeline import Pipeline
    from pytest_edgequant.settings import Settings

HERE = Path("pyproject.toml")


def add_project(parser: argparse.ArgumentParser) -> None:
    """The option that says whose settings hold."""
    parser.add_argument(
        "--project",
        type=Path,
        default=HERE,
        metavar="PYPROJECT",
        help="the pyproject.toml with boards and settings (default: the one here)",
    )


def project_settings(project: Path) -> Settings:
    """The settings of a project's files; raises `SettingsError`."""
    from pytest_edgequant.configuration import read_configuration
    from pytest_edgequant.settings import resolve

    found = read_configuration(project)
    return resolve(
        {},
        {},
        found.section,
        cwd=Path(),
        rootdir=found.root,
        where=found.where,
        places=found.places,
    )


@contextlib.contextmanager
def working(
    project: Path,
    *,
    interpreters: bool = True,
    strip: bool | None = None,
    missing: bool = False,
) -> Iterator[Pipeline]:
    """The pipeline of a project, which all public functions use meanwhile.

    Without `interpreters` none is asked what it says of a model. `strip` says whether files are
    taken without what devices never read, by default as the project does. `missing` lets there be
    no such file. Raises `SettingsError` for settings that can't be read.
    """
    from pytest_edgequant.pipeline.pipeline import Pipeline
    from pytest_edgequant.progress import on_terminal
    from pytest_edgequant.targets import Targets

    if project != HERE and not missing and not project.is_file():
        raise SettingsError(f"--project: there is no file {str(project)!r}; check the path")
    settings = project_settings(project)
    pipeline = Pipeline(
        settings.cache_dir,
        no_cache=settings.no_cache,
        timeout=settings.timeout,
        targets=Targets(settings.user_targets, settings.place("targets")),
        dense_per_channel=settings.dense_per_channel,
        strip=settings.strip if strip is None else strip,
        tflm_macs=settings.tflm_macs,
        asks_interpreters=interpreters,
        progress=on_terminal,
    )
    outer, context.pipeline_factory = context.pipeline_factory, lambda: pipeline
    try:
        yield pipeline
    finally:
        context.pipeline_factory = outer
        pipeline.close()

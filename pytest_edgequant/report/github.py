"""What GitHub Actions shows by itself: the job's summary, and annotations at failing tests.

https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_edgequant.records import Failure
from pytest_edgequant.wording import printable

if TYPE_CHECKING:
    from pytest_edgequant.results.session import Session

_SHOWN_BY_GITHUB = 10
"""Annotations that GitHub shows for a step; of more than these, those of a line are one."""
_MOST_MESSAGE = 1500


def write_summary(session: Session, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Add the Markdown report to the job's summary, where GITHUB_STEP_SUMMARY names one.

    Gives what went wrong, in lines for the user. A run without results leaves the summary alone.
    """
    name = environ.get("GITHUB_STEP_SUMMARY")
    if not name or not (session.failures or any(session.results())):
        return []
    try:
        from pytest_edgequant.report.markdown import render

        content = render(session).encode("utf-8", "replace")
        with Path(name).open("ab") as stream:
            stream.write(b"\n" + content if stream.tell() else content)
    except OSError as error:
        return [f"GITHUB_STEP_SUMMARY: can't write {name!r}: {error.strerror or error}"]
    except Exception as error:
        # As for any report: the verdict of the run stands.
        return [f"GITHUB_STEP_SUMMARY: {type(error).__name__}: {error}"]
    return []


def _escaped_data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escaped_property(text: str) -> str:
    return _escaped_data(text).replace(":", "%3A").replace(",", "%2C")


def _command(place: tuple[str, int | None], title: str, message: str) -> str:
    file, line = place
    properties = {"file": file, "line": line, "title": title}
    shown = ",".join(
        f"{name}={_escaped_property(printable(value))}"
        for name, value in properties.items()
        if value is not None
    )
    text = printable(message.strip(), "\r\n\t") or "failed"
    if len(text) > _MOST_MESSAGE:
        text = f"{text[: _MOST_MESSAGE - 1]}…"
    return f"::error {shown}::{_escaped_data(text)}"


def annotation_lines(
    failures: Iterable[Failure], rootpath: Path, environ: Mapping[str, str] = os.environ
) -> Iterator[str]:
    """One `::error` command a failed test, in a workflow of GitHub; nothing elsewhere.

    Paths are relative to the repository (GITHUB_WORKSPACE), or absolute outside of it.
    """
    if environ.get("GITHUB_ACTIONS") != "true":
        return
    workspace = Path(environ.get("GITHUB_WORKSPACE") or rootpath)
    places: dict[tuple[str, int | None], list[Failure]] = {}
    for failure in sorted(failures, key=lambda f: (f.file, f.line or 0, f.test)):
        path = Path(os.path.normpath(rootpath / failure.file))
        if path.is_relative_to(workspace):
            path = path.relative_to(workspace)
        places.setdefault((path.as_posix(), failure.line), []).append(failure)
    if sum(map(len, places.values())) <= _SHOWN_BY_GITHUB:
        for place, found in places.items():
            for failure in found:
                yield _command(place, _name(failure), failure.message)
        return
    for place, found in places.items():
        if len(found) == 1:
            yield _command(place, _name(found[0]), found[0].message)
            continue
        lines = (f"{_name(failure)}: {failure.message}" for failure in found)
        yield _command(place, f"{len(found)} tests failed", "\n".join(lines))


def _name(failure: Failure) -> str:
    return failure.test.rpartition("::")[2] or failure.test

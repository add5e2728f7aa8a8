"""Reports from one result set, one file a format.

A report never decides over the run: what can't be written or drawn is said, and the run's own
verdict stands. It may import `gate` and all below; `plugin` and `cli`, which have reports written,
stand above.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_edgequant.results.session import Session

RENDERERS: Mapping[str, str] = {
    ".json": "pytest_edgequant.report.json",
    ".md": "pytest_edgequant.report.markdown",
    ".html": "pytest_edgequant.report.html",
}
"""The module of each format, by the ending of a report's path; its `render(session)` is used."""


def renderer(path: Path) -> Callable[[Session], str]:
    """What makes the text of a report; loaded at its first use, for each needs other packages."""
    render: Callable[[Session], str] = import_module(RENDERERS[path.suffix.lower()]).render
    return render


def needs_files(path: Path) -> bool:
    """Whether a report shows what stands in the variants' files, beyond what tests recorded."""
    return path.suffix.lower() == ".html"


def write_report(path: Path, session: Session) -> list[str]:
    """Write a report, its folder too; gives what went wrong, in lines for the user."""
    where = f"--edge-report: can't write {str(path)!r}"
    try:
        content = renderer(path)(session).encode("utf-8", "replace")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        return [f"{where}: {error.strerror or error}"]
    except Exception as error:
        # A report that can't be made must not take the verdict of the run with it.
        return [f"{where}: {type(error).__name__}: {error}"]
    return []

"""What is current in this process. Imports nothing, so that an idle plugin costs nothing.

`events` collects what the running test records (see `results.recording`), None where no test runs.
`baseline` tells whether what a baseline keeps is recorded: fingerprints, and outcomes by sample;
`datasets` are those whose samples were recorded in this run.
`pipeline_factory` gives the running pytest session's pipeline, made at its first use. `file_of`
gives what a report needs to find a variant's file, once for each; None where no report does.
`root` is the folder that paths in reports are told from; empty for the one that is current.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

events: list[dict[str, Any]] | None = None
baseline = False
datasets: set[str] = set()
pipeline_factory: Callable[[], Any] | None = None
file_of: Callable[[Any], dict[str, Any] | None] | None = None
root = ""


class Undefined:
    """The value of an input fixture that the project does not define: any use says so."""

    def __init__(self, message: str) -> None:
        self.message = message

    def complain(self) -> NoReturn:
        """Raise `SettingsError` with the fixture's name and what it should return."""
        __tracebackhide__ = True
        from pytest_edgequant.errors import SettingsError

        raise SettingsError(self.message)

    def __iter__(self) -> Iterator[Any]:
        __tracebackhide__ = True
        self.complain()

    def __getitem__(self, _: Any) -> Any:
        __tracebackhide__ = True
        self.complain()

    def __len__(self) -> int:
        __tracebackhide__ = True
        self.complain()

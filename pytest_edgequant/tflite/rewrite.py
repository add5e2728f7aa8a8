"""What every rewrite of a .tflite has in common: how it is called, and what it gives.

A rewrite is a class in a file of its own. Its docstring lists by number the cases that it knows;
its fields are all that it may be told. `apply` takes a file's bytes and gives a `Rewritten`;
`edit` does the work on the unpacked model, so that one rewrite can begin with another.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from pytest_edgequant.tflite.edit import pack, unpack


class NotRewritableError(Exception):
    """There is something to change, and it can't be changed; the message says what and why."""


@dataclass(frozen=True)
class Rewritten:
    """What a rewrite made of a file."""

    content: bytes
    """The file: the very bytes that were given where nothing was changed."""
    changed: bool
    reason: str = ""
    """Why nothing was changed; empty where something was."""
    refused: bool = False
    """Whether there was something to change that could not be changed."""


class Rewrite(ABC):
    """One kind of change of a model; frozen dataclasses with a field for each thing to be told."""

    needless: ClassVar[str]
    """What is to be said of a model that has nothing to change."""
    only_smaller: ClassVar[bool] = False
    """Whether there is nothing to change where the file would not get smaller."""

    def apply(self, content: bytes) -> Rewritten:
        """The file with the change made, or as it is with the reason."""
        model = unpack(content)
        try:
            changed = self.edit(model)
        except NotRewritableError as error:
            return Rewritten(content, False, str(error), refused=True)
        packed = pack(model) if changed else content
        if not changed or (self.only_smaller and len(packed) >= len(content)):
            return Rewritten(content, False, self.needless)
        return Rewritten(packed, True)

    @abstractmethod
    def edit(self, model: Any) -> bool:
        """Change an unpacked model in place; whether there was anything to change.

        Raises `NotRewritableError`, and leaves a model behind that is of no use then.
        """

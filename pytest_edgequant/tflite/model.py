"""A .tflite file that is handed on: its bytes, what they are called, and what was read of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pytest_edgequant.tflite.complete import check_complete
from pytest_edgequant.tflite.form import detect_form
from pytest_edgequant.tflite.graph import Graph, read_graph

if TYPE_CHECKING:
    from pytest_edgequant.records import Variant


@dataclass(frozen=True)
class TFLiteModel:
    """The bytes of a .tflite file; `where` names it in messages.

    What is read of it is read when it is first asked for, and once. Only bytes and name go with it
    into another process.
    """

    content: bytes = field(repr=False)
    where: str = "model"

    @cached_property
    def graph(self) -> Graph:
        """Its records; raises `ModelError` for what is not a complete .tflite file."""
        return read_graph(self.content, self.where)

    @cached_property
    def computing(self) -> Graph:
        """Its records; raises `ModelError` also for a file that computes nothing."""
        check_complete(self.graph, self.where)
        return self.graph

    @cached_property
    def form(self) -> str:
        """The variant's name that it amounts to; "mixed" where there is none."""
        return detect_form(self.computing)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of its bytes."""
        return hashlib.sha256(self.content).hexdigest()

    def at(self, place: str) -> TFLiteModel:
        """The same file, where messages are to name a place in it as well."""
        return TFLiteModel(self.content, f"{self.where}: {place}")

    def __getstate__(self) -> dict[str, Any]:
        return {"content": self.content, "where": self.where}


def model_of(variant: Variant) -> TFLiteModel:
    """A variant's file, under the name that messages give the variant."""
    return TFLiteModel(variant.content, variant.label)


def graph_of(variant: Variant) -> Graph:
    """What a variant's file holds; the same graph each time."""
    return read_graph(variant.content, variant.label)

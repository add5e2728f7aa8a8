"""What a .tflite file has room for: whoever refers to the same bytes over and over pays each time.

A flatbuffer may point to one string, vector or table from a million places, and a reader that
copies what it is pointed to makes gigabytes of a megabyte. So each record and each element that is
read costs, and what a file may spend is a multiple of its own size: work and memory grow with the
bytes, whatever the file says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pytest_edgequant.tflite import schema

RECORD = 64
"""What a table costs, beside its text and vectors: about what its smallest Python object takes."""

_TIMES = 8
"""How often a file may use each of its bytes. Real models need two."""


class BeyondLimit(ValueError):
    """A file that may be whole, and is not read: what it makes of its bytes has no end."""


class Room:
    """What is left of what a file may spend."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.left = _TIMES * size + 16 * RECORD

    def length(self, count: int, what: str) -> int:
        """The count; raises `ValueError` where no vector in this file can be that long."""
        # The smallest element of any vector takes a byte.
        if count > self.size:
            raise ValueError(f"{what}: {count} elements in a file of {self.size} bytes")
        return count

    def spend(self, count: int, what: str, each: int = 1) -> int:
        """Pay for `count` elements of `each`; raises `BeyondLimit` where there is no room."""
        self.left -= self.length(count, what) * each + 1
        if self.left < 0:
            raise BeyondLimit(
                f"{what}: it refers to the same bytes over and over: more elements than a file of "
                f"{self.size:,} bytes has room for"
            )
        return count

    def text(self, raw: bytes | None, what: str) -> str:
        """A string that is read."""
        self.spend(len(raw or b""), what)
        return (raw or b"").decode("utf-8", "replace")

    def record(self, what: str, *lengths: int) -> None:
        """A table, with vectors of these lengths."""
        self.spend(1, what, RECORD)
        for length in lengths:
            if length:
                self.spend(length, what)

    def unpacked(self, value: Any, what: str) -> None:
        """The fields of a table, and all that hangs on them."""
        if isinstance(value, dict):
            self.spend(1, what, RECORD)
            for item in value.values():
                self.unpacked(item, what)
        elif isinstance(value, list):
            for item in value:
                self.unpacked(item, what)
        elif hasattr(value, "__len__"):  # text and arrays
            self.spend(len(value), what)
        elif hasattr(value, "__dict__"):
            self.spend(1, what, RECORD)
            for item in vars(value).values():
                self.unpacked(item, what)


def pay_for_the_rest(room: Room, model: Any) -> None:
    """What no record is made of, but whoever unpacks and packs the whole file copies."""
    room.text(model.Description(), "description")
    room.spend(model.MetadataBufferLength(), "metadata")
    for i in range(room.length(model.BuffersLength(), "buffers")):
        room.spend(1, "buffers", RECORD)
        room.spend(model.Buffers(i).DataLength(), "buffers")
    for signature in _tables(room, model, "SignatureDef"):
        room.spend(1, "signature", RECORD)
        room.text(signature.SignatureKey(), "signature")
        for kind in ("Input", "Output"):
            # One after the other: unpacked, it would have all the names already.
            for entry in _tables(room, signature, kind):
                room.spend(1, "signature", RECORD)
                room.text(entry.Name(), "signature")
    for kind in ("ExternalBufferGroup", "ExternalBuffer"):
        for table in _tables(room, model, kind):
            room.unpacked(schema.fields(table, kind), kind)


def _tables(room: Room, owner: Any, kind: str) -> Iterable[Any]:
    """A table's tables of a kind; older releases of the schema have fewer kinds."""
    if not hasattr(owner, f"{kind}s"):
        return
    for i in range(room.length(getattr(owner, f"{kind}sLength")(), kind)):
        yield getattr(owner, f"{kind}s")(i)


def _pay_for_union(room: Room, table: Any, kind: str, what: str) -> None:
    if table is not None:
        room.unpacked(schema.options_of(table, kind), what)


def pay_for_tensor(room: Room, tensor: Any) -> None:
    """What of a tensor no record has: ranges, sparsity, the kinds in a variant."""
    parameters = tensor.Quantization()
    if parameters is not None:
        room.spend(parameters.MinLength() + parameters.MaxLength(), "quantization")
        if parameters.DetailsType():
            kind = schema.names(schema.QuantizationDetails).get(parameters.DetailsType(), "NONE")
            _pay_for_union(room, parameters.Details(), kind, "quantization")
    for kind in _tables(room, tensor, "VariantTensor"):
        room.unpacked(schema.fields(kind, "VariantSubType"), "variant tensors")
    sparsity = tensor.Sparsity()
    if sparsity is not None:
        room.unpacked(schema.fields(sparsity, "SparsityParameters"), "sparsity")


def pay_for_operator(room: Room, operator: Any) -> None:
    """What of an operator no record has."""
    room.spend(operator.IntermediatesLength(), "intermediates")
    room.spend(operator.MutatingVariableInputsLength(), "mutating inputs")
    if operator.BuiltinOptions2Type():
        kind = schema.names(schema.BuiltinOptions2).get(operator.BuiltinOptions2Type(), "NONE")
        _pay_for_union(room, operator.BuiltinOptions2(), kind, "options")

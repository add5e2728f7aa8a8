"""The classes that read a .tflite's flatbuffer: those in ai-edge-litert, else PyPI's `tflite`.

Both are generated from TensorFlow's schema. They are pure Python, and neither loads an interpreter.
Only the first have the objects (`ModelT`, ...) with which a file is changed.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from pytest_edgequant.errors import MissingExtraError

_DERIVED = ("AsNumpy", "IsNone", "Length", "BufferHasIdentifier")


@cache
def _classes() -> Any:
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError:
        pass
    else:
        return schema_py_generated
    try:
        import tflite
    except ImportError:
        raise MissingExtraError(
            "reading a .tflite needs its schema, which neither ai-edge-litert nor tflite gives "
            "here. Install one: pip install ai-edge-litert, or pip install tflite"
        ) from None
    return tflite


def __getattr__(name: str) -> Any:
    if not name[0].isupper():
        raise AttributeError(name)
    found = getattr(_classes(), name, None)
    if found is None:
        raise MissingExtraError(
            f"changing a .tflite needs the schema's class {name}, which ai-edge-litert has. "
            "Install it: pip install ai-edge-litert"
        )
    globals()[name] = found
    return found


def names(enumeration: type) -> dict[int, str]:
    """The names of one of the schema's enumerations by their numbers."""
    members = vars(enumeration).items()
    return {v: k for k, v in members if isinstance(v, int) and not k.startswith("_")}


def fields(table: Any, name: str) -> dict[str, Any]:
    """The values of a table of the schema's class `name`, by the schema's names (`strideW`)."""
    objects = getattr(_classes(), f"{name}T", None)
    if objects is not None:
        return dict(vars(objects.InitFromObj(table)))
    return {_first_lower(field): _value(table, field) for field in _fields(table)}


def options_of(table: Any, name: str) -> dict[str, Any]:
    """The values of an operator's options; empty for a kind that this schema does not know."""
    kind = getattr(_classes(), name, None)
    if kind is None:
        return {}
    reader = kind()
    reader.Init(table.Bytes, table.Pos)
    return fields(reader, name)


def _fields(table: Any) -> tuple[str, ...]:
    """The names of a table's fields, which are methods beside those that are derived from them."""
    cls = type(table)
    names = [n for n in vars(cls) if n[0].isupper() and n != "Init" and not n.startswith("GetRoot")]
    derived = {f"{name}{end}" for name in (*names, cls.__name__) for end in _DERIVED}
    return tuple(name for name in names if name not in derived)


def _first_lower(name: str) -> str:
    return name[0].lower() + name[1:]


def _value(table: Any, field: str) -> Any:
    """One field: a number, an array, text as bytes, a table as a dict of its own."""
    length = getattr(table, f"{field}Length", None)
    if length is None:
        return _plain(getattr(table, field)())
    if getattr(table, f"{field}IsNone")():
        return None
    array = getattr(table, f"{field}AsNumpy", None)
    if array is not None:
        return array()
    return [_plain(getattr(table, field)(i)) for i in range(length())]


def _plain(value: Any) -> Any:
    if not hasattr(value, "_tab"):
        return value
    return {_first_lower(field): _value(value, field) for field in _fields(value)}

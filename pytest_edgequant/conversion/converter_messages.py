"""What TensorFlow's converter says when it refuses a model, as one readable line."""

from __future__ import annotations

import re

_MOST = 900
_LISTS = re.compile(r"^(TF Select|Custom) ops: (.+)$", re.MULTILINE)
_LOCATED = re.compile(r"fused\[\"(\w+):\", \"([^\"@]+)@?[^\"]*\"\].*?'tf\.(\w+)' op is neither")
_ERRORS = re.compile(r"error: (.+)")
_NOT_YET = re.compile(r"^.*not yet supported for op.*$", re.MULTILINE)
_NOISE = re.compile(r"failed while converting: '|is neither a custom op nor a flex op")
_BEHIND_LOCATION = re.compile(r"^loc\((.*)\): (\S.*)$")
_SCOPE = re.compile(r"fused\[\"\w+:\", \"([^\"@]+)@")


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",") if name.strip()]


def _places(text: str) -> dict[str, list[str]]:
    """Where the model has each operator: the path of scopes, which ends in the layer's name."""
    found: dict[str, list[str]] = {}
    for _, path, name in _LOCATED.findall(text):
        scope = path.rpartition("/")[0] or path
        if scope not in found.setdefault(name, []):
            found[name].append(scope)
    return found


def _unknown_operators(text: str) -> list[str]:
    """The operators that TFLite does not have, each with its layers."""
    places, told = _places(text), []
    for kind, listed in _LISTS.findall(text):
        for name in _names(listed):
            scopes = places.get(name, [])
            layers = ", ".join(map(repr, scopes[:3])) + (", ..." if len(scopes) > 3 else "")
            what = "operator of TensorFlow" if kind == "TF Select" else "custom operator"
            told.append(f"the {what} {name}" + (f" (in {layers})" if layers else ""))
    return list(dict.fromkeys(told))


def _located(part: str) -> str:
    """A reason with its layer instead of its stack of locations."""
    found = _BEHIND_LOCATION.match(part)
    if found is None:
        return "" if part.startswith("loc(") else part
    scope = _SCOPE.search(found[1])
    where = scope[1].rpartition("/")[0] if scope else ""
    return f"{found[2]} (in {where!r})" if where else found[2]


def converter_reason(error: BaseException) -> str:
    """The converter's reason without its stack of locations; it names operators and layers."""
    text = str(error)
    unknown = _unknown_operators(text)
    told = [part.split(": called from")[0].strip() for part in _ERRORS.findall(text)]
    told = [part for part in dict.fromkeys(map(_located, told)) if part and not _NOISE.search(part)]
    not_yet = list(dict.fromkeys(line.strip() for line in _NOT_YET.findall(text)))
    if unknown:
        reason = (
            f"TFLite has no operator for {', '.join(unknown)}. Compute it outside of the model, or "
            "replace it by operations that TFLite has"
        )
    else:
        reason = "; ".join(told[:3] or not_yet) or " ".join(text.split()) or type(error).__name__
    return reason if len(reason) <= _MOST else f"{reason[:_MOST]} ..."

"""Names of forms in `-k`: `int8` selects what uses that form, and neither `qat_int8` nor others.

pytest matches a word wherever it stands in a name. So a word that is a form's whole name is
replaced by one that only the tests which use the form have, beside the usual meaning for tests that
use none; all other words of the expression mean what they always do.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from pytest_edgequant.forms import VARIANTS
from pytest_edgequant.names import fold

_WORD = re.compile(r"[\w:+\-.\[\]\\/]+")
_ANY = "::"
# Made of what nobody's words are: these are matched anywhere in a name as well.
_WORDS = {
    name: f":{position + 1:b}:".replace("0", "-").replace("1", "+")
    for position, name in enumerate(VARIANTS)
}


@contextlib.contextmanager
def forms_by_name(config: pytest.Config, items: Sequence[pytest.Item]) -> Iterator[None]:
    """Inside, `-k` knows which forms the items use."""
    given = getattr(config.option, "keyword", "") or ""
    meant = _WORD.sub(_exactly, given)
    if meant == given:
        yield
        return
    marks: Any = config.pluginmanager.get_plugin("mark")
    if marks is not None:  # what is wrong with the expression is told of what the user wrote
        marks.pytest_collection_modifyitems(items=[], config=config)
    added = {item: _words(item) - item.extra_keyword_matches for item in items}
    try:
        for item, words in added.items():
            item.extra_keyword_matches |= words
        config.option.keyword = meant
        yield
    finally:
        config.option.keyword = given
        for item, words in added.items():
            item.extra_keyword_matches -= words


def _exactly(word: re.Match[str]) -> str:
    own = _WORDS.get(word[0].lower())
    return word[0] if own is None else f"({own} or ({word[0]} and not {_ANY}))"


def _words(item: pytest.Item) -> set[str]:
    words = {_WORDS[form] for form in forms_of(item)}
    return {_ANY, *words} if words else words


def forms_of(item: pytest.Item) -> set[str]:
    """The forms that a test uses: its edge_variant, the fixtures named after one, a gate's own."""
    fixtures = set(getattr(item, "fixturenames", ()))
    used = {name for name in VARIANTS if f"edge_{name}" in fixtures}
    given = getattr(getattr(item, "callspec", None), "params", {}).get("edge_variant")
    gate = getattr(item, "gate", None)  # of the configuration
    name = fold(str(getattr(given, "name", getattr(gate, "variant", given))))
    return used | {form for form in VARIANTS if fold(form) == name}

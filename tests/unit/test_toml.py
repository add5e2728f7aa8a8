from __future__ import annotations

import pytest

from pytest_edgequant.errors import SettingsError
from pytest_edgequant.toml import load_toml


def test_a_document_is_parsed() -> None:
    assert load_toml('[a]\nb = "µ"\n'.encode(), "x.toml") == {"a": {"b": "µ"}}


@pytest.mark.parametrize("content", [b"[a\n", b"a = 1\na = 2\n", b'a = "\xff"'])
def test_what_is_no_toml_names_the_place(content: bytes) -> None:
    with pytest.raises(SettingsError, match=r"^boards/x\.toml: not valid TOML: "):
        load_toml(content, "boards/x.toml")


def test_the_line_is_told() -> None:
    with pytest.raises(SettingsError, match="line 2"):
        load_toml(b"a = 1\nb = \n", "x.toml")

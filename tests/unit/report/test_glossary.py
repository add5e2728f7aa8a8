"""The words of reports mean the same wherever they are explained."""

from __future__ import annotations

from pathlib import Path

from pytest_edgequant.report.glossary import TERMS, terms_in

DOCS = Path(__file__).parents[3] / "docs" / "glossary.md"


def test_the_documentation_has_every_word_as_the_command_explains_it() -> None:
    parts = DOCS.read_text("utf-8").split("\n## ")[1:]
    found = {part.partition("\n")[0]: " ".join(part.partition("\n")[2].split()) for part in parts}
    assert found == {term: f"{text[0].upper()}{text[1:]}." for term, text in TERMS.items()}


def test_words_are_found_whole_and_in_the_order_of_the_glossary() -> None:
    assert terms_in(["paired bootstrap (BCa)", "arena [b]", "Tangos backdrop"]) == ["arena", "BCa"]

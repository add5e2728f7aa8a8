"""`edgequant glossary`: what the words of reports mean."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_edgequant.cli.screen import say, say_json
from pytest_edgequant.names import fold, unknown

if TYPE_CHECKING:
    from pytest_edgequant.cli.files import Commands

EXAMPLES = """
examples:
  edgequant glossary
  edgequant glossary SQNR arena
  edgequant glossary --json
"""


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = commands.add_parser(
        "glossary",
        help="what the words of reports mean",
    )
    parser.add_argument("words", nargs="*", metavar="WORD", help="by default all of them")
    parser.add_argument("--json", action="store_true", help="print JSON instead")
    return parser


def run(given: argparse.Namespace) -> int:
    """Explain the words; gives the exit status."""
    return explain(given.words, as_json=given.json)


def explain(words: Sequence[str], *, as_json: bool = False) -> int:
    """Print what words of reports mean, all of them where none is named."""
    from pytest_edgequant.report.glossary import TERMS

    by_fold = {fold(term): term for term in TERMS}
    wrong = next((word for word in words if fold(word) not in by_fold), None)
    if wrong is not None:
        raise unknown("word", wrong, list(TERMS))
    chosen = {term: TERMS[term] for term in [by_fold[fold(word)] for word in words] or TERMS}
    if as_json:
        say_json(chosen)
        return 0
    for term, meaning in chosen.items():
        say(f"{term}: {meaning}.")
    return 0

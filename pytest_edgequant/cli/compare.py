"""`edgequant compare`: two .tflite files layer by layer, or two baselines by a project's rules."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_edgequant.cli.project import add_project, project_settings, working
from pytest_edgequant.cli.screen import say, say_json
from pytest_edgequant.errors import DocumentError

if TYPE_CHECKING:
    from pytest_edgequant.cli.files import Commands


EXAMPLES = """
examples:
  edgequant compare old.tflite new.tflite --target nano33ble
  edgequant compare old.tflite new.tflite --target nano33ble --markdown >> comment.md
  edgequant compare main.json branch.json
  edgequant compare main.json branch.json --strict --json

exit status: 0, of baselines 1 on a regression, 2 misuse
"""


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = commands.add_parser(
        "compare",
        help="two .tflite files layer by layer, or two baselines; 1 on a regression",
    )
    parser.add_argument("before", type=Path, help="a .tflite file, or a baseline")
    parser.add_argument("after", type=Path, help="another of the same kind")
    parser.add_argument("--strict", action="store_true", help="fail on what is inconclusive")
    files = parser.add_argument_group("of .tflite files")
    files.add_argument("--target", metavar="NAME", help="the board that arena and time are on")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--markdown", action="store_true", help="of .tflite files: print Markdown")
    shown.add_argument("--json", action="store_true", help="print JSON instead")
    add_project(parser)
    return parser


def run(given: argparse.Namespace) -> int:
    """Compare the files; gives the exit status."""
    kinds = [_is_model(path) for path in (given.before, given.after)]
    if kinds[0] != kinds[1]:
        raise DocumentError(
            f"{given.before} and {given.after} can't be compared: one is a .tflite file, the other "
            "is none"
        )
    if kinds[0]:
        return _compare_models(given)
    if given.target or given.markdown:
        raise DocumentError("--target and --markdown are for .tflite files")
    return compare(
        given.before, given.after, given.project, strict=given.strict, as_json=given.json
    )


def _is_model(path: Path) -> bool:
    """Whether a path is that of a .tflite; what is missing says so where it is read."""
    if path.suffix.lower() in (".tflite", ".lite"):
        return True
    try:
        with open(path, "rb") as stream:
            return stream.read(8)[4:] == b"TFL3"
    except OSError:
        return False


def _compare_models(given: argparse.Namespace) -> int:
    """What changed from one .tflite to the other: told, and judged by nothing."""
    from pytest_edgequant.api.difference import compare_models
    from pytest_edgequant.report import layers

    with working(given.project, interpreters=False, strip=False):
        found = compare_models(given.before, given.after, given.target)
    if given.json:
        say_json(layers.difference_document(found))
    elif given.markdown:
        say(layers.difference_markdown(found).rstrip("\n"))
    else:
        for line in layers.difference_lines(found):
            say(line)
    return 0


def compare(
    before: Path, after: Path, project: Path, *, strict: bool, as_json: bool = False
) -> int:
    """Compare two baselines by the rules of a project; 1 where there is a regression."""
    from pytest_edgequant.baseline import (
        compare,
        load_baseline,
        parse_accepted,
        parse_rules,
    )
    from pytest_edgequant.records import Outcome
    from pytest_edgequant.report.baseline import comparison_document, comparison_lines
    from pytest_edgequant.targets import Targets

    settings = project_settings(project)
    strict = strict or settings.strict
    old, new = load_baseline(before), load_baseline(after)
    measured = old.figures() | new.figures()
    place = settings.place("regression")
    rules = parse_rules(settings.regression, place, strict=strict, measured=measured)
    targets = Targets(settings.user_targets, settings.place("targets"))
    accepted = parse_accepted(
        settings.accepted, settings.place("accepted"), targets=targets, measured=measured
    )
    if not old.models() & new.models():
        raise DocumentError(
            f"{before.name} and {after.name} have no model in common: "
            f"{_listed(old.models())} and {_listed(new.models())}"
        )
    found = compare(old, new, rules, accepted)
    if found.unknown:
        raise found.unknown[0]
    failed = any(found.each(Outcome.FAIL)) or (strict and not found.held)
    if as_json:
        say_json(comparison_document(found, failed=failed))
        return int(failed)
    say(f"{len(found.changes)} in both, {len(found.new)} new, {len(found.absent)} gone")
    if found.versions:
        say(f"the toolchain changed: {found.versions}")
    for line, _ in comparison_lines(found):
        say(line)
    if not found.held:
        say("INCONCLUSIVE: no figure is in both")
    return int(failed)


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names)) or "none"

"""`edgequant compare`: two baselines by the rules of a project, without a run of tests."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_edgequant.errors import DocumentError

if TYPE_CHECKING:
    from pytest_edgequant.cli.files import Commands


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = commands.add_parser("compare", help="compare two baselines; 1 on a regression")
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--strict", action="store_true", help="fail on what is inconclusive")
    parser.add_argument(
        "--project",
        type=Path,
        default=Path("pyproject.toml"),
        metavar="PYPROJECT",
        help="the pyproject.toml with the rules (default: the one here)",
    )
    return parser


def run(given: argparse.Namespace) -> int:
    """Compare the baselines; gives the exit status."""
    return compare(given.before, given.after, given.project, strict=given.strict)


def compare(before: Path, after: Path, project: Path, *, strict: bool) -> int:
    """Compare two baselines by the rules of a project; 1 where there is a regression."""
    from pytest_edgequant.baseline import (
        compare,
        load_baseline,
        parse_accepted,
        parse_rules,
    )
    from pytest_edgequant.records import Outcome
    from pytest_edgequant.report.baseline import comparison_lines
    from pytest_edgequant.settings import SECTION, read_section
    from pytest_edgequant.targets import Targets

    where = f"{project.name}: {SECTION}"
    section = read_section(project)
    strict = strict or section.get("strict") is True
    old, new = load_baseline(before), load_baseline(after)
    measured = old.figures() | new.figures()
    rules = parse_rules(section.get("regression"), where, strict=strict, measured=measured)
    targets = Targets(section.get("targets"), where)
    accepted = parse_accepted(section.get("accepted"), where, targets=targets, measured=measured)
    if not old.models() & new.models():
        raise DocumentError(
            f"{before.name} and {after.name} have no model in common: "
            f"{_listed(old.models())} and {_listed(new.models())}"
        )
    found = compare(old, new, rules, accepted)
    if found.unknown:
        raise found.unknown[0]
    print(f"{len(found.changes)} in both, {len(found.new)} new, {len(found.absent)} gone")
    if found.versions:
        print(f"the toolchain changed: {found.versions}")
    for line, _ in comparison_lines(found):
        print(line)
    if not found.held:
        print("INCONCLUSIVE: no figure is in both")
    return 1 if any(found.each(Outcome.FAIL)) or (strict and not found.held) else 0


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names)) or "none"

"""The command `edgequant`: merges the reports of shards, renders them, compares baselines."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from pytest_edgequant.errors import DocumentError, EdgeQuantError
from pytest_edgequant.results.documents import kind_of, parse_document, read_file
from pytest_edgequant.version import __version__

WRONG = 2


def _read(paths: Sequence[Path]) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """The documents of the files by their kind; names are as short as they are distinct."""
    from pytest_edgequant.baseline import document as baselines
    from pytest_edgequant.report import json as reports

    newest = {reports.KIND: reports.VERSION, baselines.KIND: baselines.VERSION}
    names = [path.name for path in paths]
    found: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for path in paths:
        where = path.name if names.count(path.name) == 1 else path.as_posix()
        document = parse_document(read_file(path), where, newest)
        found.setdefault(kind_of(document), []).append((where, document))
    return found


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="replace", newline="\n")
    except OSError as error:
        raise DocumentError(f"{path}: can't be written: {error.strerror}") from None
    print(f"wrote {path}")


def _check_formats(paths: Sequence[Path]) -> None:
    from pytest_edgequant.report import RENDERERS

    for path in paths:
        if path.suffix.lower() not in RENDERERS:
            raise DocumentError(
                f"{path}: no format ends in {path.suffix!r}; known: {', '.join(RENDERERS)}"
            )


def merge(inputs: Sequence[Path], outputs: Sequence[Path]) -> int:
    """Merge reports, or baselines, of shards of one run into one."""
    from pytest_edgequant.baseline.document import (
        KIND,
        dump_baseline,
        merge_baselines,
        read_baseline,
    )
    from pytest_edgequant.report import renderer
    from pytest_edgequant.report.reading import merge_reports, read_report

    found = _read(inputs)
    if len(found) > 1:
        raise DocumentError("reports and baselines can't be merged with each other")
    ((kind, documents),) = found.items()
    if kind == KIND:
        parts = [(where, read_baseline(document, where)) for where, document in documents]
        text = dump_baseline(merge_baselines(parts))
        for path in outputs:
            _write(path, text)
        return 0
    _check_formats(outputs)
    whole = merge_reports((where, read_report(document, where)) for where, document in documents)
    for path in outputs:
        _write(path, renderer(path)(whole))
    return 0


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edgequant", description=__doc__)
    parser.add_argument("--version", action="version", version=f"edgequant {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    merging = commands.add_parser(
        "merge", help="one report of several: the shards of a run (JSON reports, or baselines)"
    )
    merging.add_argument("inputs", nargs="+", type=Path, metavar="FILE")
    rendering = commands.add_parser("report", help="render a JSON report in another format")
    rendering.add_argument("inputs", nargs=1, type=Path, metavar="FILE")
    for command in (merging, rendering):
        command.add_argument(
            *("-o", "--output"),
            dest="outputs",
            action="append",
            required=True,
            type=Path,
            metavar="PATH",
            help="where to write; repeatable, the format by its ending",
        )
    comparing = commands.add_parser("compare", help="compare two baselines; 1 on a regression")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    comparing.add_argument("--strict", action="store_true", help="fail on what is inconclusive")
    comparing.add_argument(
        "--project",
        type=Path,
        default=Path("pyproject.toml"),
        metavar="PYPROJECT",
        help="the pyproject.toml with the rules (default: the one here)",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit status: 0, 1 for a regression, 2 for what can't be done."""
    given = _parser().parse_args(arguments)
    try:
        if given.command == "compare":
            return compare(given.before, given.after, given.project, strict=given.strict)
        return merge(given.inputs, given.outputs)
    except EdgeQuantError as error:
        print(f"edgequant: {error}", file=sys.stderr)
        return WRONG


if __name__ == "__main__":
    sys.exit(main())

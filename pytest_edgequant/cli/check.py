"""`edgequant check`: whether models run and fit on boards, without writing a test."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_edgequant.cli.models import distinct_names, find_models
from pytest_edgequant.cli.project import add_project, working
from pytest_edgequant.errors import SettingsError

if TYPE_CHECKING:
    from pytest_edgequant.cli.files import Commands
    from pytest_edgequant.gate.checks import Budgets, Task
    from pytest_edgequant.pipeline.pipeline import Pipeline
    from pytest_edgequant.records import Target, Variant
    from pytest_edgequant.results.session import Session

EXAMPLES = """
examples:
  edgequant check model.tflite
  edgequant check model.tflite --target nano33ble
  edgequant check 'models/*.tflite' --target 'stm32*' --max-arena 80% --json
  edgequant check model.tflite --target esp32s3 --max-size "64 KiB" --max-latency "50 ms"
  edgequant check model.keras --variant int8 --calibration samples.npy --target nano33ble \\
      --dataset test.npz --max-drop "2 pt"

exit status: 0 all passed, 1 a limit or rule is broken or could not be decided, 2 misuse
"""
_FLAGS = {
    "size": "--max-size",
    "arena": "--max-arena",
    "latency": "--max-latency",
    "max_drop": "--max-drop",
}


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = commands.add_parser(
        "check",
        help="whether models run on boards and fit there: operators, flash, arena, latency",
        description="Whether models run on boards and fit there. Without --target: the boards on "
        "which they fit, the smallest first.",
    )
    parser.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="a .tflite, .keras or .h5 file, a SavedModel, a folder of models, or a pattern",
    )
    parser.add_argument(
        "--target",
        action="append",
        metavar="NAME",
        help="board(s): a name, a pattern such as 'stm32*', all, all-mcu; repeatable, or "
        "comma-separated",
    )
    limits = parser.add_argument_group("limits beside the board's own")
    limits.add_argument("--max-size", metavar="SIZE", help='of the file: "64 KiB", "80%%" of flash')
    limits.add_argument("--max-arena", metavar="SIZE", help='"24 KiB", "80%%" of what is left')
    limits.add_argument("--max-latency", metavar="TIME", help='of one inference: "50 ms"')
    limits.add_argument(
        "--max-drop", metavar="DROP", help='of accuracy against the float model: "2 pt"'
    )
    made = parser.add_argument_group("models that are converted first, and their accuracy")
    made.add_argument("--variant", action="append", metavar="NAME", help="int8, dynamic_range, ...")
    made.add_argument(
        "--calibration", type=Path, metavar="FILE", help="representative samples: .npy or .npz"
    )
    made.add_argument("--dataset", type=Path, metavar="FILE", help="an .npz with x and y")
    made.add_argument(
        "--baseline", metavar="MODEL", help="the float model that a .tflite was made from"
    )
    made.add_argument("--metric", metavar="NAME", help="of the task (default: top-1 accuracy)")
    parser.add_argument(
        "--strip",
        action="store_true",
        default=None,
        help="judge files without what the device never reads (as `edgequant strip` makes them)",
    )
    parser.add_argument("--json", action="store_true", help="print the JSON report instead")
    parser.add_argument(
        "--interpreters",
        action="store_true",
        help="also let the interpreters here (TFLM's, LiteRT's) try each model",
    )
    add_project(parser)
    return parser


def run(given: argparse.Namespace) -> int:
    """Check the models; gives the exit status."""
    from pytest_edgequant.gate.checks import judge_all, judge_boards
    from pytest_edgequant.results.session import Session

    budgets = _budgets(given)
    paths = find_models(given.models)
    with working(given.project, interpreters=given.interpreters, strip=given.strip) as pipeline:
        session = Session(watched=True)
        targets = _targets(given.target, pipeline)
        session.targets = {target.name: target for target in targets}
        variants = list(_variants(given, paths))
        with pipeline.progress("checking") as step:
            for done, (variant, file, task) in enumerate(variants):
                step.at(done, len(variants), "models", variant.label)
                if given.target:
                    found = [
                        judged
                        for target in targets
                        for judged in judge_all(variant, target, budgets, task, file=file)
                    ]
                else:
                    found = judge_boards(variant, targets, budgets, task, file=file)
                for judged in found:
                    judged.report(session)
        session.exit_status = int(bool(session.failures))
        _show(session, as_json=given.json)
    return session.exit_status


# -- what is asked -------------------------------------------------------------------------------


def _budgets(given: argparse.Namespace) -> Budgets:
    """The limits; raises `SettingsError` for one that can't be meant."""
    from pytest_edgequant.gate.checks import Budgets

    for flag, value in (("--max-drop", given.max_drop), ("--metric", given.metric)):
        if value is not None and given.dataset is None:
            raise SettingsError(f"{flag}: there is nothing to evaluate on; give --dataset FILE")
    drop: Any = given.max_drop
    if drop is not None:
        with contextlib.suppress(ValueError):
            drop = float(drop)
    found = Budgets(given.max_size, given.max_arena, given.max_latency, drop)
    metric = None
    if given.dataset is not None:
        from pytest_edgequant.measure.metrics import metric_named

        metric = metric_named(given.metric, "--metric")
    found.check(_FLAGS, metric)
    return found


def _targets(names: Sequence[str] | None, pipeline: Pipeline) -> list[Target]:
    """The boards that are named, each once; all of them where none is."""
    from pytest_edgequant.settings import split_names
    from pytest_edgequant.targets import DEFAULT_TARGET

    if not names:
        return [target for target in pipeline.targets if target.name != DEFAULT_TARGET]
    found = {
        target.name: target
        for name in split_names(names, "--target")
        for target in pipeline.targets.expand(name)
    }
    return list(found.values())


def _variants(
    given: argparse.Namespace, paths: Sequence[Path]
) -> Iterator[tuple[Variant, str, Task | None]]:
    """Each form of each model, with its file and what it is evaluated on."""
    from pytest_edgequant.api.convert import convert, load_variant
    from pytest_edgequant.forms import get_spec
    from pytest_edgequant.samples.files import load_inputs
    from pytest_edgequant.settings import split_names

    forms = [get_spec(n, "--variant").name for n in split_names(given.variant or [], "--variant")]
    samples = None
    if given.calibration is not None:
        samples = load_inputs(given.calibration, "--calibration")
    # All are loaded first: a damaged one must not be found after minutes.
    found: list[tuple[Variant, str, Task | None]] = []
    for path, name in zip(paths, distinct_names(paths), strict=True):
        made = path.suffix.lower() in (".tflite", ".lite")
        if not forms and not made:
            raise SettingsError(
                f"{path}: it has to be converted first: give --variant, such as --variant int8 "
                "--calibration samples.npy, or --variant float32"
            )
        if forms:
            variants = [convert(path, form, calibration=samples, name=name) for form in forms]
        else:
            variants = [dataclasses.replace(load_variant(path, "MODEL"), model_name=name)]
        task = _task(given, path, name, made=made)
        found += [(variant, path.as_posix(), task) for variant in variants]
    yield from found


def _task(given: argparse.Namespace, path: Path, name: str, *, made: bool) -> Task | None:
    """What a model's forms are evaluated on, and the float model that they are compared with."""
    if given.dataset is None:
        return None
    from pytest_edgequant.api.convert import convert, load_variant
    from pytest_edgequant.gate.checks import Task
    from pytest_edgequant.samples.files import load_pair

    baseline: Variant | None = None
    if given.baseline is not None:
        source = Path(given.baseline)
        as_is = source.suffix.lower() in (".tflite", ".lite")
        baseline = load_variant(source, "--baseline") if as_is else convert(source, "float32")
    elif given.max_drop is not None and made:
        raise SettingsError(
            f"{path}: a drop is against the float model, which a .tflite does not hold: give it "
            "with --baseline MODEL (.tflite or .keras)"
        )
    elif given.max_drop is not None:
        baseline = convert(path, "float32", name=name)
    return Task(load_pair(given.dataset, "--dataset"), baseline, given.metric)


def _show(session: Session, *, as_json: bool) -> None:
    if as_json:
        from pytest_edgequant.report.json import render

        print(render(session), end="")
        return
    from pytest_edgequant.cli.screen import show
    from pytest_edgequant.report.check import CheckText

    show(CheckText(session, session.targets).lines())

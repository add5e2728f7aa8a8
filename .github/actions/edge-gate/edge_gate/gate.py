"""The judged run: pytest with baseline and reports, and what is known of it afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

from edge_gate import baseline, markdown, pytest_run
from edge_gate.plan import Plan
from edge_gate.record import Record, read_verdict, verdict_of
from edge_gate.runner import add_summary, set_outputs, summary_size, warning


def run(plan: Plan) -> int:
    """Run the gate, leave its reports and its record, and set the step's outputs.

    There is no token here: what the tests run with, their own process can read of this one.
    Gives 0 whatever the verdict: the steps that comment and upload come first, and `conclude`
    fails the job with pytest's own exit code.
    """
    installed = pytest_run.probe()
    compared = "baseline" in installed.options
    found = baseline.resolve(plan, supported=compared)
    folder = Path(plan.report_folder)
    reports = [folder / f"report{ending}" for ending in installed.formats]
    wanted = [Path(path) for path in plan.report_paths]
    options = [f"--edge-report={path}" for path in reports]
    if compared and found.path:
        options.append(f"--edge-baseline={found.path}")
        if found.by_convention and "baseline_optional" in installed.options:
            options.append("--edge-baseline-optional")
    if "save_baseline" in installed.options:
        options.append(f"--edge-save-baseline={folder / 'baseline.json'}")
    if "baseline_prune" in installed.options:
        options.append("--edge-baseline-prune")  # the file is this run's alone
    before, models = summary_size(), _models(plan)
    code = pytest_run.run(plan, options, Path(plan.project))
    _drop_links(folder)
    _copy(reports, wanted)

    event = plan.read_event()
    report = folder / "report.json"
    summary, clean = read_verdict(report.read_bytes() if report.is_file() else None)
    record = Record(
        name=plan.name,
        target=plan.target,
        exit_code=code,
        baseline=found.source,
        number=event.number,
        head=event.head or plan.head,
        tool=installed.version,
        summary=summary,
        clean=clean,
    )
    (folder / "gate.json").write_text(json.dumps(record.document(), indent=2), encoding="utf-8")
    if summary_size() == before:
        # An older package, or a run that ended before its reports.
        add_summary(_report_or_verdict(folder, record))
    add_summary(f"\nBaseline: {markdown.text(found.source)}\n")
    kept = _keep(plan, folder / "baseline.json") if code in (0, 1) else False
    changed = models != _models(plan)
    set_outputs(
        {
            "exit-code": str(code),
            "verdict": verdict_of(code),
            "baseline": found.source,
            "save-baseline": str(kept).lower(),
            "model-key": f"{plan.model_key}{_models(plan)}" if changed else "",
        }
    )
    return 0


def _keep(plan: Plan, written: Path) -> bool:
    """Whether later runs are compared with this one; then it lies where they will look for it."""
    if not plan.read_event().on_default_branch or not written.is_file():
        return False
    Path(plan.stored_file).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(written, plan.stored_file)
    return True


def _models(plan: Plan) -> str:
    """What is in the models' cache, told by names: they are made from the contents."""
    names = sorted(p.name for p in Path(plan.model_cache).rglob("*") if p.suffix == ".json")
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def _report_or_verdict(folder: Path, record: Record) -> str:
    report = folder / "report.md"
    if report.is_file():
        return report.read_text(encoding="utf-8")
    explanation = markdown.text(record.explanation)
    return f"**Edge gate {markdown.text(record.name)}: {record.verdict}** ({explanation})"


def _drop_links(folder: Path) -> None:
    """Leave what the tests wrote, and nothing that leads to what they did not."""
    for path in folder.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            path.unlink()


def _copy(written: list[Path], wanted: list[Path]) -> None:
    """The reports at the places where later steps of the workflow want them."""
    by_ending = {path.suffix: path for path in written}
    for path in wanted:
        source = by_ending.get(path.suffix.lower())
        try:
            if source is None or not source.is_file():
                raise OSError(f"the run wrote no {path.suffix.lower()} report")
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, path)
        except OSError as error:
            warning(f"report-paths: {os.path.basename(path)}: {error}")

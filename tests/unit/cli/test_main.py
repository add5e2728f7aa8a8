from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from recorded_events import metric_event, verdict_event

from pytest_edgequant.baseline import Baseline, Entry, Samples, load_baseline, save_baseline
from pytest_edgequant.cli.main import main
from pytest_edgequant.records import Metric, Outcome
from pytest_edgequant.report.json import render
from pytest_edgequant.results.session import Session
from pytest_edgequant.toml import load_toml


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def report(path: str, variant: str, size: float = 5) -> str:
    session = Session()
    session.add(
        [metric_event(variant, "size_bytes", size), verdict_event(variant, "size", Outcome.PASS)]
    )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(render(session), encoding="utf-8")
    return path


def baseline(path: str, variant: str = "int8", size: float = 100, right: int = 100) -> str:
    outcomes = np.arange(100) < right
    entry = Entry(
        {
            "size_bytes": Metric(size, "bytes", "exact"),
            "accuracy": Metric(right / 100, "fraction", "measured"),
        },
        {"accuracy": Samples("d", 100, True, True, outcomes)},
    )
    save_baseline(Baseline({("digits", "pico", variant): entry}), Path(path))
    return path


def test_reports_are_merged(capsys: pytest.CaptureFixture[str]) -> None:
    parts = [report("a/r.json", "int8"), report("b/r.json", "float32")]
    assert main(["merge", *parts, "-o", "out/merged.json"]) == 0
    found = json.loads(Path("out/merged.json").read_text("utf-8"))
    assert [result["variant"] for result in found["results"]] == ["float32", "int8"]
    assert "wrote" in capsys.readouterr().out


def test_baselines_are_merged() -> None:
    parts = [baseline("a.json", "int8"), baseline("b.json", "float32")]
    assert main(["merge", *parts, "-o", "merged.json"]) == 0
    assert len(load_baseline(Path("merged.json")).entries) == 2


def test_a_report_is_rendered() -> None:
    assert main(["report", report("a.json", "int8"), "-o", "b.json"]) == 0
    assert Path("b.json").read_text("utf-8") == Path("a.json").read_text("utf-8")


def test_shards_that_disagree_are_an_error_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parts = [report("a/r.json", "int8", 5), report("b/r.json", "int8", 6)]
    assert main(["merge", *parts, "-o", "merged.json"]) == 2
    assert "a/r.json and b/r.json: digits/int8 on pico: size_bytes is 5" in capsys.readouterr().err
    assert not Path("merged.json").exists()


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["merge", "none.json", "-o", "x.json"], "none.json: there is no such file"),
        (["merge", "text.json", "-o", "x.json"], "text.json: damaged: not readable as JSON"),
        (["merge", "r.json", "b.json", "-o", "x.json"], "can't be merged with each other"),
        (["merge", "r.json", "-o", "x.txt"], "no format ends in '.txt'; known: .json"),
        (["report", "r.json", "-o", "folder.json"], "folder.json: can't be written"),
        (["compare", "b.json", "r.json"], "r.json: not a file of the kind edgequant-baseline"),
    ],
)
def test_what_can_not_be_done_says_why(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    report("r.json", "int8")
    baseline("b.json")
    Path("text.json").write_text("hello", encoding="utf-8")
    Path("folder.json").mkdir()
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def test_two_baselines_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    before, same = baseline("a.json"), baseline("b.json")
    larger = baseline("c.json", size=200)
    doubtful = baseline("d.json", right=97)
    assert main(["compare", before, same]) == 0
    assert main(["compare", before, larger]) == 1
    assert "FAIL: digits/int8 on pico: size_bytes 100 B -> 200 B" in capsys.readouterr().out
    assert main(["compare", before, doubtful]) == 0
    assert "INCONCLUSIVE: digits/int8 on pico: accuracy" in capsys.readouterr().out
    assert main(["compare", before, doubtful, "--strict"]) == 1


def test_programs_read_how_baselines_compare(capsys: pytest.CaptureFixture[str]) -> None:
    before, larger = baseline("a.json"), baseline("c.json", size=200)
    baseline("b.json", "float32")
    assert main(["merge", before, "b.json", "-o", "both.json", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["kind"], made["entries"], made["outputs"]) == (
        "edgequant-baseline",
        2,
        ["both.json"],
    )
    assert main(["compare", "both.json", larger, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["failed"] is True
    assert found["absent"] == [{"model": "digits", "variant": "float32", "target": "pico"}]
    (entry,) = found["compared"]
    figures = {c["metric"]: (c["before"], c["after"], c["verdict"]) for c in entry["changes"]}
    assert figures["size_bytes"] == (100, 200, "fail")
    assert figures["accuracy"][2] == "pass"


def test_programs_read_what_was_rendered(capsys: pytest.CaptureFixture[str]) -> None:
    outputs = ["x.md", "x.html"]
    assert main(["report", report("a.json", "int8"), "-o", "x.md", "-o", "x.html", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    whole = json.loads(Path("a.json").read_text("utf-8"))
    assert (made["kind"], made["verdict"], made["outputs"]) == (
        "edgequant-report",
        whole["verdict"],
        outputs,
    )


def test_the_rules_are_the_projects() -> None:
    before, larger = baseline("a.json"), baseline("c.json", size=200)
    rules = '[tool.edgequant.regression]\nsize = "1 KiB"\n'
    Path("pyproject.toml").write_text(rules, encoding="utf-8")
    assert main(["compare", before, larger]) == 0


def test_a_rule_of_no_figure_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    before, same = baseline("a.json"), baseline("b.json")
    for key, said in (("accurcy", "Did you mean accuracy"), ("maep", "unknown metric 'maep'")):
        rules = f"[tool.edgequant.regression]\n{key} = {{ max_drop = 0.01 }}\n"
        Path("pyproject.toml").write_text(rules, encoding="utf-8")
        assert main(["compare", before, same]) == 2
        assert said in capsys.readouterr().err


def test_baselines_of_other_models_or_boards_are_not_comparable(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before, other = baseline("a.json"), baseline("c.json", "int16x8")
    assert main(["compare", before, other]) == 0
    assert "INCONCLUSIVE: no figure is in both" in capsys.readouterr().out
    assert main(["compare", before, other, "--strict"]) == 1
    text = Path(other).read_text("utf-8").replace('"digits"', '"words"')
    Path(other).write_text(text, encoding="utf-8")
    assert main(["compare", before, other]) == 2
    assert "a.json and c.json have no model in common: digits and words" in capsys.readouterr().err


def test_it_is_a_console_script_that_imports_no_pytest() -> None:
    code = (
        "import sys\nfrom pytest_edgequant.cli.main import main\n"
        "assert main(['merge', 'a.json', '-o', 'b.json']) == 0\n"
        "found = {'pytest', 'tensorflow'} & set(sys.modules)\nassert not found, found"
    )
    report("a.json", "int8")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    project = load_toml(Path(__file__).parents[3].joinpath("pyproject.toml").read_bytes(), "x")
    assert project["project"]["scripts"] == {"edgequant": "pytest_edgequant.cli.main:main"}


def test_no_command_is_a_usage_error() -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2


def test_a_script_that_was_installed_for_the_package_still_works() -> None:
    code = (
        "import sys\nfrom importlib.metadata import EntryPoint\n"
        "old, new = (EntryPoint('edgequant', f'pytest_edgequant.cli{part}:main', 'any').load()\n"
        "            for part in ('', '.main'))\n"
        "assert old is new\nsys.exit(old(['report', 'a.json', '-o', 'b.md']))"
    )
    report("a.json", "int8")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert "int8" in Path("b.md").read_text("utf-8")


def test_it_runs_as_a_module() -> None:
    report("a.json", "int8")
    command = [sys.executable, "-m", "pytest_edgequant.cli", "merge", "a.json"]
    assert subprocess.run([*command, "-o", "b.html"], timeout=60).returncode == 0
    assert subprocess.run([*command, "-o", "b.doc"], timeout=60).returncode == 2
    assert Path("b.html").is_file()
    assert not Path("b.doc").exists()


def test_help_loads_what_no_command_needs_alone() -> None:
    code = (
        "import sys\nfrom pytest_edgequant.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as error:\n    assert error.code == 0\n"
        "rooms = ('baseline', 'report', 'results', 'records', 'targets')\n"
        "heavy = {'numpy', *(f'pytest_edgequant.{room}' for room in rooms)} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True
    )
    for command in ("merge", "report", "compare"):
        assert command in done.stdout


def test_the_words_of_reports_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["glossary", "sqnr", "tango"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["SQNR", "Tango"]
    assert main(["glossary"]) == 0
    assert capsys.readouterr().out.startswith("arena: ")
    assert main(["glossary", "tangoo"]) == 2
    assert "unknown word 'tangoo'. Did you mean Tango" in capsys.readouterr().err


def test_the_rules_may_stand_in_edgequant_toml() -> None:
    """Targets that are named there are no tables of boards."""
    before, larger = baseline("a.json"), baseline("c.json", size=200)
    assert main(["compare", before, larger]) == 1
    text = 'targets = ["pico"]\n[regression]\nsize = "1 KiB"\n'
    Path("edgequant.toml").write_text(text, "utf-8")
    assert main(["compare", before, larger]) == 0
    Path("edgequant.toml").unlink()
    Path("pyproject.toml").write_text('[tool.edgequant]\ntargets = ["pico"]\n', "utf-8")
    assert main(["compare", before, larger]) == 1

"""`edgequant check` gives the verdict of the assertions, for people and for programs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from pytest_edgequant import assert_deployable, context
from pytest_edgequant.cli.main import main
from pytest_edgequant.errors import EdgeAssertionError
from pytest_edgequant.tflite.edit import pack, unpack

DATA = Path(__file__).parents[2] / "data"
INT8 = DATA / "tiny_int8.tflite"
HYBRID = DATA / "tiny_dynamic_range.tflite"
ROOT = Path(__file__).parents[3]
Check = Callable[..., tuple[int, str, str]]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Check:
    """Run the command in an empty folder; gives its status, what it printed, and its errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        status = main(["check", *map(str, arguments)])
        return status, *capsys.readouterr()

    return run


def _document(check: Check, *arguments: object) -> tuple[int, Any]:
    status, out, err = check(*arguments, "--json")
    assert err == ""
    document = json.loads(out)
    schema = json.loads(
        resources.files("pytest_edgequant.report").joinpath("schema.json").read_text()
    )
    jsonschema.validate(document, schema)
    assert document["exit_status"] == status
    return status, document


def _cells(document: Any) -> dict[tuple[str, str, str | None], Any]:
    return {(r["model"], r["variant"], r["target"]): r for r in document["results"]}


@pytest.mark.parametrize("target", ["nano33ble", "uno-r4", "rpi4", "coral-usb", "esp32s3"])
@pytest.mark.parametrize("file", [INT8, HYBRID, DATA / "tiny_float32.tflite"])
def test_the_verdict_is_that_of_the_assertion(
    check: Check, file: Path, target: str, fresh_pipeline: Any
) -> None:
    try:
        assert_deployable(file, target)
        expected, said = 0, ""
    except EdgeAssertionError as error:
        expected, said = 1, str(error)
    status, document = _document(check, file, "--target", target)
    assert status == expected
    messages = [failure["message"] for failure in document["failures"]]
    assert messages == ([said] if said else [])


def test_a_row_a_board_with_what_is_used_of_its_limits(check: Check) -> None:
    status, out, _ = check(INT8, "--target", "teensy40,nano33ble")
    rows = [line.split()[:2] for line in out.splitlines()[3:5]]
    assert status == 0
    assert rows == [["nano33ble", "pass"], ["teensy40", "pass"]], "the smaller board first"
    size = INT8.stat().st_size
    assert f"{size:,} B" in out.splitlines()[0]
    assert "% of" in out.splitlines()[3]
    assert "TFLM's interpreter has not tried the model" in out
    assert "\x1b" not in out


def test_limits_beside_the_boards_own(check: Check) -> None:
    size = INT8.stat().st_size
    assert check(INT8, "--target", "nano33ble", "--max-size", size)[0] == 0
    status, document = _document(check, INT8, "--target", "nano33ble", "--max-size", size - 1)
    (result,) = document["results"]
    broken = [
        (v["check"], v["limit"], v["value"]) for v in result["verdicts"] if v["verdict"] == "fail"
    ]
    assert (status, broken) == (1, [("size", size - 1, size)])
    (arena,) = [m["value"] for n, m in result["metrics"].items() if n == "arena_bytes"]
    assert check(INT8, "--target", "nano33ble", "--max-arena", arena)[0] == 0
    status, out, _ = check(INT8, "--target", "nano33ble", "--max-arena", arena - 1)
    assert status == 1
    assert f"arena {arena:,} B is over the limit of {arena - 1:,} B by 1 B" in out
    assert "smallest target that has room" not in out, "the board has room"


def test_shares_are_of_what_the_board_leaves(check: Check) -> None:
    Path("pyproject.toml").write_text(
        '[tool.edgequant.targets.small]\nbase = "nano33ble"\nsram_for_arena = "10 KiB"\n'
    )
    limits = {}
    for share in ("100%", "50%", "1%"):
        _, document = _document(check, INT8, "--target", "small", "--max-arena", share)
        verdicts = [v for r in document["results"] for v in r["verdicts"] if v["check"] == "arena"]
        limits[share] = min(v["limit"] for v in verdicts)
    assert limits == {"100%": 10240, "50%": 5120, "1%": 102}


def test_a_share_of_no_flash_limits_nothing(check: Check) -> None:
    status, document = _document(check, INT8, "--target", "rpi4,nano33ble", "--max-size", "0.1%")
    found = {
        (cell["target"], verdict["check"]): verdict["verdict"]
        for cell in document["results"]
        for verdict in cell["verdicts"]
        if verdict["check"] == "size" and verdict["verdict"] != "pass"
    }
    assert status == 1
    assert found == {("rpi4", "size"): "not_applicable", ("nano33ble", "size"): "fail"}
    status, out, _ = check(INT8, "--max-size", "80%")
    assert status == 0
    assert "size: 80% of the flash that is left limits nothing on boards without" in out


def test_a_latency_that_is_not_known_fails_only_where_it_has_a_limit(check: Check) -> None:
    assert check(INT8, "--target", "esp32s3")[0] == 0
    status, document = _document(check, INT8, "--target", "esp32s3", "--max-latency", "1 s")
    (result,) = document["results"]
    assert status == 1
    assert [v["verdict"] for v in result["verdicts"] if v["check"] == "latency"] == ["unavailable"]
    assert check(INT8, "--target", "nano33ble", "--max-latency", "10 s")[0] == 0
    assert check(INT8, "--target", "nano33ble", "--max-latency", "1 us")[0] == 1
    (estimate,) = _document(check, INT8, "--target", "nano33ble")[1]["results"]
    between = estimate["metrics"]["latency_ms"]["value"]
    status, out, _ = check(INT8, "--target", "nano33ble", "--max-latency", f"{between:.4f} ms")
    assert status == 1
    assert "INCONCLUSIVE: latency" in out


def test_refused_operators_with_layer_types_rule_and_what_to_use(check: Check) -> None:
    status, out, _ = check(HYBRID, "--target", "nano33ble")
    assert status == 1
    assert "CANNOT RUN" in out
    (line,) = [line for line in out.splitlines() if "FULLY_CONNECTED (operator" in line][:1]
    assert "layer '" in line
    assert "FLOAT32, INT8 -> FLOAT32" in line
    assert "Use int8 [hybrid]" in line
    _, document = _document(check, HYBRID, "--target", "nano33ble")
    rows = document["results"][0]["details"]["refused"]
    assert {"rule", "severity", "where"} == set(rows[0])


def test_an_operator_that_no_kernel_computes_is_named(check: Check, tmp_path: Path) -> None:
    model = unpack(INT8.read_bytes())
    code = next(c for c in model.operatorCodes if c.builtinCode == 3)
    code.builtinCode = code.deprecatedBuiltinCode = 92  # UNPACK is 88; SQUARE is 92, float alone
    (tmp_path / "odd.tflite").write_bytes(pack(model))
    status, out, _ = check("odd.tflite", "--target", "nano33ble,rpi4")
    assert status == 1
    assert "SQUARE (operator 0, layer" in out
    assert [line.split()[1] for line in out.splitlines() if line.startswith("nano33ble ")] == [
        "CANNOT"
    ]


# -- without --target ------------------------------------------------------------------------------


def test_without_a_target_the_boards_on_which_it_fits_smallest_first(check: Check) -> None:
    Path("pyproject.toml").write_text(
        '[tool.edgequant.targets.zz-tiny]\nbase = "nano33ble"\nsram_for_arena = "16 KiB"\n'
        '[tool.edgequant.targets.aa-none]\nbase = "nano33ble"\nsram_for_arena = "1 KiB"\n'
    )
    status, out, _ = check(INT8)
    boards = [line.split()[0] for line in out.splitlines()[3:] if " pass " in line]
    assert status == 0
    assert boards[0] == "zz-tiny"
    assert boards.index("nano33ble") < boards.index("teensy40") < boards.index("rpi4")
    assert "aa-none" not in boards
    assert "aa-none: arena over the limit" in out
    _, document = _document(check, INT8)
    cell = _cells(document)["tiny_int8", "int8", "aa-none"]
    assert [(v["check"], v["verdict"]) for v in cell["verdicts"]] == [("fits", "not_applicable")]


def test_a_model_that_fits_no_board_fails(check: Check) -> None:
    status, document = _document(check, INT8, "--max-size", "1 B")
    assert status == 1
    assert [f["message"][:29] for f in document["failures"]] == ["tiny_int8/int8: fits none of "]


# -- several models --------------------------------------------------------------------------------


def test_signs_in_the_name_of_a_folder_are_no_pattern(check: Check, tmp_path: Path) -> None:
    for folder in ("br[1]", "br1"):
        Path(folder).mkdir()
        (Path(folder) / f"of {folder}.tflite").write_bytes(INT8.read_bytes())
    for text in ("br[1]/*.tflite", "br[1]/**/*.tflite", tmp_path / "br[1]" / "o?*.tflite"):
        _, document = _document(check, text, "--target", "pico")
        assert [result["model"] for result in document["results"]] == ["of br[1]"]


def test_patterns_and_folders_and_models_of_one_name(check: Check, tmp_path: Path) -> None:
    for name in ("b/one.tflite", "a/one.tflite", "a/two.tflite", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(INT8, tmp_path / name)
    _, document = _document(check, "a/*", "b", "--target", "nano33*")
    names = {(r["model"], r["target"]) for r in document["results"]}
    models = {"a/one.tflite", "two", "b/one.tflite"}
    assert names == {(m, t) for m in models for t in ("nano33ble", "nano33iot")}


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["none.tflite"], "there is no file 'none.tflite'"),
        (["x*.tflite"], "'x*.tflite' matches none"),
        (["empty"], "the folder 'empty' holds no model"),
        (["cut.tflite"], "cut.tflite: damaged or truncated .tflite file of 700 bytes"),
        ([INT8, "--target", "nano33bel"], "unknown target 'nano33bel'. Did you mean nano33ble"),
        ([INT8, "--variant", "int9"], "--variant: unknown variant 'int9'. Did you mean int8"),
        ([INT8, "--max-size", "64K"], "--max-size: unknown unit 'K'"),
        ([INT8, "--max-size", "64"], "--max-size: '64' has no unit: write '64 B' or"),
        ([""], "the name of a model is empty"),
        ([INT8, "--max-arena", "120%"], "--max-arena: '120%' is more than the whole"),
        ([INT8, "--max-latency", "50"], "--max-latency: "),
        ([INT8, "--max-drop", "2 pt"], "--max-drop: there is nothing to evaluate on"),
        (
            [INT8, "--max-drop", "2", "--dataset", "d.npz"],
            "--max-drop: 2.0 is more than everything",
        ),
        ([INT8, "--max-drop", "2 pt", "--dataset", "d.npz"], "give it with --baseline MODEL"),
        ([INT8, "--metric", "mae"], "--metric: there is nothing to evaluate on"),
        (
            [INT8, "--metric", "maee", "--dataset", "d.npz"],
            "--metric: unknown metric 'maee'. Did you mean mae",
        ),
        ([INT8, "--dataset", "no.npz"], "--dataset: there is no file 'no.npz'"),
        ([DATA / "tiny.keras"], "it has to be converted first: give --variant"),
        ([INT8, "--project", "broken.toml"], "broken.toml: not valid TOML"),
        ([INT8, "--project", "gone.toml"], "--project: there is no file 'gone.toml'"),
    ],
)
def test_misuse_is_one_message_and_the_status_2(
    check: Check, tmp_path: Path, arguments: list[Any], said: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut.tflite").write_bytes(INT8.read_bytes()[:700])
    (tmp_path / "broken.toml").write_text("[tool.edgequant\n")
    np.savez(tmp_path / "d.npz", x=np.zeros((2, 2)), y=np.zeros(2))
    status, out, err = check(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("edgequant: ")
    assert err.count("\n") == 1
    assert said in err


def test_the_drop_is_judged_on_a_dataset(check: Check, fresh_pipeline: Any) -> None:
    float32, npz = DATA / "tiny_float32.tflite", DATA / "tiny.npz"
    common = ("--target", "rpi4", "--dataset", npz, "--baseline", float32)
    status, document = _document(check, INT8, *common, "--max-drop", "30 pt")
    cell = _cells(document)["tiny_int8", "int8", "rpi4"]
    assert [v["check"] for v in cell["verdicts"] if v["check"] == "accuracy_drop"]
    assert cell["metrics"]["accuracy"]["count"] == len(np.load(npz)["y"])
    assert status == (0 if cell["verdict"]["outcome"] == "pass" else 1)
    _, out, _ = check(INT8, *common, "--max-drop", "30 pt")
    score = cell["metrics"]["accuracy"]["value"]
    assert f"top-1 {score:.2%} on {cell['metrics']['accuracy']['count']} samples" in out
    assert any(line.startswith("tiny_float32/float32: top-1 ") for line in out.splitlines())


def test_a_drop_is_in_the_unit_of_the_metric(
    check: Check, tmp_path: Path, fresh_pipeline: Any
) -> None:
    with np.load(DATA / "tiny.npz") as stored:
        x = (stored["x"][:20] / 16).astype(np.float32)
    np.savez(tmp_path / "far.npz", x=x, y=np.full((20, 10), 40.0, np.float32))
    common = (INT8, "--target", "rpi4", "--dataset", "far.npz", "--metric", "mae")
    common = (*common, "--baseline", DATA / "tiny_float32.tflite")
    for drop, status in (("5", 0), ("1e-9", 1)):
        found, document = _document(check, *common, "--max-drop", drop)
        verdicts = _cells(document)["tiny_int8", "int8", "rpi4"]["verdicts"]
        assert found == status
        assert next(v for v in verdicts if v["check"] == "accuracy_drop")["limit"] == float(drop)


# -- as a process ----------------------------------------------------------------------------------

WITHOUT = """
import sys
for name in ("ai_edge_litert", "tflite_micro", "tensorflow", "xxhash", "platformdirs", "tabulate"):
    sys.modules[name] = None
from pytest_edgequant.cli.main import main
status = main(sys.argv[1:])
print([m for m in sys.modules if m.split(".")[0] in ("pytest", "matplotlib", "jinja2", "filelock")])
sys.exit(status)
"""


def _process(*arguments: object, code: str | None = None) -> subprocess.CompletedProcess[str]:
    command = ["-c", code] if code else ["-m", "pytest_edgequant.cli"]
    return subprocess.run(
        [sys.executable, *command, "check", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_numpy_flatbuffers_and_a_schema_are_enough() -> None:
    pytest.importorskip("tflite")
    found = _process(INT8, HYBRID, "--target", "nano33ble,uno-r4,rpi4", code=WITHOUT)
    *lines, modules = found.stdout.splitlines()
    assert (found.returncode, found.stderr, modules) == (1, "", "[]")
    whole = _process(INT8, HYBRID, "--target", "nano33ble,uno-r4,rpi4").stdout.splitlines()
    rows = [line for line in lines if line.startswith(("nano33ble ", "uno-r4 ", "rpi4 "))]
    assert rows == [li for li in whole if li.startswith(("nano33ble ", "uno-r4 ", "rpi4 "))]
    assert "the tflite-micro wheel is not installed here" in found.stdout


def test_colours_are_for_terminals_alone(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from pytest_edgequant.cli import screen

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    screen.show([("good", "good")])
    assert capsys.readouterr().out == "\x1b[32mgood\x1b[0m\n"
    monkeypatch.setenv("NO_COLOR", "1")
    screen.show([("good", "good")])
    assert capsys.readouterr().out == "good\n"


def test_the_pipeline_of_a_command_ends_with_it(check: Check) -> None:
    before = context.pipeline_factory
    check(INT8, "--target", "nano33ble")
    check("none.tflite")
    assert context.pipeline_factory is before
    assert context.events is None or context.events == []

"""`edgequant init`: what it writes gates at once, and what is there stays."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from edge_project import DATA, Project

from pytest_edgequant.cli.main import main

Init = Callable[..., tuple[int, str, str]]
WORKFLOW = ".github/workflows/edge-gate.yml"
ROOT = Path(__file__).parents[2]
OURS = ("workflows/ci.yml", "actions/edge-gate/action.yml")


@pytest.fixture
def init(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Init:
    monkeypatch.setenv("XDG_CACHE_HOME", str(project.warm))

    def run(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["init", *args])
        return status, *capsys.readouterr()

    return run


def have(project: Project, *names: str) -> None:
    """Put models of the tests into the repository, under other names: file=source."""
    for name in names:
        to, _, source = name.partition("=")
        (project.path / to).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(DATA / source, project.path / to)


def files(project: Project) -> dict[str, bytes]:
    """What is in the project, without what Python and pytest keep for themselves."""
    caches = {"__pycache__", ".pytest_cache"}
    found = [
        path
        for path in project.path.rglob("*")
        if path.is_file() and caches.isdisjoint(path.relative_to(project.path).parts)
    ]
    return {path.relative_to(project.path).as_posix(): path.read_bytes() for path in found}


def test_in_a_folder_with_one_tflite_the_gates_are_green_and_turn_red(
    project: Project, init: Init
) -> None:
    have(project, "my model.tflite=tiny_int8.tflite")
    status, out, _ = init()
    assert status == 0
    assert sorted(files(project)) == [WORKFLOW, "edgequant.toml", "my model.tflite"]
    assert "pytest edgequant.toml" in out
    project.run().assert_outcomes(passed=3)
    have(project, "my model.tflite=residual_int8.tflite")
    project.run().assert_outcomes(failed=1, passed=2)


def test_nothing_that_is_there_is_changed(project: Project, init: Init) -> None:
    have(project, "models/b.tflite=tiny_int8.tflite", "models/a.tflite=residual_int8.tflite")
    project.write("pyproject.toml", '[tool.edgequant]\ntarget = "rpi4"\n')
    project.write("tests/test_it.py", "def test_it(): pass\n")
    project.write(WORKFLOW, "# mine\n")
    before = files(project)
    status, out, _ = init()
    after = files(project)
    assert status == 0
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"edgequant.toml"}
    assert f"kept {WORKFLOW}" in out
    assert "tests/" in out
    result = project.run("--collect-only", "-q")
    result.stdout.fnmatch_lines(
        [
            "edgequant.toml::a[[]rpi4-int8]::deployable",
            "edgequant.toml::b[[]rpi4-int8]::deployable",
        ]
    )
    again = init()
    assert (again[0], files(project)) == (0, after)
    assert "kept edgequant.toml" in again[1]


@pytest.mark.parametrize("repository", ["", "firmware"])
def test_a_workflow_below_the_root_of_a_repository_has_to_be_moved(
    project: Project, init: Init, repository: str
) -> None:
    have(project, "firmware/nets/net.tflite=tiny_int8.tflite")
    (project.path / repository / ".git").mkdir()
    _, out, _ = init("firmware")
    assert ("Move .github/workflows/edge-gate.yml to the root" in out) is not bool(repository)
    assert ('working-directory: "firmware"' in out) is not bool(repository)


def test_samples_that_fit_are_named(project: Project, init: Init) -> None:
    have(project, "models/digits.keras=tiny.keras", "models/flat.tflite=tiny_float32.tflite")
    with np.load(DATA / "tiny.npz") as stored:
        x, y = (stored["x"] / 16).astype(np.float32), stored["y"]
    (project.path / "data").mkdir()
    np.savez(project.path / "data" / "digits_test.npz", x=x, y=y)
    np.save(project.path / "data" / "calibration.npy", x)
    np.savez(project.path / "data" / "other.npz", x=np.zeros((5, 3)), y=np.zeros(5))
    assert init("--target", "pico,esp32")[0] == 0
    text = (project.path / "edgequant.toml").read_text("utf-8")
    assert text.count('\ndataset = "data/digits_test.npz"') == 2
    assert '\ncalibration = "data/calibration.npy"' in text
    assert '\ntarget = ["pico", "esp32"]' in text
    assert "conftest.py" not in files(project)
    workflow = yaml.safe_load((project.path / WORKFLOW).read_text("utf-8"))
    steps = [step.get("run", "") for step in workflow["jobs"]["edge-gate"]["steps"]]
    assert any("[tensorflow]" in step for step in steps)
    pin = re.compile(r"uses: (\S+@[0-9a-f]{40} # v[\d.]+)$", re.MULTILINE)
    pins = pin.findall((project.path / WORKFLOW).read_text("utf-8"))
    ours = [(ROOT / ".github" / name).read_text("utf-8") for name in OURS]
    assert len(pins) == sum("uses" in step for step in workflow["jobs"]["edge-gate"]["steps"])
    assert set(pins) <= set(pin.findall("\n".join(ours)))
    project.run("-k", "flat").assert_outcomes(passed=8, deselected=6)


@pytest.mark.parametrize("existing", ["", "# mine\n"])
def test_python_is_written_where_samples_can_only_come_from_there(
    project: Project, init: Init, existing: str
) -> None:
    have(project, "models/digits.keras=tiny.keras")
    if existing:
        project.write("conftest.py", existing)
    assert init()[0] == 0
    name = "edge_data" if existing else "conftest"
    written = files(project)
    assert (written["conftest.py"] == b"# mine\n") is bool(existing)
    text = written["edgequant.toml"].decode()
    assert f'# calibration = "{name}:edge_gate_calibration"' in text
    result = project.run("--collect-only", "-q")
    result.stdout.fnmatch_lines(["edgequant.toml::digits[[]nano33ble-float32]::deployable"])
    project.write("edgequant.toml", text.replace("# calibration", "calibration"))
    project.write(
        "edgequant.toml",
        text.replace("# calibration", "calibration").replace('["float32"]', '["int8"]'),
    )
    result = project.run()
    assert result.ret == 4
    assert f"{name}.py: edge_gate_calibration: return samples" in result.stderr.str()


def test_what_can_not_be_done_is_one_message(project: Project, init: Init) -> None:
    project.write("README.md", "x")
    status, _, err = init()
    assert (status, err.count("\n")) == (2, 1)
    assert "holds no model" in err
    assert init("nowhere")[0] == 2
    have(project, "a.tflite=tiny_int8.tflite")
    assert init("--target", "picoo")[0] == 2
    assert sorted(files(project)) == ["README.md", "a.tflite"]


def test_a_damaged_model_is_found_by_the_gate(project: Project, init: Init) -> None:
    Path(project.path / "a.tflite").write_bytes(b"TFL3 no model")
    assert init()[0] == 0
    result = project.run()
    assert result.ret == 1
    assert "a.tflite" in result.stdout.str()

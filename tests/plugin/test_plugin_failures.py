"""What a user sees when something fails: their own line, one message, and nothing of ours."""

from __future__ import annotations

import os
import random
import re

import pytest
from edge_project import DATA, Project, failures, own_frames

FAILING = {
    "SizeExceeded": (
        "assert_size_within(edge_int8, '1 KiB')",
        "tiny_int8/int8: size 5,568 B is over the limit of 1,024 B by 4,544 B. *",
    ),
    "NotFullyInteger": (
        "assert_fully_integer(DATA + '/tiny_float32.tflite')",
        "*/float32: * float tensors: *",
    ),
    "NotDeployable": (
        "assert_deployable(edge_int8, 'small')",
        "tiny_int8/int8 is not deployable on small: *size 5,568 B is over*",
    ),
    "AccuracyDropExceeded": (
        "assert_max_accuracy_drop(edge_int8, DATA + '/tiny_float32.tflite', wrong, 0.0)",
        "tiny_int8/int8: accuracy 100.00% -> *% on 500 samples, a drop of * points; "
        "allowed are 0.00 points (* samples lost, 0 gained). *",
    ),
    "DatasetError": (
        "assert_max_accuracy_drop(edge_int8, edge_int8, (x[:, :4], y), 0.1)",
        "*the model's input 'image' takes samples of shape (8, 8, 1), got * (397, 4, 8, 1)*",
    ),
    "DatasetError: labels": (
        "evaluate(edge_int8, (x, y[:5]))",
        "*397 samples and 5 labels; every sample needs one label",
    ),
    "UnitError": (
        "assert_size_within(edge_int8, '64 KB')",
        "*unknown unit 'KB' in '64 KB' (*write kB or KiB*",
    ),
    "SettingsError": (
        "assert_max_accuracy_drop(edge_int8, edge_int8, (x, y), 2)",
        "max_drop: 2 is more than everything*2 points are 0.02*",
    ),
    "UnknownNameError": (
        "assert_arena_fits(edge_int8, 'nano33bel')",
        "unknown target 'nano33bel'. Did you mean nano33ble*",
    ),
    "ModelError": (
        "assert_size_within('absent.tflite', '1 KiB')",
        "model: there is no file 'absent.tflite' (looked from *); check the path*",
    ),
    "CalibrationError": (
        "convert(DATA + '/tiny_float32.tflite', 'int8')",
        "*int8 needs representative samples: *with convert(), give calibration=...",
    ),
    "MetricError": (
        "evaluate(edge_int8, (x, y), metric=3)",
        "edge_metric: expected a name or a callable, got 3",
    ),
    "DatasetError: predict": (
        "edge_int8.predict(x[:, :4])",
        "tiny_int8/int8: predict: *takes samples of shape (8, 8, 1), got * (397, 4, 8, 1)",
    ),
}
SEVERAL = ("NotFullyInteger",)
"""Errors whose message has more than one fact here."""
HEAD = """
def test_it(edge_int8, edge_dataset):
    x, y = edge_dataset
    # Noise, with the float model's answers as its labels: that is where int8 differs.
    noise = np.random.default_rng(0).random((500, 8, 8, 1), np.float32)
    wrong = noise, convert(DATA + "/tiny_float32.tflite", "as_is").predict(noise).argmax(axis=1)
"""


@pytest.mark.parametrize("style", ["auto", "long", "short"])
@pytest.mark.parametrize("case", FAILING)
def test_a_failure_is_the_users_line_and_one_message(
    project: Project, case: str, style: str
) -> None:
    call, message = FAILING[case]
    error = case.split(":")[0]
    project.write(
        "pyproject.toml",
        '[tool.edgequant.targets.small]\nbase = "pico"\nflash_for_model = "5 KiB"\n',
    )
    project.conftest()
    project.test(f"{HEAD}    {call}\n")
    result = project.run("--edge-target=pico", f"--tb={style}")
    result.assert_outcomes(failed=1)
    text = failures(result)
    lines = text.splitlines()
    assert any(line.lstrip("> ") == call for line in lines), text
    result.stdout.fnmatch_lines([f"E  *pytest_edgequant.errors.{error}: {message}"])
    assert own_frames(text) == []
    told = [line for line in lines if line.startswith("E ")]
    # One message; where it has several facts, each stands on an indented line of its own.
    margin = len(told[0]) - len(told[0][1:].lstrip())
    assert all(line[1 : margin + 2].isspace() for line in told[1:]), text
    assert (len(told) > 1) == (error in SEVERAL), text
    assert "During handling" not in text
    assert "direct cause" not in text


def test_a_failing_gate_is_a_failure_and_not_an_error(project: Project) -> None:
    project.conftest()
    project.test("def test_it(edge_int8): assert_size_within(edge_int8, 1024)\n")
    result = project.run("--edge-target=pico", "--tb=line")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*test_it.py:*SizeExceeded: tiny_int8/int8: size 5,568 B*"])


def test_gates_can_be_expected_to_fail(project: Project) -> None:
    project.conftest()
    project.test(
        "@pytest.mark.xfail(raises=AssertionError, strict=True)\n"
        "def test_mark(edge_int8): assert_size_within(edge_int8, 1024)\n"
        "def test_raises(edge_int8):\n"
        "    with pytest.raises(SizeExceeded) as caught:\n"
        "        assert_size_within(edge_int8, 1024)\n"
        "    assert caught.value.verdict.verdict is Outcome.FAIL\n"
        "    assert caught.value.verdict.limit == 1024\n"
    )
    project.run("--edge-target=pico").assert_outcomes(xfailed=1, passed=1)


@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=["alone", "xdist"])
def test_the_short_summary_begins_with_the_reason(
    project: Project, workers: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    if workers:
        pytest.importorskip("xdist")
    monkeypatch.setenv("COLUMNS", "500")
    project.write(
        "pyproject.toml",
        '[tool.edgequant.targets.tiny]\nbase = "pico"\nflash_for_model = "1 KiB"\n'
        'sram_for_arena = "1 KiB"\n',
    )
    project.conftest()
    project.test(
        "def test_size(edge_int8): assert_size_within(edge_int8, 1024)\n"
        "def test_all(edge_int8): assert_deployable(edge_int8, 'tiny')\n"
        "def test_misuse(edge_int8): assert_size_within(edge_int8, '64 KB')\n"
    )
    result = project.run("--edge-target=pico", *workers)
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines_random(
        [
            "FAILED test_it.py::test_size* - size over by 4,544 B: 5,568 B of 1,024 B; SizeExc*",
            "FAILED test_it.py::test_all* - size over by 4,544 B: *; arena over by *; NotDep*",
            "FAILED test_it.py::test_misuse* - UnitError: *unknown unit 'KB' in '64 KB'*",
        ]
    )
    summary = [line for line in result.outlines if line.startswith("FAILED ")]
    assert len(summary) == 3
    assert not any("pytest_edgequant" in line for line in summary)
    # In the failure's own section each limit is a line.
    assert any(line.startswith("E ") and "on tiny: arena" in line for line in result.outlines)


# -- in setup -------------------------------------------------------------------------------------

MODELS = {
    "absent": "there is no file 'absent.tflite' (looked from *); check the path, or make the *",
    "empty": "empty.tflite: the file is empty; write the .tflite again*",
    "truncated": "truncated.tflite: damaged or truncated .tflite file of 2,784 bytes *; convert *",
    "random": "random.tflite: not a .tflite file (*at byte 4 of 4,000); check the path and how *",
    "text": "text.tflite: not a .tflite file (*at byte 4 of 1,200); check the path and how *",
}


def _broken_models(project: Project) -> None:
    whole = (DATA / "tiny_int8.tflite").read_bytes()
    noise = random.Random(0).randbytes(4000)
    for name, content in {
        "empty": b"",
        "truncated": whole[: len(whole) // 2],
        "random": noise,
        "text": b"not a model\n" * 100,
    }.items():
        (project.path / f"{name}.tflite").write_bytes(content)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("fixture", ["edge_int8", "edge_variant"])
def test_a_broken_model_is_one_clear_error_and_the_run_goes_on(
    project: Project, kind: str, fixture: str
) -> None:
    _broken_models(project)
    project.conftest()
    project.test(
        f"@pytest.fixture\ndef edge_model(): return '{kind}.tflite'\n"
        f"def test_broken({fixture}): pass\n"
    )
    project.test("def test_other(edge_int8): assert_size_within(edge_int8, '6 KiB')\n", "test_z")
    result = project.run("--edge-target=pico", "--edge-variant=int8")
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines([f"ModelError: *{MODELS[kind]}"])
    text = failures(result)
    assert own_frames(text) == []
    assert "Traceback" not in text


def test_truncation_anywhere_is_a_clear_error(project: Project) -> None:
    whole = (DATA / "tiny_int8.tflite").read_bytes()
    sizes = [1, 7, 8, 20, 100, 1000, 3000, len(whole) - 100, len(whole) - 1]
    project.conftest()
    project.test(
        "WHOLE = open(DATA + '/tiny_int8.tflite', 'rb').read()\n"
        f"@pytest.mark.parametrize('size', {sizes})\n"
        "def test_it(size, edge_target):\n"
        "    with pytest.raises(ModelError, match='model bytes: (damaged|not a|the file)'):\n"
        "        assert_deployable(WHOLE[:size], edge_target)\n"
    )
    result = project.run("--edge-target=pico")
    result.assert_outcomes(passed=len(sizes))


@pytest.mark.parametrize(
    "returned, message",
    [
        ("None", "*ModelError: edge_model: expected a Keras model, a path *got builtins.NoneType*"),
        ("42", "*ModelError: edge_model: expected a Keras model, a path *got builtins.int*"),
        ("'.'", "*ModelError: edge_model: the folder '.' holds no saved_model.pb*"),
        ("__file__", "*ModelError: edge_model: '*.py' is none of .keras, .h5, SavedModel *"),
    ],
)
def test_what_is_no_model_is_one_clear_error(project: Project, returned: str, message: str) -> None:
    project.conftest(f"@pytest.fixture\ndef edge_model(): return {returned}\n", model=None)
    project.test("def test_it(edge_int8): pass\ndef test_other(): pass\n")
    result = project.run("--edge-target=pico")
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines([message])
    assert own_frames(failures(result)) == []


@pytest.mark.parametrize(
    "returned, message",
    [
        ("[]", "*CalibrationError: edge_calibration: no samples*give 100 at least*"),
        ("3", "*CalibrationError: edge_calibration: expected an array*got int*"),
        (
            "samples()['x_calibration'][:, :4]",
            "*CalibrationError: *takes samples of shape (8, 8, 1), got * (200, 4, 8, 1)*",
        ),
        (
            "np.full((100, 8, 8, 1), np.nan, np.float32)",
            "*CalibrationError: *6,400 values of the input 'image' are NaN or infinite*",
        ),
    ],
)
def test_bad_calibration_is_one_clear_error(project: Project, returned: str, message: str) -> None:
    project.conftest(
        f"@pytest.fixture\ndef edge_calibration(): return {returned}\n",
        model="tiny_float32",
        calibration=False,
    )
    project.test("def test_it(edge_int8): pass\ndef test_other(edge_float32): pass\n")
    result = project.run("--edge-target=pico")
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines([message])
    assert own_frames(failures(result)) == []


# -- native code that dies ------------------------------------------------------------------------

# The child imports the module `crashing` as it finds it: beside the tests.
CRASHING = """
import os, sys, time

def abort(*args):
    print("native code says: out of order", file=sys.stderr, flush=True)
    os.abort()

def hang(*args):
    time.sleep(60)
"""
CRASH = """
import crashing
from pytest_edgequant.measure.evaluation import litert_worker

def test_dies(edge_int8, edge_dataset, monkeypatch):
    monkeypatch.setattr(litert_worker, "run", crashing.{how})
    evaluate(edge_int8, edge_dataset, runtime="litert")

def test_lives(edge_int8, edge_dataset):
    assert evaluate(edge_int8, edge_dataset, runtime="litert").value > 0.9
"""


def test_a_crash_in_native_code_fails_one_test_and_the_run_goes_on(project: Project) -> None:
    project.conftest()
    project.write("crashing.py", CRASHING)
    project.test(CRASH.format(how="abort"))
    result = project.run("--edge-target=pico", cache=project.cache)
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(
        [
            "*IsolatedProcessError: tiny_int8/int8: running it failed: the interpreter process "
            "died (signal SIGABRT). Its last words:",
            "*native code says: out of order*",
        ]
    )
    assert own_frames(failures(result)) == []


def test_a_hang_in_native_code_is_stopped_at_the_time_limit(project: Project) -> None:
    project.write("pytest.ini", "[pytest]\nedge_timeout = 4\n")
    project.conftest()
    project.write("crashing.py", CRASHING)
    project.test(
        CRASH.format(how="hang").split("def test_lives")[0]
        + "def test_lives(edge_int8): assert_fully_integer(edge_int8)\n"
    )
    result = project.run("--edge-target=pico", cache=project.cache)
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(
        ["*IsolatedProcessError: *the interpreter process did not finish within 4 s and was "
         "stopped (raise edge_timeout if it needs longer)*"]
    )  # fmt: skip


def test_a_child_that_was_killed_is_started_again(project: Project) -> None:
    project.conftest()
    project.test(
        "from pytest_edgequant.plugin.hooks import get_run\n"
        "def test_it(edge_int8, edge_dataset, request):\n"
        "    x, y = edge_dataset\n"
        "    first = edge_int8.predict(x)\n"
        "    child = get_run(request.config).pipeline._interpreter\n"
        "    child._process.kill()\n"
        "    child._process.wait()\n"
        "    np.testing.assert_array_equal(edge_int8.predict(x), first)\n"
        "    assert child.starts == 2\n"
    )
    project.run("--edge-target=pico").assert_outcomes(passed=1)


def test_a_crash_of_the_converter_is_one_clear_error(project: Project) -> None:
    project.conftest(model="tiny_float32")
    project.write("crashing.py", CRASHING.replace("*args", "*args, **kwargs"))
    project.test(
        "import crashing\n"
        "from pytest_edgequant.conversion import quantizer_worker\n"
        "@pytest.fixture\n"
        "def dying(monkeypatch):\n"
        "    monkeypatch.setattr(quantizer_worker, 'quantize', crashing.abort)\n"
        "def test_dies(dying, edge_int8): pass\n"
        "def test_lives(edge_int16x8): pass\n"
    )
    result = project.run("--edge-target=pico", cache=project.cache)
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(
        ["*ConversionError: *tiny_float32.tflite: quantizing to int8 failed: the converter process "
         "died (signal SIGABRT)*"]
    )  # fmt: skip
    assert own_frames(failures(result)) == []


def test_no_child_process_outlives_the_run(project: Project) -> None:
    project.conftest()
    project.test(
        "from pytest_edgequant.plugin.hooks import get_run\n"
        "def test_it(edge_int8, edge_dataset, request):\n"
        "    edge_int8.predict(edge_dataset[0][:1])\n"
        "    child = get_run(request.config).pipeline._interpreter._process\n"
        "    print('child', child.pid)\n"
    )
    result = project.run("-s", "--edge-target=pico")
    found = re.search(r"child (\d+)", result.stdout.str())
    assert found is not None
    with pytest.raises(ProcessLookupError):
        os.kill(int(found.group(1)), 0)

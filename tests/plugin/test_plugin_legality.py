"""What a target's runtime refuses: skipped where we chose it, failed where the user named it."""

from __future__ import annotations

import pytest
from edge_project import Project, failures, needs_tflm, own_frames, summary

STRICT = """
[tool.edgequant.targets.strict]
base = "nano33ble"
requires_integer_io = true
"""
# Every assertion about a target, on `v`.
CHECKS = {
    "size": "assert_size_within(v, '1 MiB')",
    "arena": "assert_arena_fits(v, edge_target)",
    "ops": "assert_ops_supported(v, edge_target)",
    "deployable": "assert_deployable(v, edge_target)",
    "fully_integer": "assert_fully_integer(v)",
    "accuracy_drop": "assert_max_accuracy_drop(v, edge_float32, edge_dataset, 0.9)",
}
BASELINE = """
@pytest.fixture
def edge_float32(): return DATA + "/tiny_float32.tflite"
"""


def _checks(variant: str) -> str:
    return BASELINE + "".join(
        f"def test_{name}({variant}, edge_target, edge_float32, edge_dataset):\n"
        f"    v = {variant}\n    {call}\n"
        for name, call in CHECKS.items()
    )


# -- chosen by us: skipped ------------------------------------------------------------------------


@pytest.fixture
def strict(project: Project) -> Project:
    """A float32 model on a target that wants integer inputs and outputs."""
    project.write("pyproject.toml", STRICT)
    project.conftest(model="tiny_float32")
    return project


def test_a_parametrized_variant_that_cannot_run_is_skipped_with_the_reason(strict: Project) -> None:
    strict.test("def test_it(edge_variant): raise AssertionError('ran')\n")
    strict.write("pyproject.toml", STRICT + 'variants = ["float32"]\n')
    result = strict.run("--edge-target=strict", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(
        ["SKIPPED*tiny_float32/float32 cannot run on strict: The target requires "
         "integer inputs and outputs*the input * is FLOAT32. Use int8*"]
    )  # fmt: skip


def test_a_skipped_variant_is_shown_as_cannot_run(strict: Project) -> None:
    strict.write("pyproject.toml", STRICT + 'variants = ["float32", "int8"]\n')
    strict.test("def test_it(edge_variant): assert_fully_integer(edge_variant)\n")
    run = strict.report("--edge-target=strict")
    run.result.assert_outcomes(skipped=1, passed=1)
    assert run.result.ret == 0
    assert run.verdicts() == [
        ("float32", "runs", "cannot_run"),
        ("int8", "fully_integer", "pass"),
    ]
    lines = summary(run.result)
    assert any(line.startswith("float32 ") and "CANNOT RUN" in line for line in lines)
    assert any("requires integer inputs and outputs" in line for line in lines)


def test_skips_do_not_hide_the_variants_that_run(strict: Project) -> None:
    strict.write("pyproject.toml", STRICT + 'variants = ["float32", "int8", "int16x8"]\n')
    strict.test("def test_it(edge_variant): assert_size_within(edge_variant, '1 KiB')\n")
    result = strict.run("--edge-target=strict")
    result.assert_outcomes(skipped=1, failed=2)


# -- named by the user: handed out, and failed ----------------------------------------------------


def _assert_every_check_cannot_run(project: Project, *arguments: str) -> None:
    run = project.report("--edge-target=nano33ble", *arguments)
    run.result.assert_outcomes(failed=len(CHECKS))
    text = failures(run.result)
    message = (
        "errors.CannotRun: tiny_dynamic_range/dynamic_range: cannot run on nano33ble: TFLM has"
    )
    assert text.count(message) == len(CHECKS)
    assert own_frames(text) == []
    judged = [v for v in run.verdicts() if v[0] == "dynamic_range"]
    assert sorted(judged) == sorted(("dynamic_range", check, "cannot_run") for check in CHECKS)
    assert any("CANNOT RUN" in line for line in summary(run.result))


def test_a_named_fixture_is_handed_out_and_every_check_fails(project: Project) -> None:
    project.conftest(model="tiny_dynamic_range")
    project.test(_checks("edge_dynamic_range"))
    _assert_every_check_cannot_run(project)


def test_the_variant_option_is_a_request_by_name(project: Project) -> None:
    project.conftest(model="tiny_dynamic_range")
    project.test(_checks("edge_variant"))
    _assert_every_check_cannot_run(project, "--edge-variant=dynamic_range")


def test_the_variant_in_the_ini_file_is_a_request_by_name(project: Project) -> None:
    project.write("pytest.ini", "[pytest]\nedge_variant = dynamic_range\n")
    project.conftest(model="tiny_dynamic_range")
    project.test(_checks("edge_variant"))
    _assert_every_check_cannot_run(project)


def test_the_marker_is_a_request_by_name(project: Project) -> None:
    project.conftest(model="tiny_dynamic_range")
    project.test(
        "pytestmark = pytest.mark.edge(variant='dynamic_range')\n" + _checks("edge_variant")
    )
    _assert_every_check_cannot_run(project)


def test_own_parametrization_is_a_request_by_name(project: Project) -> None:
    project.conftest(model="tiny_dynamic_range")
    project.test(
        "pytestmark = pytest.mark.parametrize('edge_variant', ['dynamic_range'])\n"
        + _checks("edge_variant")
    )
    _assert_every_check_cannot_run(project)


def test_a_path_given_to_an_assertion_is_judged_by_its_graph(project: Project) -> None:
    project.conftest()
    project.test(
        "def test_it(edge_target):\n"
        "    assert_size_within(DATA + '/tiny_dynamic_range.tflite', '1 MiB', target=edge_target)\n"
    )
    result = project.run("--edge-target=nano33ble")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*CannotRun: *cannot run on nano33ble: TFLM has no hybrid*"])


@needs_tflm
def test_float16_is_refused_on_a_microcontroller_and_welcome_on_a_board(project: Project) -> None:
    project.conftest(model="tiny_float16")
    project.test(
        "@pytest.mark.parametrize('edge_target', ['nano33ble', 'rpi4'])\n"
        "def test_it(edge_float16, edge_target): assert_deployable(edge_float16, edge_target)\n"
    )
    result = project.run()
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*CannotRun: *nano33ble: TFLM has no float16 kernels*"])


def test_float32_as_the_baseline_is_always_allowed(strict: Project) -> None:
    strict.test(
        "def test_baseline(edge_int8, edge_float32, edge_dataset):\n"
        "    assert_max_accuracy_drop(edge_int8, edge_float32, edge_dataset, 0.02)\n"
        "def test_candidate(edge_float32, edge_dataset):\n"
        "    assert_max_accuracy_drop(edge_float32, edge_float32, edge_dataset, 0.02)\n"
    )
    run = strict.report("--edge-target=strict")
    run.result.assert_outcomes(passed=1, failed=1)
    assert run.verdicts() == [
        ("float32", "accuracy_drop", "cannot_run"),
        ("int8", "accuracy_drop", "pass"),
    ]


# -- quantized files are gated as they are --------------------------------------------------------


def test_a_quantized_file_is_gated_in_its_own_form_only(project: Project) -> None:
    project.conftest(model="tiny_int8")
    project.test("def test_it(edge_variant): assert edge_variant.name == 'int8'\n")
    project.run("--edge-target=nano33ble").assert_outcomes(passed=1)


def test_a_quantized_file_is_handed_out_byte_for_byte(project: Project) -> None:
    project.conftest(model="tiny_int8")
    project.test(
        "def test_it(edge_int8):\n"
        "    assert edge_int8.content == open(DATA + '/tiny_int8.tflite', 'rb').read()\n"
    )
    project.run("--edge-target=nano33ble").assert_outcomes(passed=1)
    assert project.cache_entries() == []


@pytest.mark.parametrize(
    "form", ["int8", "int8_float_io", "uint8_io", "int16x8", "dynamic_range", "float16"]
)
def test_the_form_of_every_quantized_file_is_known(project: Project, form: str) -> None:
    project.conftest(model=f"tiny_{form}")
    project.test(f"def test_it(edge_variant): assert edge_variant.name == {form!r}\n")
    project.run("--edge-target=rpi4").assert_outcomes(passed=1)


def test_as_is_gates_a_file_whatever_its_form(project: Project) -> None:
    project.conftest(model="tiny_uint8_io")
    project.test("def test_it(edge_variant): assert edge_variant.name == 'uint8_io'\n")
    project.run("--edge-target=nano33ble", "--edge-variant=as_is").assert_outcomes(passed=1)


@pytest.mark.parametrize("how", ["fixture", "option", "marker"])
def test_another_form_by_name_is_one_clear_error(project: Project, how: str) -> None:
    project.conftest(model="tiny_int8")
    fixture = "edge_float32" if how == "fixture" else "edge_variant"
    marker = "@pytest.mark.edge(variant='float32')\n" if how == "marker" else ""
    project.test(f"{marker}def test_it({fixture}): pass\ndef test_other(edge_int8): pass\n")
    arguments = ["--edge-variant=float32"] if how == "option" else []
    result = project.run("--edge-target=nano33ble", *arguments)
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(
        ["*NotDerivableError: *tiny_int8.tflite: the file is int8 already, float32 can't be made "
         "from it. Quantized files are gated as they are: ask for that variant (or as_is), or give "
         "the float model*"]
    )  # fmt: skip
    assert own_frames(failures(result)) == []


# -- no meaning there -----------------------------------------------------------------------------


def test_the_arena_on_litert_is_not_applicable_neither_passed_nor_failed(project: Project) -> None:
    project.conftest()
    project.test(
        "def test_it(edge_int8, edge_target):\n"
        "    assert_arena_fits(edge_int8, edge_target)\n"
        "    assert_size_within(edge_int8, '6 KiB')\n"
    )
    run = project.report("--edge-target=rpi4")
    run.result.assert_outcomes(passed=1)
    assert run.verdicts() == [("int8", "arena", "not_applicable"), ("int8", "size", "pass")]
    (result,) = run.document["results"]
    assert "arena_bytes" not in result["metrics"]
    assert "rpi4 runs litert" in result["verdicts"][0]["message"]


def test_what_is_only_not_applicable_gates_nothing(project: Project) -> None:
    project.conftest()
    project.test("def test_it(edge_int8, edge_target): assert_arena_fits(edge_int8, edge_target)\n")
    run = project.report("--edge-target=rpi4")
    run.result.assert_outcomes(passed=1)
    assert run.result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert any(line.endswith("n/a") for line in summary(run.result))


def test_an_unavailable_figure_never_passes(project: Project) -> None:
    project.write(
        "pyproject.toml",
        '[tool.edgequant.targets.odd]\nbase = "nano33ble"\ncore = "hexagon"\n',
    )
    project.conftest()
    project.test("def test_it(edge_int8, edge_target): assert_arena_fits(edge_int8, edge_target)\n")
    run = project.report("--edge-target=odd")
    run.result.assert_outcomes(failed=1)
    run.result.stdout.fnmatch_lines(["*Unavailable: *arena is unavailable: *core=hexagon*"])
    assert run.verdicts() == [("int8", "arena", "unavailable")]
    metric = run.document["results"][0]["metrics"]["arena_bytes"]
    assert metric["value"] is None
    assert "hexagon" in metric["reason"]


# -- nothing gated --------------------------------------------------------------------------------

NOTHING = "*--edge-target=*: nothing was gated*"
RED = "\x1b[31m"


def test_a_given_target_without_edge_tests_is_red_and_exits_with_5(project: Project) -> None:
    project.test("def test_it(): pass\n")
    result = project.run("--edge-target=nano33ble", "--color=yes")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    (line,) = [line for line in result.outlines if "nothing was gated" in line]
    assert RED in line
    assert "--edge-target=nano33ble" in line


def test_a_given_target_with_everything_skipped_exits_with_5(project: Project) -> None:
    project.conftest(model="tiny_int8")
    project.test("@pytest.mark.skip\ndef test_it(edge_int8): pass\n")
    result = project.run("--edge-target=nano33ble")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines([NOTHING])
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_variants_that_all_cannot_run_exit_with_5(strict: Project) -> None:
    strict.write("pyproject.toml", STRICT + 'variants = ["float32"]\n')
    strict.test("def test_it(edge_variant): assert_size_within(edge_variant, '1 MiB')\n")
    result = strict.run("--edge-target=strict")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines([NOTHING])
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_edge_tests_without_a_check_exit_with_5(project: Project) -> None:
    project.conftest()
    project.test("def test_it(edge_int8): assert edge_int8.size_bytes < 6000\n")
    result = project.run("--edge-target=nano33ble")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([NOTHING])
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.mark.parametrize("place", ["pytest.ini", "pyproject.toml"])
def test_a_configured_target_is_as_red_where_nothing_is_gated(project: Project, place: str) -> None:
    project.write(
        place,
        "[pytest]\nedge_target = nano33ble\n"
        if place == "pytest.ini"
        else '[tool.edgequant]\ntarget = "nano33ble"\n',
    )
    project.test("def test_it(): pass\n")
    result = project.run()
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.fnmatch_lines(["*target*nano33ble: nothing was gated*"])


def test_collect_only_changes_no_exit_code(project: Project) -> None:
    project.test("def test_it(edge_variant): pass\n")
    result = project.run("--edge-target=nano33ble", "--collect-only")
    assert result.ret == 0
    assert "nothing was gated" not in result.stdout.str()


def test_failing_tests_keep_their_exit_code(project: Project) -> None:
    project.test("def test_it(): assert False\n")
    result = project.run("--edge-target=nano33ble")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.no_fnmatch_line(NOTHING)


def test_a_collection_error_keeps_its_exit_code(project: Project) -> None:
    project.test("raise ImportError('no')\n")
    result = project.run("--edge-target=nano33ble")
    assert result.ret == pytest.ExitCode.INTERRUPTED


@pytest.mark.parametrize("check", ["assert_size_within(edge_int8, '6 KiB')", "assert False"])
def test_a_run_that_gated_something_keeps_its_exit_code(project: Project, check: str) -> None:
    project.conftest()
    project.test(
        "def test_gate(edge_int8): assert_size_within(edge_int8, '6 KiB')\n"
        f"def test_it(edge_int8): {check}\n"
    )
    result = project.run("--edge-target=nano33ble")
    assert result.ret == (1 if check == "assert False" else 0)
    assert "nothing was gated" not in result.stdout.str()


def test_a_failing_gate_is_gated(project: Project) -> None:
    project.conftest()
    project.test("def test_it(edge_int8): assert_size_within(edge_int8, '1 KiB')\n")
    result = project.run("--edge-target=nano33ble")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "nothing was gated" not in result.stdout.str()

"""`-k` with the names of forms: exactly what uses the form, by id or by fixture."""

from __future__ import annotations

import pytest
from edge_project import Project

SUITE = """
def test_forms(edge_variant): pass
def test_int8(edge_int8, edge_float32): pass
def test_float_io(edge_int8_float_io): pass
def test_trained(edge_qat_int8): pass
def test_camera(edge_uint8_io): pass
class TestInt8:
    def test_fine(self, edge_int16x8): pass
    def test_plain(self): pass
@pytest.fixture
def both(edge_int8, edge_float32): pass
def test_through_a_fixture(both): pass
@pytest.mark.usefixtures("edge_float16")
def test_marked(): pass
@pytest.mark.parametrize("edge_variant", ["INT8", "qat-int8"])
def test_own(edge_variant): pass
def test_int8_helper(): pass
"""
INT8 = {"forms[MODEL-rpi4-int8]", "int8[MODEL-rpi4]", "through_a_fixture[MODEL-rpi4]"}
INT8 |= {"own[MODEL-INT8-rpi4]"}
PLAIN = {"plain", "int8_helper"}
FORMS = ("float32", "float16", "dynamic_range", "int8", "int8_float_io", "uint8_io", "int16x8")


@pytest.fixture
def suite(project: Project) -> Project:
    project.conftest(
        "@pytest.fixture(params=['tiny_float32', 'tiny_int8'], ids=['one', 'two'])\n"
        "def edge_model(request): return f'{DATA}/{request.param}.tflite'\n",
        model=None,
    )
    project.test(SUITE)
    return project


def _selected(project: Project, expression: str, *arguments: str) -> set[str]:
    """The tests that `-k` selects on rpi4, of each model the same; less `test_`."""
    result = project.run("--collect-only", "-q", "--edge-target=rpi4", "-k", expression, *arguments)
    ids = [line.rsplit("::", 1)[1] for line in result.outlines if "::" in line]
    found = {name.removeprefix("test_") for name in ids}
    one, two = ({n.replace(m, "MODEL") for n in found if m in n} for m in ("one", "two"))
    assert one == two
    assert len(ids) == len(set(ids))
    return one | {name for name in found if "[" not in name}


@pytest.mark.parametrize(
    "expression, expected",
    [
        ("int8", INT8 | PLAIN),
        ("INT8", INT8 | PLAIN),
        ("int8 and rpi4", INT8),
        ("int8 and forms", {"forms[MODEL-rpi4-int8]"}),
        ("qat_int8", {"trained[MODEL-rpi4]", "own[MODEL-qat-int8-rpi4]"}),
        ("int8_float_io", {"forms[MODEL-rpi4-int8_float_io]", "float_io[MODEL-rpi4]"}),
        ("uint8_io", {"forms[MODEL-rpi4-uint8_io]", "camera[MODEL-rpi4]"}),
        ("int16x8", {"forms[MODEL-rpi4-int16x8]", "fine[MODEL-rpi4]"}),
        ("float16", {"forms[MODEL-rpi4-float16]", "marked[MODEL-rpi4]"}),
        (
            "float32",
            {"forms[MODEL-rpi4-float32]", "int8[MODEL-rpi4]", "through_a_fixture[MODEL-rpi4]"},
        ),
        ("int8 and not float32", {"forms[MODEL-rpi4-int8]", "own[MODEL-INT8-rpi4]"} | PLAIN),
        ("(int8 or uint8_io) and forms", {f"forms[MODEL-rpi4-{f}]" for f in ("int8", "uint8_io")}),
        ("forms and not int8", {f"forms[MODEL-rpi4-{f}]" for f in FORMS if f != "int8"}),
        ("as_is", set()),
        # Other words are matched as ever, within names and without case.
        ("int8 and helper", {"int8_helper"}),
        ("float_i", {"forms[MODEL-rpi4-int8_float_io]", "float_io[MODEL-rpi4]"}),
        ("test_int8", {"int8[MODEL-rpi4]", "int8_helper"}),
        ("TestInt8", {"fine[MODEL-rpi4]", "plain"}),
    ],
)  # fmt: skip
def test_a_form_is_what_uses_it(suite: Project, expression: str, expected: set[str]) -> None:
    assert _selected(suite, expression) == expected


def test_not_int8_is_the_rest(suite: Project) -> None:
    every = _selected(suite, "test")
    assert _selected(suite, "not int8") == every - _selected(suite, "int8")


def test_all_forms_have_a_word_of_their_own(suite: Project) -> None:
    found = [_selected(suite, f"{form} and forms") for form in FORMS]
    assert found == [{f"forms[MODEL-rpi4-{form}]"} for form in FORMS]


def test_n_2_selects_the_same(suite: Project) -> None:
    suite.conftest(model="tiny_int8")
    suite.test("def test_it(edge_int8): pass\ndef test_other(edge_variant): pass\n")
    arguments = ("--edge-target=pico,rpi4", "-k", "int8 and not rpi4")
    suite.run(*arguments).assert_outcomes(passed=2, deselected=12)
    suite.run_subprocess(*arguments, "-n2").assert_outcomes(passed=2)


@pytest.mark.parametrize("expression", ["int8 and", "(int8", "int8 uint8_io"])
def test_a_wrong_expression_is_told_as_it_was_written(suite: Project, expression: str) -> None:
    result = suite.run("--edge-target=pico", "-k", expression)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *: {expression}: at column *"])

"""Which tests a run has: targets by variants, the marker, and the user's own parametrization."""

from __future__ import annotations

import pytest
from edge_project import Project, failures

MICRO = ["float32", "int8", "int8_float_io", "uint8_io", "int16x8"]
BOARD = ["float32", "float16", "dynamic_range", *MICRO[1:]]

ARENA = "def test_arena(edge_variant, edge_target): pass\n"
TWO_MODELS = """
@pytest.fixture(scope="session", params=["tiny_int8", "tiny_float32"], ids=["digits", "letters"])
def edge_model(request):
    return f"{DATA}/{request.param}.tflite"
"""


def _each(*targets: str, prefix: str = "") -> list[str]:
    variants = {"nano33ble": MICRO, "pico": MICRO, "rpi4": BOARD, "host": BOARD}
    return [f"{prefix}{t}-{v}" for t in targets for v in variants[t]]


def test_ids_are_target_and_variant(project: Project) -> None:
    project.test(ARENA)
    result = project.run("--collect-only", "-q", "--edge-target=nano33ble")
    assert "test_it.py::test_arena[nano33ble-int8]" in result.outlines
    assert project.collected("--edge-target=nano33ble") == _each("nano33ble")


def test_the_default_target_is_the_host(project: Project) -> None:
    project.test(ARENA)
    assert project.collected() == _each("host")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--edge-target=nano33ble", "--edge-target=rpi4"),
        ("--edge-target=nano33ble,rpi4",),
        ("--edge-target", "nano33ble, rpi4,nano33ble"),
    ],
)
def test_several_targets_each_with_its_own_variants(
    project: Project, arguments: tuple[str, ...]
) -> None:
    project.test(ARENA)
    collected = project.collected(*arguments)
    assert sorted(collected) == sorted(_each("nano33ble", "rpi4"))
    assert "nano33ble-float16" not in collected
    assert "rpi4-float16" in collected


def test_aliases_of_one_target_are_one_target(project: Project) -> None:
    project.test(ARENA)
    assert project.collected("--edge-target=nano33ble,Arduino-Nano-33-BLE") == _each("nano33ble")


def test_edge_target_alone_is_by_target(project: Project) -> None:
    project.test("def test_it(edge_target): pass\n")
    assert project.collected("--edge-target=nano33ble,rpi4") == ["nano33ble", "rpi4"]


def test_named_variants_alone_are_by_target(project: Project) -> None:
    project.test("def test_it(edge_int8, edge_float32): pass\n")
    assert project.collected("--edge-target=nano33ble,rpi4") == ["nano33ble", "rpi4"]


def test_named_beside_edge_variant_multiply_nothing(project: Project) -> None:
    project.test("def test_it(edge_float32, edge_variant): pass\n")
    assert project.collected("--edge-target=nano33ble") == _each("nano33ble")


def test_edge_variant_alone_is_by_both(project: Project) -> None:
    project.test("def test_it(edge_variant): pass\n")
    assert project.collected("--edge-target=nano33ble") == _each("nano33ble")


def test_usefixtures_is_as_good_as_an_argument(project: Project) -> None:
    project.test("@pytest.mark.usefixtures('edge_variant')\ndef test_it(): pass\n")
    assert project.collected("--edge-target=nano33ble") == _each("nano33ble")


def test_an_own_fixture_in_between_is_as_good_as_an_argument(project: Project) -> None:
    project.test(
        "@pytest.fixture\ndef size(edge_variant): return edge_variant.size_bytes\n"
        "def test_it(size): pass\n"
    )
    assert project.collected("--edge-target=nano33ble") == _each("nano33ble")


def test_methods_are_parametrized_too(project: Project) -> None:
    project.test("class TestIt:\n    def test_it(self, edge_variant): pass\n")
    assert project.collected("--edge-target=nano33ble") == _each("nano33ble")


def test_edge_variant_option_restricts(project: Project) -> None:
    project.test(ARENA)
    assert project.collected("--edge-target=nano33ble", "--edge-variant=int8") == ["nano33ble-int8"]
    assert project.collected("--edge-target=pico", "--edge-variant=INT8,uint8-io") == [
        "pico-int8",
        "pico-uint8_io",
    ]


def test_a_model_by_fixture_params_stands_in_front(project: Project) -> None:
    project.conftest(TWO_MODELS, model=None)
    project.test("def test_arena(edge_model, edge_variant, edge_target): pass\n")
    collected = project.collected("--edge-target=nano33ble")
    expected = _each("nano33ble", prefix="digits-") + _each("nano33ble", prefix="letters-")
    assert sorted(collected) == sorted(expected)


@pytest.mark.parametrize("indirect", [True, False])
def test_a_model_by_a_marker_stands_in_front(project: Project, indirect: bool) -> None:
    project.conftest(
        "@pytest.fixture(scope='session')\ndef edge_model(request): return request.param\n",
        model=None,
    )
    project.test(
        "@pytest.mark.parametrize('edge_model', [DATA + '/tiny_int8.tflite'], ids=['digits'],"
        f" indirect={indirect})\n"
        "def test_it(edge_variant, edge_model): assert edge_variant.model_name == 'digits'\n"
    )
    # What a marker gives the test itself is known when it is collected.
    forms = MICRO if indirect else ["int8"]
    assert project.collected("--edge-target=nano33ble") == [f"digits-nano33ble-{f}" for f in forms]
    result = project.run("--edge-target=nano33ble", "--edge-variant=int8")
    result.assert_outcomes(passed=1)


def test_tests_without_our_fixtures_are_left_alone(project: Project) -> None:
    project.test(
        "@pytest.mark.parametrize('n', [1, 2])\ndef test_it(n): pass\n"
        "def test_model(edge_model): pass\n"
    )
    assert project.collected("--edge-target=nano33ble") == ["1", "2", "test_model"]


# -- the marker -----------------------------------------------------------------------------------


def test_the_marker_chooses_target_and_variant(project: Project) -> None:
    project.test("@pytest.mark.edge(target='pico', variant='int8')\n" + ARENA)
    assert project.collected("--edge-target=nano33ble") == ["pico-int8"]


def test_the_marker_takes_lists_and_commas(project: Project) -> None:
    project.test(
        "@pytest.mark.edge(target=['pico', 'rpi4'], variant='int8,uint8_io')\n" + ARENA,
    )
    assert sorted(project.collected()) == [
        "pico-int8",
        "pico-uint8_io",
        "rpi4-int8",
        "rpi4-uint8_io",
    ]


def test_the_marker_wins_over_the_variant_option(project: Project) -> None:
    project.test("@pytest.mark.edge(variant='int16x8')\n" + ARENA)
    assert project.collected("--edge-variant=int8") == ["host-int16x8"]


def test_the_marker_with_a_target_alone_keeps_that_targets_variants(project: Project) -> None:
    project.test("@pytest.mark.edge(target='rpi4')\n" + ARENA)
    assert project.collected("--edge-target=nano33ble") == _each("rpi4")


def test_the_marker_on_class_and_module_the_nearest_wins(project: Project) -> None:
    project.test(
        "pytestmark = pytest.mark.edge(target='pico')\n"
        "def test_module(edge_target): pass\n"
        "@pytest.mark.edge(target='rpi4')\n"
        "class TestIt:\n"
        "    def test_class(self, edge_target): pass\n"
        "    @pytest.mark.edge(target='nano33ble')\n"
        "    def test_own(self, edge_target): pass\n"
    )
    assert project.collected("--edge-target=esp32") == ["pico", "rpi4", "nano33ble"]


def test_the_marker_reaches_the_fixtures(project: Project) -> None:
    project.conftest()
    project.test(
        "@pytest.mark.edge(target='pico', variant='int8')\n"
        "def test_it(edge_variant, edge_target):\n"
        "    assert edge_target.name == edge_variant.target.name == 'pico'\n"
        "    assert edge_variant.name == 'int8'\n"
    )
    project.run("--edge-target=nano33ble").assert_outcomes(passed=1)


BAD_MARKERS = {
    "'pico'": "*test_bad*the marker edge takes target=... and variant=..., got 'pico'*",
    "targets='pico'": "*test_bad*the marker edge takes target=... and variant=..., got targets*",
    "target=3": "*test_bad*marker edge(target=...): expected a name or a list of names, got 3*",
}


@pytest.mark.parametrize("arguments", BAD_MARKERS)
def test_wrong_marker_arguments_are_one_clear_collection_error(
    project: Project, arguments: str
) -> None:
    project.test(f"@pytest.mark.edge({arguments})\ndef test_bad(edge_target): pass\n")
    project.test("def test_good(): pass\n", "test_other")
    result = project.run("--continue-on-collection-errors")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines([BAD_MARKERS[arguments]])
    assert "Traceback" not in failures(result)
    assert "site-packages" not in failures(result)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("target='nano33bel'", "*unknown target 'nano33bel'. Did you mean nano33ble*"),
        ("variant='int9'", "*unknown variant 'int9'. Did you mean int8*"),
    ],
)
def test_unknown_names_in_the_marker_are_a_collection_error_with_the_closest(
    project: Project, arguments: str, message: str
) -> None:
    project.test(f"@pytest.mark.edge({arguments})\ndef test_bad(edge_variant): pass\n")
    result = project.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([message])
    assert "site-packages" not in failures(result)


# -- the user's own parametrization ---------------------------------------------------------------

GIVEN = """
    assert isinstance(edge_variant, Variant)
    assert edge_variant.name == "int8"
    assert edge_variant.target == edge_target
    assert edge_target.name == "nano33ble"
"""
INT8 = "pytest.mark.parametrize('edge_variant', ['int8'])"
OWN = {
    "function": f"@{INT8}\ndef test_it(edge_variant, edge_target):{GIVEN}",
    "class": (
        f"@{INT8}\nclass TestIt:\n    def test_it(self, edge_variant, edge_target):"
        + GIVEN.replace("\n    ", "\n        ")
    ),
    "base class": (
        f"@{INT8}\nclass Base:\n    def test_it(self, edge_variant, edge_target):"
        + GIVEN.replace("\n    ", "\n        ")
        + "\nclass TestIt(Base): pass\n"
    ),
    "class attribute": (
        f"class TestIt:\n    pytestmark = {INT8}\n"
        "    def test_it(self, edge_variant, edge_target):" + GIVEN.replace("\n    ", "\n        ")
    ),
    "module": f"pytestmark = {INT8}\ndef test_it(edge_variant, edge_target):{GIVEN}",
    "module's list": f"pytestmark = [{INT8}]\ndef test_it(edge_variant, edge_target):{GIVEN}",
    "keywords": (
        "@pytest.mark.parametrize(argnames='edge_variant', argvalues=['int8'])\n"
        f"def test_it(edge_variant, edge_target):{GIVEN}"
    ),
    "indirect already": (
        "@pytest.mark.parametrize('edge_variant', ['int8'], indirect=True)\n"
        f"def test_it(edge_variant, edge_target):{GIVEN}"
    ),
    "pytest.param": (
        "@pytest.mark.parametrize('edge_variant', [pytest.param('int8', id='small')])\n"
        f"def test_it(edge_variant, edge_target):{GIVEN}"
    ),
    "without edge_target": (
        f"@{INT8}\ndef test_it(edge_variant):\n"
        "    assert isinstance(edge_variant, Variant)\n"
        "    assert edge_variant.target.name == 'nano33ble'\n"
    ),
    "beside another": (
        "@pytest.mark.parametrize('edge_variant, most', [('int8', '6 KiB')])\n"
        f"def test_it(edge_variant, edge_target, most):{GIVEN}"
        "    assert_size_within(edge_variant, most)\n"
    ),
    "by another spelling": (
        "@pytest.mark.parametrize('edge_variant', ['INT8'])\n"
        f"def test_it(edge_variant, edge_target):{GIVEN}"
    ),
    "target and variant": (
        "@pytest.mark.parametrize('edge_target, edge_variant', [('nano33ble', 'int8')])\n"
        f"def test_it(edge_variant, edge_target):{GIVEN}"
    ),
}


@pytest.mark.parametrize("place", OWN)
def test_own_parametrization_of_edge_variant_wins(project: Project, place: str) -> None:
    project.conftest()
    project.test(OWN[place])
    result = project.run("--edge-target=nano33ble")
    result.assert_outcomes(passed=1)


def test_own_parametrization_shows_in_the_id(project: Project) -> None:
    project.test(OWN["function"])
    assert project.collected("--edge-target=nano33ble,pico") == ["int8-nano33ble", "int8-pico"]


def test_own_parametrization_may_name_a_variant_that_the_target_refuses(project: Project) -> None:
    """It is a request by name: never dropped, handed out, and failed by what is asked of it."""
    project.conftest(model="tiny_dynamic_range")
    project.test(
        "@pytest.mark.parametrize('edge_variant', ['dynamic_range'])\n"
        "def test_it(edge_variant): assert_size_within(edge_variant, '1 MiB')\n"
    )
    result = project.run("--edge-target=nano33ble")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*CannotRun:*cannot run on nano33ble*hybrid kernels*"])


def test_own_parametrization_of_edge_target_wins(project: Project) -> None:
    project.conftest()
    project.test(
        "@pytest.mark.parametrize('edge_target', ['pico', 'esp32'])\n"
        "def test_it(edge_target, edge_int8):\n"
        "    assert isinstance(edge_target, Target)\n"
        "    assert edge_int8.target == edge_target\n"
    )
    assert project.collected("--edge-target=nano33ble") == ["pico", "esp32"]
    project.run("--edge-target=nano33ble").assert_outcomes(passed=2)


def test_own_parametrization_of_edge_target_on_a_class(project: Project) -> None:
    project.conftest()
    project.test(
        "@pytest.mark.parametrize('edge_target', ['pico'])\n"
        "class TestIt:\n"
        "    def test_it(self, edge_variant, edge_target):\n"
        "        assert edge_variant.target == edge_target == load_target('pico')\n"
    )
    result = project.run("--edge-target=nano33ble", "--edge-variant=int8")
    result.assert_outcomes(passed=1)


def test_own_target_with_our_variants_has_those_of_the_own_target(project: Project) -> None:
    project.test("@pytest.mark.parametrize('edge_target', ['rpi4', 'nano33ble'])\n" + ARENA)
    assert sorted(project.collected()) == sorted(_each("rpi4", "nano33ble"))


def test_targets_and_variants_may_be_given_as_records(project: Project) -> None:
    project.conftest()
    project.test(
        "@pytest.mark.parametrize('edge_target', [load_target('pico')], ids=['pico'])\n"
        "def test_it(edge_target, edge_int8): assert edge_int8.target.name == 'pico'\n"
    )
    project.run().assert_outcomes(passed=1)


def test_a_wrong_name_in_own_parametrization_is_one_clear_error(project: Project) -> None:
    project.conftest()
    project.test(
        "@pytest.mark.parametrize('edge_variant', ['int9'])\n"
        "def test_it(edge_variant): pass\n"
        "def test_other(edge_int8): pass\n"
    )
    result = project.run()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*unknown variant 'int9'. Did you mean int8*"])


def test_another_plugins_parametrization_is_not_touched(project: Project) -> None:
    project.conftest()
    project.test(
        "@pytest.mark.parametrize('n', [1, 2])\n"
        "@pytest.mark.parametrize('edge_variant', ['int8'])\n"
        "def test_it(edge_variant, n): assert n in (1, 2)\n"
    )
    project.run("--edge-target=nano33ble").assert_outcomes(passed=2)

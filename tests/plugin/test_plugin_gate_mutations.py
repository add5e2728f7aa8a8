"""The mutation test of the gate on whole runs: one byte or one letter, and the run is not green."""

from __future__ import annotations

import pytest
from edge_project import DATA, Project

SIZE = (DATA / "tiny_int8.tflite").stat().st_size
GATED = "def test_it(edge_int8): assert_size_within(edge_int8, '{limit} B')\n"


def test_one_byte_more_than_the_baseline(project: Project) -> None:
    model = project.path / "model.tflite"
    content = (DATA / "tiny_int8.tflite").read_bytes()
    model.write_bytes(content)
    project.conftest(
        f"@pytest.fixture\ndef edge_model(): return {str(model)!r}\n", model=None, calibration=False
    )
    project.write("pyproject.toml", "[tool.edgequant.regression]\nsize = { max_growth = 0 }\n")
    project.test(GATED.format(limit=SIZE + 1))
    assert project.run("--edge-save-baseline=base.json").ret == 0
    assert project.run("--edge-baseline=base.json").ret == 0
    model.write_bytes(content + b"\0")
    result = project.run("--edge-baseline=base.json")
    assert result.ret == 1
    result.stdout.fnmatch_lines([f"*{SIZE:,} B -> {SIZE + 1:,} B (+1 B*"])


@pytest.mark.parametrize("rule", ["sie", "siize", "szie"])
def test_a_rule_for_no_figure(rule: str, project: Project) -> None:
    project.conftest()
    project.test(GATED.format(limit=SIZE))
    assert project.run("--edge-save-baseline=base.json").ret == 0
    for name, fine in (("size", True), (rule, False)):
        project.write(
            "pyproject.toml", f"[tool.edgequant.regression]\n{name} = {{ max_growth = 0 }}\n"
        )
        assert (project.run("--edge-baseline=base.json").ret == 0) is fine


def test_one_byte_more_than_a_limit(project: Project) -> None:
    project.conftest()
    for limit, code in ((SIZE, 0), (SIZE - 1, 1)):
        project.test(GATED.format(limit=limit))
        assert project.run("--edge-target=nano33ble").ret == code


@pytest.mark.parametrize(
    "fine, broken",
    [
        ("--edge-target=nano33ble", "--edge-target=nano33bel"),
        ("--edge-target=nano33ble", "--edge-traget=nano33ble"),
        ("--edge-variant=int8", "--edge-variant=in8"),
        ("--edge-variant=int8", "--edge-varaint=int8"),
        ("--edge-report=out.json", "--edge-report=out.jsno"),
        ("--edge-strict", "--edge-strct"),
    ],
)
def test_a_letter_on_the_command_line(fine: str, broken: str, project: Project) -> None:
    project.conftest()
    project.test(GATED.format(limit=SIZE))
    assert project.run(fine).ret == 0
    assert project.run(broken).ret == pytest.ExitCode.USAGE_ERROR


@pytest.mark.parametrize(
    "file, fine, broken, said",
    [
        (
            "pyproject.toml",
            '[tool.edgequant]\ntarget = "pico"\n',
            '[tool.edgequnt]\ntarget = "pico"\n',
            "did you mean [[]tool.edgequant[]]?",
        ),
        (
            "pyproject.toml",
            '[tool.edgequant]\ntarget = "pico"\n',
            '[tool.edgequant]\ntraget = "pico"\n',
            "Did you mean target",
        ),
        (
            "pyproject.toml",
            '[tool.edgequant]\ntarget = "pico"\n',
            '[tool.edgequant]\ntarget = "pcio"\n',
            "Did you mean pico",
        ),
        (
            "pytest.ini",
            "[pytest]\nedge_target = pico\n",
            "[pytest]\nedge_traget = pico\n",
            "target",
        ),
        ("pytest.ini", "[pytest]\nedge_target = pico\n", "[pytest]\nedgetarget = pico\n", "target"),
        ("pytest.ini", "[pytest]\nedge_strict = true\n", "[pytest]\nedge_strct = true\n", "strict"),
    ],
)
def test_a_letter_in_a_file(file: str, fine: str, broken: str, said: str, project: Project) -> None:
    project.conftest()
    project.test(GATED.format(limit=SIZE))
    project.write(file, fine)
    assert project.run().ret == 0
    project.write(file, broken)
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{said}*"])


@pytest.mark.parametrize(
    "fine, broken",
    [
        ("@pytest.mark.edge(variant='int8')", "@pytest.mark.edge(varaint='int8')"),
        ("@pytest.mark.edge(variant='int8')", "@pytest.mark.edge(variant='in8')"),
        ("@pytest.mark.edge(target='pico')", "@pytest.mark.edge(target='pcio')"),
        (
            "@pytest.mark.parametrize('edge_variant', ['int8'])",
            "@pytest.mark.parametrize('edge_variant', ['itn8'])",
        ),
        (
            "@pytest.mark.parametrize('edge_target', ['pico'])",
            "@pytest.mark.parametrize('edge_target', ['pioc'])",
        ),
    ],
)
def test_a_letter_in_a_marker(fine: str, broken: str, project: Project) -> None:
    project.conftest()
    body = "\ndef test_it(edge_variant, edge_target): assert_size_within(edge_variant, '1 MiB')\n"
    project.test(fine + body)
    assert project.run().ret == 0
    project.test(broken + body)
    assert project.run().ret not in (0, 5)


def test_an_own_ini_value_that_is_like_ours_is_its_plugins_business(project: Project) -> None:
    project.conftest("def pytest_addoption(parser): parser.addini('edge_targets', 'of mine')\n")
    project.write("pytest.ini", "[pytest]\nedge_targets = pico\n")
    project.test(GATED.format(limit=SIZE))
    assert project.run().ret == 0


USES = """
def test_it(edge_int8, edge_dataset, edge_calibration, edge_metric, edge_preprocess):
    assert_size_within(edge_int8, "1 MiB")
"""


@pytest.mark.parametrize(
    "name, wrong",
    [
        ("edge_metric", "edge_metrc"),
        ("edge_metric", "edge_metrics"),
        ("edge_preprocess", "edge_preproces"),
        ("edge_calibration", "edge_calibraiton"),
    ],
)
@pytest.mark.parametrize("place", ["conftest", "test module"])
def test_a_letter_in_a_fixtures_name(name: str, wrong: str, place: str, project: Project) -> None:
    made = "\n@pytest.fixture(scope='session')\ndef {}(): return None\n"
    for each, red in ((name, False), (wrong, True)):
        fixture = made.format(each)
        project.conftest(fixture if place == "conftest" else "", calibration=False)
        project.test((fixture if place != "conftest" else "") + USES)
        result = project.run()
        assert (result.ret == 1) is red
        if red:
            result.stdout.fnmatch_lines([f"*defines the fixture '{wrong}', *Did you mean {name}?"])


def test_a_fixture_of_ones_own_that_a_test_asks_for_is_meant(project: Project) -> None:
    made = "\n@pytest.fixture(scope='session')\ndef edge_metrics(): return ['mae']\n"
    project.conftest(made)
    project.test(USES + "\ndef test_other(edge_metrics): pass\n")
    assert project.run().ret == 0
    assert project.run("-k", "test_it").ret == 0

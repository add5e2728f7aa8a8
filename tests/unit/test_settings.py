from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_edgequant.errors import SettingsError, UnknownNameError
from pytest_edgequant.settings import OPTIONS, Settings, read_section, resolve, split_names

CWD, ROOT = Path("/project/here"), Path("/project/root")
# For each option: as the command line, an ini file and TOML give it, and what that comes to.
GIVEN: dict[str, list[tuple[Any, Any]]] = {
    "target": [(["pico"], ("pico",)), (["esp32"], ("esp32",)), (["rpi4"], ("rpi4",))],
    "variant": [(["int8"], ("int8",)), (["float32"], ("float32",)), ("int16x8", ("int16x8",))],
    "report": [
        (["c.json"], (CWD / "c.json",)),
        (["i.json"], (ROOT / "i.json",)),
        ("t.json", (ROOT / "t.json",)),
    ],
    "baseline": [("c", CWD / "c"), ("i", ROOT / "i"), ("t", ROOT / "t")],
    "save_baseline": [("c", CWD / "c"), ("i", ROOT / "i"), ("t", ROOT / "t")],
    "baseline_optional": [(True, True), (False, False), (True, True)],
    "baseline_prune": [(True, True), (False, False), (True, True)],
    "strict": [(True, True), (False, False), (True, True)],
    "cache_dir": [("c", CWD / "c"), ("i", ROOT / "i"), ("t", ROOT / "t")],
    "no_cache": [(True, True), (False, False), (True, True)],
    "dense_per_channel": [(True, True), (False, False), (True, True)],
    "strip": [(True, True), (False, False), (True, True)],
    "arena_verify": [(True, True), (False, False), (True, True)],
    "device_results": [("c", CWD / "c"), ("i", ROOT / "i"), ("t", ROOT / "t")],
    "timeout": [("1", 1.0), ("2.5", 2.5), (3, 3.0)],
    "tflm_macs": [("5e9", 5_000_000_000), (1000, 1000), ("1", 1)],
}


def settings(
    cli: dict[str, Any] | None = None,
    ini: dict[str, Any] | None = None,
    section: dict[str, Any] | None = None,
) -> Settings:
    return resolve(cli or {}, ini or {}, section or {}, cwd=CWD, rootdir=ROOT)


def pyproject(folder: Path, text: str) -> Path:
    path = folder / "pyproject.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_option_is_tested_here() -> None:
    assert set(GIVEN) == {option.name for option in OPTIONS}


@pytest.mark.parametrize("name", GIVEN)
def test_the_command_line_wins_over_ini_and_ini_over_toml(name: str) -> None:
    (cli, by_cli), (ini, by_ini), (table, by_table) = GIVEN[name]
    assert getattr(settings({name: cli}, {name: ini}, {name: table}), name) == by_cli
    assert getattr(settings({}, {name: ini}, {name: table}), name) == by_ini
    assert getattr(settings({}, {}, {name: table}), name) == by_table


@pytest.mark.parametrize("name", GIVEN)
@pytest.mark.parametrize("nothing", [None, []])
def test_what_is_not_given_hides_nothing(name: str, nothing: object) -> None:
    (_, _), (ini, by_ini), (table, by_table) = GIVEN[name]
    assert getattr(settings({name: nothing}, {name: ini}, {}), name) == by_ini
    assert getattr(settings({name: nothing}, {name: nothing}, {name: table}), name) == by_table


def test_every_value_is_known_by_where_it_was_given() -> None:
    given = settings(
        {"target": ["pico"]}, {"target": ["rpi4"], "timeout": "3"}, {"variant": "int8"}
    )
    assert given.origins == {
        "target": "--edge-target",
        "timeout": "edge_timeout",
        "variant": "[tool.edgequant]: variant",
    }


@pytest.mark.parametrize("value", [",", [","], [" ", ""]])
def test_names_that_are_empty_are_refused(value: object) -> None:
    with pytest.raises(SettingsError, match="--edge-target: the name is empty"):
        settings({"target": value})


def test_nothing_given_anywhere_is_the_default() -> None:
    assert settings() == Settings()


def test_a_target_is_given_wherever_it_stands() -> None:
    assert settings({"target": ["pico"]}).target_given
    assert settings({}, {"target": ["pico"]}).target_given
    assert settings({}, {}, {"target": "pico"}).target_given
    assert not settings({"variant": ["int8"]}).target_given


@pytest.mark.parametrize(
    "value",
    [
        "pico, esp32,rpi4",
        ["pico", "esp32", "rpi4"],
        ["pico,esp32", "rpi4,", "pico"],
        "\npico\nesp32\nrpi4\n",
    ],
)
def test_names_are_separated_by_commas_or_lines_and_kept_once(value: object) -> None:
    assert split_names(value, "x") == ("pico", "esp32", "rpi4")


@pytest.mark.parametrize("value", [3, {"pico": 1}, ["pico", 3], None])
def test_what_is_no_list_of_names_is_refused(value: object) -> None:
    with pytest.raises(SettingsError, match="here: expected a name or a list of names"):
        split_names(value, "here")


def test_paths_are_relative_to_where_they_were_given() -> None:
    given = settings({"report": ["a.json", "/abs/b.json"]}, {"cache_dir": "cache"})
    assert given.report == (CWD / "a.json", Path("/abs/b.json"))
    assert given.cache_dir == ROOT / "cache"


@pytest.mark.parametrize("word, truth", [("on", True), ("Yes", True), ("0", False), ("off", False)])
def test_flags_are_words_too(word: str, truth: bool) -> None:
    assert settings({}, {"no_cache": word}).no_cache is truth


@pytest.mark.parametrize(
    "name, value, said",
    [
        ("timeout", 0, "timeout: expected a number of seconds above 0, got 0"),
        ("timeout", "soon", "timeout: expected a number of seconds above 0, got 'soon'"),
        ("timeout", float("nan"), "timeout: expected a number of seconds above 0"),
        ("timeout", float("inf"), "timeout: expected a number of seconds above 0"),
        ("timeout", True, "timeout: expected a number of seconds above 0"),
        ("tflm_macs", 0, "tflm_macs: expected a whole number above 0, got 0"),
        ("tflm_macs", "1.5", "tflm_macs: expected a whole number above 0, got '1.5'"),
        ("tflm_macs", "many", "tflm_macs: expected a whole number above 0, got 'many'"),
        ("no_cache", "maybe", "no_cache: expected true or false, got 'maybe'"),
        ("no_cache", 1, "no_cache: expected true or false, got 1"),
        ("cache_dir", ["a", "b"], "cache_dir: expected one path"),
        ("report", 3, "report: expected a path or a list of paths, got 3"),
        ("target", 3, "target: expected a name or a list of names, got 3"),
    ],
)
def test_a_wrong_value_names_its_key(name: str, value: object, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings({}, {}, {name: value})
    assert str(caught.value).startswith(f"[tool.edgequant]: {said}")


def test_a_wrong_value_names_the_flag_or_the_ini_key() -> None:
    with pytest.raises(SettingsError, match=r"^--edge-timeout: "):
        settings({"timeout": "x"})
    with pytest.raises(SettingsError, match=r"^edge_timeout: "):
        settings({}, {"timeout": "x"})


def test_targets_are_names_or_tables() -> None:
    with pytest.raises(SettingsError, match="targets must be names, or a table of tables"):
        settings({}, {}, {"targets": 3})
    assert settings({}, {}, {"targets": {"x": {}}}).user_targets == {"x": {}}
    named = settings({}, {}, {"targets": ["pico", "esp32"], "variants": "int8"})
    assert (named.target, named.user_targets, named.variant) == (("pico", "esp32"), None, ("int8",))
    assert named.origins["target"].endswith("targets")


def test_an_option_is_written_once() -> None:
    with pytest.raises(SettingsError, match="target and targets are the same: give one"):
        settings({}, {}, {"targets": ["pico"], "target": "esp32"})


def test_the_tables_of_baselines_are_read(tmp_path: Path) -> None:
    text = '[tool.edgequant.regression]\nsize = "2%"\n[[tool.edgequant.accepted]]\nmodel = "m"\n'
    given = settings({}, {}, dict(read_section(pyproject(tmp_path, text))))
    assert given.regression == {"size": "2%"}
    assert given.accepted == [{"model": "m"}]


def test_the_section_is_read_and_dashes_are_underscores(tmp_path: Path) -> None:
    path = pyproject(tmp_path, '[tool.edgequant]\ncache-dir = "c"\ntarget = ["pico", "esp32"]\n')
    given = settings({}, {}, dict(read_section(path)))
    assert given.cache_dir == ROOT / "c"
    assert given.target == ("pico", "esp32")


def test_no_file_and_no_section_are_nothing(tmp_path: Path) -> None:
    assert read_section(tmp_path / "pyproject.toml") == {}
    assert read_section(pyproject(tmp_path, "[tool.other]\nx = 1\n")) == {}
    assert read_section(pyproject(tmp_path, '[project]\nname = "my-edgequant-models"\n')) == {}


def test_an_unknown_key_gives_the_closest(tmp_path: Path) -> None:
    path = pyproject(tmp_path, '[tool.edgequant]\nvarient = "int8"\n')
    with pytest.raises(
        UnknownNameError, match=r"unknown key 'varient'\. Did you mean variant"
    ) as e:
        read_section(path)
    assert str(path) in str(e.value)


@pytest.mark.parametrize("text", ["tool.edgequant = 3\n", "[[tool.edgequant]]\n"])
def test_a_section_that_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match="must be a table"):
        read_section(pyproject(tmp_path, text))


def test_broken_toml_names_the_file(tmp_path: Path) -> None:
    path = pyproject(tmp_path, "[tool.edgequant\n")
    with pytest.raises(SettingsError, match="not valid TOML") as caught:
        read_section(path)
    assert str(path) in str(caught.value)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="can't be read"):
        read_section(tmp_path)

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

import pytest

from pytest_edgequant import load_target
from pytest_edgequant.conversion.registry import VARIANTS
from pytest_edgequant.errors import TargetError, UnknownNameError
from pytest_edgequant.names import fold
from pytest_edgequant.pipeline import Pipeline
from pytest_edgequant.records import UNVERIFIED, Figure, Target
from pytest_edgequant.targets import Targets, build_target
from pytest_edgequant.units import parse_size

FIGURES = ("clock", "flash", "sram", "flash_for_model", "sram_for_arena")
BUILTIN = sorted(
    entry.name.removesuffix(".toml")
    for entry in resources.files("pytest_edgequant.targets").iterdir()
    if entry.name.endswith(".toml")
)
WHERE = "[tool.edgequant]"


def own(**tables: Mapping[str, Any]) -> Targets:
    return Targets(tables)


def refused(**tables: Any) -> str:
    with pytest.raises(TargetError) as caught:
        Targets(tables)
    return str(caught.value)


def described(**changes: Any) -> dict[str, Any]:
    """A target without a base, changed."""
    table = dict.fromkeys(("title", "vendor", "soc", "core", "isa"), "x")
    return {**table, "runtime": "tflm", "kernels": "reference", **changes}


# -- the boards that come with the package ------------------------------------------------------


def test_the_boards_are_those_of_the_files() -> None:
    assert [target.name for target in Targets()] == BUILTIN


@pytest.mark.parametrize("name", BUILTIN)
def test_every_figure_of_a_board_has_a_source(name: str) -> None:
    target = Targets().get(name)
    figures = [f for f in (getattr(target, key) for key in FIGURES) if f is not None]
    assert all(figure.source.strip() for figure in figures)
    # An assumption must say how it comes about.
    assert all(figure.note for figure in figures if not figure.verified)


@pytest.mark.parametrize("name", BUILTIN)
def test_every_variant_is_run_or_refused_with_a_reason(name: str) -> None:
    target = Targets().get(name)
    assert set(target.variants) | set(target.refused) == set(VARIANTS) - {"as_is"}
    assert not set(target.variants) & set(target.refused)
    assert all(target.refused.values())


@pytest.mark.parametrize("name", BUILTIN)
def test_a_microcontroller_has_limits_and_others_have_no_arena(name: str) -> None:
    target = Targets().get(name)
    if target.is_microcontroller:
        limits = [key for key in FIGURES if key != "clock"]
        assert all(getattr(target, key) is not None for key in limits)
        assert "dynamic_range" in target.refused
    else:
        assert target.sram_for_arena is None


def test_the_boards_figures_are_read() -> None:
    nano = Targets().get("nano33ble")
    assert nano.clock is not None
    assert (nano.clock.value, nano.clock.verified) == (64_000_000, True)
    assert nano.flash is not None
    assert nano.flash.value == parse_size("960 KiB")
    assert nano.sram_for_arena is not None
    assert not nano.sram_for_arena.verified


@pytest.mark.parametrize("typed", ["nano33ble", "NANO_33-BLE", "Nano 33 BLE", "nano33blesense"])
def test_names_match_without_case_and_separators(typed: str) -> None:
    assert Targets().get(typed).name == "nano33ble"


def test_every_alias_leads_to_its_board() -> None:
    targets = Targets()
    for target in targets:
        assert {targets.get(alias).name for alias in (target.name, *target.aliases)} == {
            target.name
        }


def test_an_unknown_name_gives_the_closest() -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown target 'nano33bel'\. Did you mean nano33b"
    ):
        Targets().get("nano33bel")


def test_load_target_knows_the_targets_of_the_run(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "targets", own(mine={"base": "pico"}))
    assert load_target("Mine").name == "mine"
    with pytest.raises(UnknownNameError):
        load_target("yours")


# -- the user's own -----------------------------------------------------------------------------


def test_a_target_inherits_what_it_does_not_say() -> None:
    mine = own(mine={"base": "nano33ble", "sram_for_arena": "64 KiB"}).get("mine")
    nano = Targets().get("nano33ble")
    assert mine.sram_for_arena == Figure(65_536, WHERE)
    assert (mine.core, mine.flash, mine.refused) == (nano.core, nano.flash, nano.refused)
    assert mine.aliases == ()


@pytest.mark.parametrize("order", [("a", "b", "c"), ("c", "b", "a")])
def test_bases_chain_in_any_order(order: tuple[str, ...]) -> None:
    tables = {
        "a": {"base": "pico", "sram_for_arena": "10 KiB"},
        "b": {"base": "A", "title": "second"},
        "c": {"base": "b", "flash_for_model": 1000},
    }
    target = Targets({name: tables[name] for name in order}).get("c")
    assert target.sram_for_arena is not None
    assert target.flash_for_model is not None
    assert (target.title, target.sram_for_arena.value) == ("second", 10_240)
    assert (target.core, target.flash_for_model.value) == (Targets().get("pico").core, 1000)


@pytest.mark.parametrize(
    "tables, path",
    [
        ({"a": {"base": "b"}, "b": {"base": "a"}}, "a -> b -> a"),
        ({"a": {"base": "A"}}, "a -> a"),
    ],
)
def test_a_cycle_of_bases_is_told(tables: dict[str, Any], path: str) -> None:
    assert refused(**tables) == f"{WHERE}: targets.a: the bases form a cycle: {path}"


def test_an_unknown_base_gives_the_closest() -> None:
    said = refused(mine={"base": "nano33bel"})
    assert said.startswith(f"{WHERE}: targets.mine: base: unknown target 'nano33bel'. Did you mean")
    assert "base must be a target's name, got 3" in refused(mine={"base": 3})


def test_without_a_base_everything_has_to_be_said() -> None:
    assert own(mine=described()).get("mine").flash is None
    table = described()
    del table["core"]
    assert refused(mine=table).startswith(f"{WHERE}: targets.mine: core is missing; give it, or a ")


@pytest.mark.parametrize("name", ["pico", "Nano-33-BLE-Sense", "nano33blesense"])
def test_a_name_that_is_taken_is_refused(name: str) -> None:
    owner = Targets().get(name).name
    said = refused(**{name: {"base": "pico"}})
    assert f"the name is taken by the target '{owner}'" in said
    assert f'base = "{owner}"' in said


def test_an_alias_that_is_taken_is_refused() -> None:
    said = refused(mine={"base": "pico", "aliases": ["rpi-4"]})
    assert said == f"{WHERE}: targets.mine: the name 'rpi-4' is taken by the target 'rpi4'"


def test_two_names_that_differ_in_separators_only_clash() -> None:
    assert fold("my-board") == fold("my_board")
    said = refused(**{"my-board": {"base": "pico"}, "my_board": {"base": "pico"}})
    assert "the name 'my_board' is taken by the target 'my-board'" in said


def test_a_misspelt_key_gives_the_closest() -> None:
    said = refused(mine={"base": "pico", "sram_for_arean": "1 KiB"})
    assert said == (
        f"{WHERE}: targets.mine: unknown key 'sram_for_arean'; did you mean sram_for_arena?"
    )


@pytest.mark.parametrize("key", FIGURES)
@pytest.mark.parametrize(
    "value, said",
    [
        (-1, "-1 is negative"),
        ("-1 KiB", "can't read '-1 KiB'"),
        (0, "0 is no figure; leave the key out where there is no limit"),
        ("64 KB", "unknown unit 'KB'"),
        ("64 furlongs", "unknown unit 'furlongs'"),
        (True, "got True"),
        ({"value": 0, "source": "datasheet"}, "0 is no figure"),
        ({"source": "datasheet"}, "a figure has the keys value, source and note"),
        ({"value": 1, "souce": "datasheet"}, "a figure has the keys value, source and note"),
        ({"value": 1, "source": " "}, "a figure needs a source"),
        ({"value": 1, "source": "datasheet", "note": 3}, "note must be text, got 3"),
    ],
)
def test_an_impossible_figure_names_place_and_key(key: str, value: object, said: str) -> None:
    message = refused(mine={"base": "pico", key: value})
    assert message.startswith(f"{WHERE}: targets.mine: {key}: ")
    assert said in message


def test_a_board_of_the_package_needs_sources() -> None:
    with pytest.raises(TargetError, match=r"^targets/x\.toml: flash: a figure needs a source"):
        build_target("x", described(flash="1 MiB"), "targets/x.toml")
    table = described(flash={"value": "1 MiB", "source": UNVERIFIED})
    assert build_target("x", table, "targets/x.toml").flash == Figure(2**20, UNVERIFIED)


@pytest.mark.parametrize("part, whole", [("flash_for_model", "flash"), ("sram_for_arena", "sram")])
def test_no_more_can_be_left_than_there_is(part: str, whole: str) -> None:
    said = refused(mine=described(**{part: "2 KiB", whole: "1 KiB"}))
    assert said == f"{WHERE}: targets.mine: {part} (2,048 B) is more than {whole} (1,024 B)"
    assert own(mine=described(**{part: "1 KiB", whole: "1 KiB"})).get("mine")


@pytest.mark.parametrize(
    "key, value, said",
    [
        ("runtime", "onnx", "runtime 'onnx' is none of tflm, litert"),
        ("kernels", "blas", "kernels 'blas' is none of"),
        ("title", "", "title must be text"),
        ("core", 3, "core must be text, got 3"),
        ("aliases", "x", "aliases must be a list of strings"),
        ("variants", [3], "variants must be a list of strings"),
        ("refused", ["int8"], "refused must map variants to reasons"),
        ("requires_integer_io", "yes", "requires_integer_io must be true or false"),
        ("accelerator", 3, "accelerator must be text"),
    ],
)
def test_a_wrong_value_names_place_and_key(key: str, value: object, said: str) -> None:
    message = refused(mine={"base": "pico", key: value})
    assert message.startswith(f"{WHERE}: targets.mine: {said}")


def test_a_target_that_is_no_table_is_refused() -> None:
    assert refused(mine="pico") == f"{WHERE}: targets.mine must be a table, got 'pico'"


# -- what it runs -------------------------------------------------------------------------------


def variants_of(**table: Any) -> Target:
    return own(mine=table).get("mine")


def test_a_list_of_variants_refuses_the_others_with_a_reason() -> None:
    target = variants_of(base="nano33ble", variants=["int8"])
    assert target.variants == ("int8",)
    assert target.refused["float32"] == f"{WHERE}: targets.mine does not list it"
    assert "hybrid" in target.refused["dynamic_range"]


def test_a_reason_refuses_a_variant() -> None:
    target = variants_of(base="nano33ble", refused={"float32": "too slow"})
    assert "float32" not in target.variants
    assert target.refused["float32"] == "too slow"


def test_no_list_brings_back_what_the_runtime_refuses() -> None:
    message = refused(mine={"base": "pico", "variants": ["dynamic_range"]})
    assert "no variant is left that this target can run" in message


def test_another_runtime_runs_other_variants() -> None:
    target = variants_of(base="nano33ble", runtime="litert")
    assert "dynamic_range" in target.variants
    assert target.refused == {}


def test_a_pattern_stands_for_all_that_it_matches() -> None:
    targets = Targets({"mine": {"base": "pico"}})
    names = {target.name for target in targets.expand("stm32*")}
    assert {"stm32f407-disco", "nucleo-h743zi"} <= names  # by name, and by alias
    assert all(target.is_microcontroller for target in targets.expand("all-mcu"))
    everything = [target.name for target in targets.expand("all")]
    assert {"mine", "host", "rpi4", "pico"} <= set(everything)
    assert everything == sorted(everything)
    with pytest.raises(UnknownNameError, match="zx81"):
        targets.expand("zx81*")

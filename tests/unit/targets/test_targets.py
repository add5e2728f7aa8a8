# Over 400 lines: a table is read, described by the schema and found by its names as one thing.

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

import jsonschema
import pytest

from pytest_edgequant import load_target
from pytest_edgequant.errors import TargetError, UnknownNameError
from pytest_edgequant.forms import VARIANTS
from pytest_edgequant.names import fold
from pytest_edgequant.pipeline.pipeline import Pipeline
from pytest_edgequant.records import UNVERIFIED, Figure, Target
from pytest_edgequant.targets import KERNELS, Targets, build_target, known_keys
from pytest_edgequant.targets.profiles import RELEASES
from pytest_edgequant.targets.runtimes import RUNTIMES
from pytest_edgequant.toml import load_toml
from pytest_edgequant.units import parse_size

FIGURES = ("clock", "flash", "sram", "flash_after_firmware", "flash_for_model", "sram_for_arena")
BUILTIN = sorted(
    entry.name.removesuffix(".toml")
    for entry in resources.files("pytest_edgequant.targets").iterdir()
    if entry.name.endswith(".toml")
)
WHERE = "[tool.edgequant]"
FOLDER = resources.files("pytest_edgequant.targets")
SCHEMA = json.loads(FOLDER.joinpath("schema.json").read_text("utf-8"))


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


def breaches(table: Mapping[str, Any], *, part: str = "") -> list[str]:
    """Where a table breaks the schema, or one of its definitions."""
    schema = {"$ref": f"#/$defs/{part}", "$defs": SCHEMA["$defs"]} if part else SCHEMA
    validator = jsonschema.Draft202012Validator(schema)
    return [".".join(map(str, error.absolute_path)) for error in validator.iter_errors(table)]


# -- the boards that come with the package ------------------------------------------------------


def test_the_boards_are_those_of_the_files() -> None:
    assert [target.name for target in Targets()] == BUILTIN


@pytest.mark.parametrize("name", BUILTIN)
def test_every_file_keeps_to_the_schema(name: str) -> None:
    file = FOLDER.joinpath(f"{name}.toml")
    assert breaches(load_toml(file.read_bytes(), file.name), part="board") == []


@pytest.mark.parametrize("name", BUILTIN)
def test_every_figure_of_a_board_has_a_source(name: str) -> None:
    target = Targets().get(name)
    figures = [f for f in (getattr(target, key) for key in FIGURES) if f is not None]
    assert all(figure.source.strip() for figure in figures)
    # An assumption must say how it comes about.
    assert all(figure.note for figure in figures if not figure.verified)


LEFT = ("flash_after_firmware", "flash_for_model", "sram_for_arena")


def test_what_is_left_to_a_model_adds_up() -> None:
    """Notes of the form "1,000 less 300 (what for) and 200 (what for); more" give the value."""
    added = []
    for target in Targets():
        for figure in filter(None, (getattr(target, key) for key in LEFT)):
            note = re.sub(r"\([^)]*\)", "", figure.note).partition(";")[0]
            match = re.search(r"([\d,]+) less (.*)", note) if figure.verified else None
            if match is not None:
                numbers = [match[1], *re.findall(r"\b\d[\d,]{2,}\b", match[2])]
                whole, *parts = (int(number.replace(",", "")) for number in numbers)
                assert whole - sum(parts) == figure.value, (target.name, figure.note)
                added.append(target.name)
    assert len(added) >= 15


@pytest.mark.parametrize("name", BUILTIN)
def test_every_variant_is_run_or_refused_with_a_reason(name: str) -> None:
    target = Targets().get(name)
    # A form that runs as another is judged by that one.
    own = {spec.name for spec in VARIANTS.values() if spec.runs_as is None}
    assert set(target.variants) | set(target.refused) == own - {"as_is"}
    assert not set(target.variants) & set(target.refused)
    assert all(target.refused.values())


@pytest.mark.parametrize("name", BUILTIN)
def test_a_microcontroller_has_limits_and_others_have_no_arena(name: str) -> None:
    target = Targets().get(name)
    if target.is_microcontroller:
        given = {key for key in FIGURES if getattr(target, key) is not None}
        assert given | {"flash_after_firmware", "flash_for_model"} == set(FIGURES)
        assert len(given) == len(FIGURES) - 1
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
    # 256 KiB less vectors and crash data, interrupt stack, and globals of Mbed OS with BLE.
    assert nano.sram_for_arena.value == 262_144 - 512 - 2_048 - 71_792
    assert nano.sram_for_arena.verified
    pico = Targets().get("pico")
    assert pico.sram_for_arena is not None
    assert not pico.sram_for_arena.verified


@pytest.mark.parametrize("typed", ["nano33ble", "NANO_33-BLE", "Nano 33 BLE", "nano33blesense"])
def test_names_match_without_case_and_separators(typed: str) -> None:
    assert Targets().get(typed).name == "nano33ble"


TYPED = {
    "nano33ble": "Nano 33 BLE Sense Rev2, arduino_nano_33_ble_sense, nano33ble, Nano 33 BLE Rev2",
    "nano33iot": "nano_33_iot, Arduino Nano 33 IoT",
    "portenta-h7": "Portenta H7, portenta_h7_m7, arduino_portenta_h7",
    "nicla-vision": "nicla_vision, arduino_nicla_vision",
    "uno-r4": "UNO R4 WiFi, uno_r4_minima, arduino_uno_r4",
    "nano-esp32": "arduino_nano_esp32, nano_nora, Nano ESP32",
    "giga-r1": "Giga R1, giga_r1_m7, arduino_giga_r1",
    "esp32": "ESP32, esp32dev, esp32_devkitc",
    "esp32s2": "ESP32-S2, esp32-s2-saola-1",
    "esp32s3": "ESP32-S3, esp32s3, esp32s3_devkitc, esp32-s3-devkitc-1",
    "esp32c3": "ESP32-C3, esp32c3_devkitm",
    "esp32c6": "ESP32-C6, esp32c6_devkitc",
    "esp32p4": "ESP32-P4, esp32p4_function_ev_board, esp32-p4-evboard",
    "pico": "rpi_pico, rpipico, RP2040, Raspberry Pi Pico",
    "pico-w": "rpipicow, picow, Pico W",
    "pico2": "pico2, rpi_pico2, rpipico2, RP2350",
    "stm32f407-disco": "stm32f4_disco, disco_f407vg, STM32F407",
    "nucleo-f411re": "nucleo_f411re, STM32F411",
    "stm32f746-disco": "stm32f746g_disco, disco_f746ng, STM32F746",
    "nucleo-h743zi": "nucleo_h743zi, STM32H743",
    "nucleo-l4r5zi": "nucleo-l4r5zi, STM32L4R5ZI, Nucleo_L4R5ZI",
    "nucleo-l476rg": "nucleo_l476rg, STM32L476",
    "b-u585i-iot02a": "b_u585i_iot02a, disco_b_u585i_iot02a, STM32U585",
    "nucleo-n657x0-q": "nucleo_n657x0_q, STM32N657, stm32n6",
    "nucleo-wb55rg": "nucleo_wb55rg, STM32WB55, nucleo_wb55rg_p",
    "teensy40": "Teensy 4.0, teensy40",
    "teensy41": "Teensy 4.1, teensy41",
    "xiao-esp32s3": "seeed_xiao_esp32s3, xiao_esp32s3, XIAO ESP32S3 Sense",
    "xiao-nrf52840": "xiao_ble, xiaoble, xiaoblesense, seeed_xiao_nrf52840, XIAO nRF52840 Sense",
    "wio-terminal": "wio_terminal, seeed_wio_terminal",
    "sparkfun-edge": "SparkFun Edge, sparkfun_edge",
    "microbit-v2": "microbit-v2, bbc_microbit_v2, bbcmicrobit_v2, micro bit v2",
    "nrf5340dk": "nRF5340, nrf5340dk/nrf5340/cpuapp, nrf5340dk_nrf5340_cpuapp",
    "xg24-dk2601b": "xg24_dk2601b, EFR32xG24",
    "ek-ra6m4": "ek-ra6m4, ek_ra6m4, RA6M4",
    "max78000": "MAX78000, max78000evkit",
    "grove-vision-ai-v2": "Grove Vision AI V2, Himax WE2, WiseEye2",
    "alif-e7-dk": "Alif E7, alif_e7_dk, Ensemble E7",
    "coral-dev-board-micro": "Coral Dev Board Micro, coral-micro",
    "coral-usb": "Coral USB Accelerator, coral-usb",
    "rpi-zero-2w": "Raspberry Pi Zero 2 W, rpi-zero-2-w",
    "rpi3bplus": "rpi3b+, Raspberry Pi 3B+, rpi3",
    "rpi4": "rpi4, Raspberry Pi 4, pi4",
    "rpi5": "rpi5, Raspberry Pi 5",
    "jetson-nano": "Jetson Nano, nvidia-jetson-nano",
    "host": "host",
}


@pytest.mark.parametrize("name", TYPED)
def test_the_names_that_people_type(name: str) -> None:
    targets = Targets()
    assert {targets.get(typed).name for typed in TYPED[name].split(", ")} == {name}


def test_every_board_is_found_by_a_name_that_people_type() -> None:
    assert sorted(TYPED) == BUILTIN


@pytest.mark.parametrize(
    "name, accelerator",
    [
        ("grove-vision-ai-v2", "ethos-u55-64"),
        ("alif-e7-dk", "ethos-u55-256"),
        ("coral-dev-board-micro", "edgetpu"),
        ("coral-usb", "edgetpu"),
    ],
)
def test_an_accelerator_leaves_its_cpu_what_it_ran(name: str, accelerator: str) -> None:
    target = Targets().get(name)
    assert target.accelerator == accelerator
    assert {"int8", "int8_float_io", "uint8_io"} <= set(target.variants)
    # With a CPU that TFLM runs on, the rest stays; the USB stick has none of its own.
    own_cpu = target.is_microcontroller
    assert [v in target.variants for v in ("float32", "int16x8")] == [own_cpu, own_cpu]


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


@pytest.mark.parametrize(
    "part, whole",
    [
        ("flash_after_firmware", "flash"),
        ("flash_for_model", "flash"),
        ("sram_for_arena", "sram"),
    ],
)
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
        ("accelerator", "npu", "accelerator 'npu' is neither edgetpu nor like ethos-u55-128"),
    ],
)
def test_a_wrong_value_names_place_and_key(key: str, value: object, said: str) -> None:
    message = refused(mine={"base": "pico", key: value})
    assert message.startswith(f"{WHERE}: targets.mine: {said}")


def test_a_target_that_is_no_table_is_refused() -> None:
    assert refused(mine="pico") == f"{WHERE}: targets.mine must be a table, got 'pico'"


# -- the schema ---------------------------------------------------------------------------------


def test_the_schema_is_that_of_the_code() -> None:
    keys = SCHEMA["$defs"]["keys"]["properties"]
    assert set(keys) == set(known_keys())
    assert set(keys["runtime"]["enum"]) == set(RUNTIMES)
    assert set(keys["kernels"]["enum"]) == set(KERNELS)
    assert set(keys["release"]["enum"]) == set(RELEASES)
    assert set(SCHEMA["$defs"]["variant"]["enum"]) == set(VARIANTS) - {"as_is"}


@pytest.mark.parametrize(
    "table",
    [
        {"base": "nano33ble", "sram_for_arena": "64 KiB", "requires_integer_io": True},
        {"base": "host", "flash": 65_536, "clock": "48 MHz", "aliases": ["ours"]},
        {"base": "host", "sram": {"value": "25.4 KiB", "source": "datasheet", "note": "half"}},
        {"base": "esp32", "variants": ["int8"], "refused": {"float32": "too slow"}},
        {"base": "alif-e7", "accelerator": "ethos-u55-128"},
        described(flash="1 MiB"),
    ],
)
def test_what_the_schema_takes_the_code_takes(table: dict[str, Any]) -> None:
    assert breaches(table) == []
    assert own(mine=table).get("mine")


@pytest.mark.parametrize(
    "table, where",
    [
        ({"base": "pico", "sram_for_arean": "1 KiB"}, ""),
        ({"title": "no base and nothing else"}, ""),
        ({"base": "pico", "flash": 0}, "flash"),
        ({"base": "pico", "flash": -1}, "flash"),
        ({"base": "pico", "flash": "64 KB"}, "flash"),
        ({"base": "pico", "clock": "64 KiB"}, "clock"),
        ({"base": "pico", "sram": {"source": "datasheet"}}, "sram"),
        ({"base": "pico", "sram": {"value": 1, "souce": "datasheet"}}, "sram"),
        ({"base": "pico", "runtime": "onnx"}, "runtime"),
        ({"base": "pico", "variants": ["int4"]}, "variants.0"),
        ({"base": "pico", "title": " "}, "title"),
        ({"base": "pico", "accelerator": "ethos-u55"}, "accelerator"),
        ({"base": "pico", "requires_integer_io": "yes"}, "requires_integer_io"),
    ],
)
def test_what_the_schema_refuses_the_code_refuses(table: dict[str, Any], where: str) -> None:
    assert where in breaches(table)
    with pytest.raises((TargetError, UnknownNameError)):
        Targets({"mine": table})


BOARD = {
    **described(),
    **{
        key: {"value": 1, "source": UNVERIFIED, "note": "assumed"}
        for key in FIGURES
        if key != "flash_for_model"
    },
}


@pytest.mark.parametrize(
    "change",
    [
        {"flash": "1 MiB"},
        {"flash": {"value": "1 MiB"}},
        {"flash": {"value": "1 MiB", "source": UNVERIFIED}},
        {"flash": {"value": "1 MiB", "source": "somewhere"}},
        {"flash": {"value": "1 MiB", "source": "owner/repo@main: file (key)"}},
        {"flash": {"value": "1 MiB", "source": "owner/repo@0123456789ab: file"}},
        {"base": "pico"},
        {"accelerator": "npu"},
        {"flash_for_model": {"value": 1, "source": UNVERIFIED, "note": "one of the two"}},
    ],
)
def test_a_board_of_the_package_keeps_to_more(change: dict[str, Any]) -> None:
    assert breaches(BOARD, part="board") == []
    assert breaches({**BOARD, **change}, part="board") != []


@pytest.mark.parametrize("key", [key for key in FIGURES if key in BOARD])
def test_a_microcontroller_of_the_package_has_every_figure(key: str) -> None:
    table = {name: value for name, value in BOARD.items() if name != key}
    assert breaches(table, part="board") != []


def test_what_is_left_to_the_model_alone_wins() -> None:
    tables = {
        "a": {"base": "pico", "flash_for_model": "10 KiB"},
        "b": {"base": "a"},
        "c": {"base": "a", "flash_after_firmware": "200 KiB"},
    }
    targets = own(**tables)
    for name, alone, shared in (("b", 10, 1920), ("c", None, 200)):
        target = targets.get(name)
        assert target.flash_after_firmware is not None
        assert target.flash_after_firmware.value == shared * 1024
        assert (target.flash_for_model and target.flash_for_model.value) == (alone and alone * 1024)


@pytest.mark.parametrize("age", ["2024", "24-08", "2024-13", "August 2024", 2024, "2024-08-32"])
def test_an_age_of_tflm_that_is_none_is_refused(age: Any) -> None:
    assert 'as "2024-08" or "2024-08-15"' in refused(mine={"base": "pico", "tflm": age})


def test_a_target_says_what_its_firmware_has() -> None:
    table = {"base": "pico", "tflm": "2024-08-15", "custom_operators": ["Mine"]}
    target = own(mine=table, mine2={"base": "mine"}).get("mine2")
    assert (target.tflm, target.custom_operators) == ("2024-08-15", ("Mine",))
    assert "must be a list of strings" in refused(mine={"base": "pico", "custom_operators": "x"})
    assert "release 'chirale' is none of " in refused(mine={"base": "pico", "release": "chirale"})


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
    target = variants_of(base="rpi4", runtime="tflm", kernels="reference")
    assert "dynamic_range" not in target.variants
    assert "hybrid" in target.refused["dynamic_range"]
    back = own(tflm={"base": "rpi4", "runtime": "tflm"}, mine={"base": "tflm", "runtime": "litert"})
    assert back.get("mine").variants == Targets().get("rpi4").variants


@pytest.mark.parametrize(
    "table, reason",
    [
        ({"base": "nano33ble"}, "the core 'cortex-m4' is a microcontroller's"),
        ({"base": "esp32s3"}, "the core 'xtensa-lx7'"),
        ({"base": "esp32c3"}, "the core 'riscv32'"),
        ({"base": "pico", "kernels": "xnnpack", "core": "-"}, "ARMv6-M"),
        ({"base": "rpi4", "core": "Cortex M33"}, "the core 'Cortex M33'"),
        ({"base": "rpi4", "core": "cortex_r52"}, "the core 'cortex_r52'"),
        ({"base": "rpi4", "kernels": "cmsis-nn"}, "the kernels 'cmsis-nn' are TFLM's"),
        ({"base": "rpi4", "sram_for_arena": "64 KiB"}, "sram_for_arena (65,536 B)"),
        (described(core="AVR"), "the core 'AVR'"),
        (described(isa="RV32IMC, no FPU"), "the instruction set 'RV32IMC, no FPU'"),
        (described(isa="ARMv8.1-M, FPU, Helium (MVE)", core="m55"), "the instruction set"),
    ],
)
def test_a_microcontroller_can_not_run_litert(table: dict[str, Any], reason: str) -> None:
    message = refused(mine={**table, "runtime": "litert"})
    assert message.startswith('[tool.edgequant]: targets.mine: runtime = "litert" needs an')
    assert reason in message
    assert 'Use runtime = "tflm"' in message


def test_a_runtime_that_a_base_brings_is_named_as_such() -> None:
    message = refused(mine={"base": "rpi4", "core": "cortex-m7"})
    assert "runtime = \"litert\" (from the base 'rpi4')" in message
    chain = {"first": {"base": "rpi4"}, "mine": {"base": "first", "core": "cortex-m7"}}
    assert "(from the base 'first')" in refused(**chain)


@pytest.mark.parametrize(
    "core, isa",
    [("cortex-a55", "ARMv8.2-A, NEON"), ("riscv64", "RV64GC"), ("x86_64", "-"), ("mips", "-")],
)
def test_any_other_core_may_run_litert(core: str, isa: str) -> None:
    table = described(core=core, isa=isa, runtime="litert", kernels="xnnpack")
    assert own(mine=table).get("mine").runtime == "litert"


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


@pytest.mark.parametrize(
    "typed, first",
    [
        ("nano", "nano33ble"),
        ("esp", "esp32"),
        ("rpi", "rpi4"),
        ("arduino", "nano33ble"),
        ("raspberry", "rpi4"),
        ("mcu", "all-mcu"),
        ("all-mcus", "all-mcu"),
        ("all_microcontroller", "all-mcu"),
        ("alll", "all"),
        ("all-bords", "all"),
        ("nano33bel", "nano33ble"),
        ("uno", "uno-r4"),
    ],
)
def test_suggestions_know_groups_and_what_is_typed_most(typed: str, first: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        Targets().expand(typed)
    suggested = str(caught.value).partition("Did you mean ")[2].rstrip("?").split(", ")
    assert suggested[0] == first
    assert len(set(suggested)) == len(suggested)
    # A base, or load_target, takes no groups.
    with pytest.raises(UnknownNameError) as alone:
        Targets().get(typed)
    assert not {"all", "all-mcu"} & set(re.split(r"[ ,?]+", str(alone.value)))


def test_own_targets_are_suggested_too() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean our-board"):
        Targets({"our-board": {"base": "pico"}}).expand("our")

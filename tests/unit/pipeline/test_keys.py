"""What changes a result is in its key, and what does not is not."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_edgequant.api.convert import load_variant
from pytest_edgequant.conversion.calibration import Calibration, read_calibration
from pytest_edgequant.conversion.order import Converted, Order
from pytest_edgequant.conversion.qat.recipe import Training, read_training
from pytest_edgequant.errors import ConversionError, IsolatedProcessError
from pytest_edgequant.forms import get_spec
from pytest_edgequant.measure.evaluation import processor
from pytest_edgequant.measure.evaluation.engine import Engine
from pytest_edgequant.pipeline.keys import conversion_key
from pytest_edgequant.pipeline.pipeline import Pipeline

Tiny = Mapping[str, Path]
X = np.linspace(-1, 1, 480, dtype=np.float32).reshape(120, 4)


class Source:
    """A model file that gives a form of the small model, or refuses to."""

    fingerprint = "the same"
    default_name = "m"
    quantizable = True

    def __init__(self, where: str, content: bytes | None, **toolchain: str) -> None:
        self.where = where
        self.content = content
        self.toolchain = toolchain

    def is_form(self, spec: Any) -> bool:
        return False

    def check_derivable(self, spec: Any) -> None:
        pass

    def describe(self, process: Any) -> Any:
        raise NotImplementedError

    def convert(self, process: Any, order: Any) -> Converted:
        if self.content is None:
            raise ConversionError(f"{self.where}: refused")
        return Converted(self.content)


def key(
    form: str = "float32",
    calibration: Calibration | None = None,
    per_channel: bool = False,
    training: Training | None = None,
    **toolchain: str,
) -> str:
    source = Source("m", b"", **toolchain)
    return conversion_key(source, Order(get_spec(form), calibration, per_channel, training))


@pytest.mark.parametrize(
    ("form", "per_channel", "expected"),
    [
        ("float32", False, "413ff9a824f4f9cd0dc574d6c38da47d92615b8fa368ffa1920f0f25a24ff535"),
        ("float16", True, "916d42cb9c810accce0fa4a3912e8d765c976345a2a82a1534070e00264daa1d"),
        ("dynamic_range", True, "d5df9a68819953c8d002badceba0afe74e713c7fccd80e4046e76d999dc68c22"),
    ],
)
def test_keys_are_those_of_caches_that_are_in_use(
    form: str, per_channel: bool, expected: str
) -> None:
    """They change with REVISION alone: else each cache would be filled anew for nothing."""
    assert key(form, per_channel=per_channel, tensorflow="2.21", keras="3.12") == expected


def test_a_failure_names_the_file_that_was_asked_for(fresh_pipeline: Pipeline) -> None:
    for where in ("one.keras", "other.keras", "one.keras"):
        with pytest.raises(ConversionError, match=f"^{where}"):
            fresh_pipeline.conversions.variant(Source(where, None), Order(get_spec("float32")))


def test_notes_are_of_the_calibration_that_was_given(fresh_pipeline: Pipeline, tiny: Tiny) -> None:
    source = Source("m", tiny["float32"].read_bytes())
    calibration = read_calibration(X)
    for notes in (("few classes",), (), ("first 10 alone",), ("few classes",)):
        given = dataclasses.replace(calibration, notes=notes)
        made = fresh_pipeline.conversions.variant(source, Order(get_spec("float32"), given))
        assert made.notes == notes
    assert fresh_pipeline.converted == 1


def test_samples_from_elsewhere_make_other_notes() -> None:
    one = read_calibration(X)
    other = dataclasses.replace(one, origin="the split of edge_dataset")
    assert key("int8", one) != key("int8", other)
    assert key("int8", one) == key("int8", read_calibration(X.copy()))
    assert key("int8", one) != key("int8", read_calibration(X[::-1]))


@pytest.mark.parametrize(("form", "differs"), [("float32", False), ("float16", False)])
def test_forms_without_quantized_weights_know_no_channels(form: str, differs: bool) -> None:
    assert (key(form, per_channel=True) != key(form)) == differs


@pytest.mark.parametrize("form", ["int8", "int16x8", "dynamic_range"])
def test_quantized_weights_may_be_per_channel(form: str) -> None:
    assert key(form, per_channel=True) != key(form)


def test_a_newer_converter_makes_another_file() -> None:
    assert key(tensorflow="2.20") != key(tensorflow="2.21")


@pytest.mark.parametrize("switch", ["0", "1", None])
def test_training_depends_on_how_tensorflow_computes(
    switch: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = read_training((X, np.arange(120) % 2))
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "off")
    before, untrained = key("qat_int8", training=training), key("int8")
    if switch is None:
        monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    else:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", switch)
    assert key("qat_int8", training=training) != before
    assert key("int8") == untrained


def flags(monkeypatch: pytest.MonkeyPatch, *names: str) -> Any:
    monkeypatch.setattr(processor, "instructions", lambda: frozenset(names))
    processor.machine.cache_clear()
    found = processor.machine()
    processor.machine.cache_clear()
    return found


def test_a_processor_is_known_by_what_it_computes_with(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = flags(monkeypatch, "avx2", "fma", "sse4_2")
    assert flags(monkeypatch, "fma", "sse4_2", "avx2", "ibrs", "hypervisor", "md_clear") == plain
    assert flags(monkeypatch, "avx2", "fma", "sse4_2", "avx512f") != plain
    assert flags(monkeypatch, "avx2", "sse4_2") != plain


def test_a_process_that_hung_once_is_asked_again(
    tmp_path: Path, tiny: Tiny, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    variant = load_variant(tiny["int8"])

    def hang(self: Engine, *_: Any) -> None:
        raise IsolatedProcessError("it took longer than 1 s")

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "_load", hang)
        first = Pipeline(tmp_path)
        assert first.engine.refusal(variant, "litert") == "it took longer than 1 s"
        first.close()
    second = Pipeline(tmp_path)
    assert second.engine.refusal(variant, "litert") is None
    second.close()

"""The variants of a source: from memory, from the cache, or converted now; each made once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pytest_edgequant.cache import Cache, Entry, digest
from pytest_edgequant.conversion.built import build_variant
from pytest_edgequant.conversion.order import Converted, Order
from pytest_edgequant.conversion.source import Source
from pytest_edgequant.conversion.tflite_source import TFLiteFile
from pytest_edgequant.errors import EdgeQuantError
from pytest_edgequant.forms import VariantSpec, family_members
from pytest_edgequant.isolation import IsolatedProcess
from pytest_edgequant.pipeline.keys import conversion_key
from pytest_edgequant.progress import Progress, silent
from pytest_edgequant.records import Variant
from pytest_edgequant.tflite.model import TFLiteModel

if TYPE_CHECKING:
    from pytest_edgequant.pipeline.descriptions import Descriptions


class Conversions:
    """Carries out orders; `count` tells how many conversions that took."""

    def __init__(
        self,
        cache: Callable[[], Cache],
        process: IsolatedProcess,
        descriptions: Callable[[], Descriptions],
        progress: Progress,
    ) -> None:
        self.count = 0
        self._cache = cache
        self._process = process
        self._descriptions = descriptions
        self._progress = progress
        self._variants: dict[str, Variant] = {}
        self._failures: dict[tuple[str, str], EdgeQuantError] = {}

    def variant(self, source: Source, order: Order) -> Variant:
        """The variant that was ordered; a file that is it already is taken as it is.

        Raises `ConversionError`, `CalibrationError`, `TrainingError`, `MissingExtraError`; the
        same again where the same order failed before.
        """
        if isinstance(source, TFLiteFile) and source.is_form(order.spec):
            return self._as_is(source, order.spec)
        family_key = conversion_key(source, order)
        key = digest(family_key, order.spec.name)
        known = self._variants.get(key)
        if known is None:
            failure = self._failures.get((key, source.where))
            if failure is not None:
                raise failure
            known = self._kept_or_made(source, order, family_key, key)
            self._variants[key] = known
        # The calibration's notes are of this order, and not of the file.
        notes = order.calibration.notes if order.calibration else ()
        return dataclasses.replace(known, notes=(*notes, *known.notes))

    def _as_is(self, source: TFLiteFile, spec: VariantSpec) -> Variant:
        path = source.path
        if path is None:
            key = digest("bytes", source.fingerprint)
            entry = self._cache().get(key)
            if entry is None:
                entry = self._cache().put(key, source.model.content, {}, ".tflite")
            path = entry.path
        name = source.model.form if spec.name == "as_is" else spec.name
        return build_variant(name, source.model, path, {})

    def _kept_or_made(self, source: Source, order: Order, family_key: str, key: str) -> Variant:
        """What the cache has for an order, after a conversion where it had nothing."""

        def built(entry: Entry) -> Variant:
            _check_meta(entry.meta)
            model = TFLiteModel(entry.content, source.where)
            return build_variant(order.spec.name, model, entry.path, entry.meta)

        known = self._cache().value(key, built)
        if known is not None:
            return known
        with self._cache().lock(family_key):
            # Another process may have made it while this one waited.
            known = self._cache().value(key, built, again=True)
            if known is not None:
                return known
            try:
                converted = self._converted(source, order)
                return built(self._stored(converted, source, order, family_key))
            except EdgeQuantError as error:
                self._failures[key, source.where] = error
                raise

    def _converted(self, source: Source, order: Order) -> Converted:
        needed = order.spec.calibrated or isinstance(source, TFLiteFile)
        order = dataclasses.replace(
            order,
            description=self._descriptions().of(source) if needed else None,
            progress=self._progress,
        )
        what = f"converting {source.where} to {order.spec.family}"
        # A training shows its own progress, epoch by epoch.
        with silent(what) if order.training else self._progress(what):
            converted = source.convert(self._process, order)
        self.count += 1
        return converted

    def _stored(self, converted: Converted, source: Source, order: Order, family_key: str) -> Entry:
        """Store every variant of the family; gives the one that was ordered."""
        from pytest_edgequant.conversion.finish import finish

        wanted: Entry | None = None
        for member in family_members(order.spec.family):
            try:
                model, notes = finish(converted, member, source.where)
            except EdgeQuantError:
                if member.name == order.spec.name:
                    raise
                continue
            meta = {
                "inputs": [list(pair) for pair in converted.inputs],
                "outputs": [list(pair) for pair in converted.outputs],
                "notes": [*converted.notes, *notes],
                "training": dict(converted.training) if converted.training else None,
            }
            entry = self._cache().put(
                digest(family_key, member.name), model.content, meta, ".tflite"
            )
            if member.name == order.spec.name:
                wanted = entry
        assert wanted is not None
        return wanted


def _check_meta(meta: Mapping[str, Any]) -> None:
    """Raise `TypeError` for what no version wrote beside a converted file."""
    pairs = [*(meta.get("inputs") or ()), *(meta.get("outputs") or ())]
    texts = [*meta.get("notes", ()), *(text for pair in pairs for text in pair)]
    if not all(isinstance(text, str) for text in texts) or any(len(p) != 2 for p in pairs):
        raise TypeError("names or notes that are no text")

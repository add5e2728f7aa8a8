"""The checks of the configuration's models: planned before anything is made, then run one by one.

What is run is `gate.checks`, as for the command `edgequant check`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_edgequant.api.memory import refusals
from pytest_edgequant.errors import (
    CalibrationError,
    CannotRun,
    ConfigurationError,
    DatasetError,
    EdgeAssertionError,
    EdgeQuantError,
    NotDerivableError,
    SettingsError,
)
from pytest_edgequant.forms import VariantSpec, get_spec
from pytest_edgequant.gate.checks import Budgets, Task, asked, checks
from pytest_edgequant.gate.configured.references import Reference
from pytest_edgequant.gate.configured.tables import Budget, ModelTable, form_of
from pytest_edgequant.limits import parse_drop
from pytest_edgequant.measure.legality import variant_refused
from pytest_edgequant.outcomes import Outcome
from pytest_edgequant.pipeline.pipeline import Pipeline
from pytest_edgequant.pipeline.request import CalibrationRequest
from pytest_edgequant.records import Target, Variant
from pytest_edgequant.results import recording
from pytest_edgequant.settings import Settings
from pytest_edgequant.targets import DEFAULT_TARGET, Targets

AS_IS = "as_is"
_FIELDS = {"size": "size", "arena": "arena", "latency": "latency", "max_accuracy_drop": "max_drop"}
_KEYS = {"accuracy_drop": "max_accuracy_drop"}
"""The budget that a check holds, where it isn't of the check's name."""


class PassedOverError(Exception):
    """A variant that nobody named and that the target can't run: nothing is judged."""


@dataclass(frozen=True)
class Gate:
    """One check of one variant on one target; `form` is the variant as it is ordered.

    `named` tells that the variant was asked for by name: it fails where the target can't run it.
    """

    model: ModelTable
    target: Target
    form: str
    variant: str
    named: bool
    check: str

    @property
    def name(self) -> str:
        return f"{self.model.name}[{self.target.name}-{self.variant}]::{self.check}"

    @property
    def limits(self) -> dict[str, Budget]:
        """The limits that hold for it; the float model has no drop from itself."""
        found = self.model.limits(self.target, self.variant)
        if self.variant == "float32" and self.model.baseline is None:
            found.pop("max_accuracy_drop", None)
        return found

    @property
    def budgets(self) -> Budgets:
        return Budgets(**{_FIELDS[name]: budget.value for name, budget in self.limits.items()})

    @property
    def evaluates(self) -> bool:
        return self.check in ("accuracy", "accuracy_drop")

    @property
    def line(self) -> int:
        """The line of the configuration that the check is of: its limit's, else the model's."""
        budget = self.limits.get(_KEYS.get(self.check, self.check))
        keys = ("models", self.model.name, *(budget.keys if budget is not None else ()))
        return self.model.file.line(keys) or self.model.line

    def edit(self, error: EdgeAssertionError) -> str:
        """Which key of which file the failed check is about."""
        target = self.target.name
        if isinstance(error, CannotRun):
            key = "variants" if self.model.variants else "model"
            return (
                f"Edit {self.model.place(key)}: it is what asks for {self.variant} on {target}; "
                f"or gate it on other targets ({self.model.place('targets')})"
            )
        budget = self.limits.get(_KEYS.get(self.check, self.check))
        if budget is None or budget.value == "target":
            return (
                f"The limits are those of {target} itself, not of a budget. Edit "
                f"{self.model.place('targets')}, or describe your own board: "
                f'[{".".join([*self.model.file.prefix, "targets", "NAME"])}] base = "{target}"'
            )
        keys = budget.keys
        return f"The limit stands in {self.model.place(*keys)} = {_toml(budget)}: edit it there"


def _toml(budget: Budget) -> str:
    """A limit as it is written in the file."""
    value = json.dumps(budget.value, ensure_ascii=False)
    if not budget.on:
        return value
    return f"{{ max = {value}, on = {json.dumps(list(budget.on))} }}"


class Gates:
    """The gates of one run, and what they share."""

    def __init__(
        self,
        models: Sequence[ModelTable],
        settings: Settings,
        targets: Targets,
        pipeline: Callable[[], Pipeline],
    ) -> None:
        self.models = models
        self._settings = settings
        self._targets = targets
        self._pipeline = pipeline

    # -- planning -----------------------------------------------------------------------------

    def plan(self) -> list[Gate]:
        """All checks, in the order of the file; raises `SettingsError` for what can't be meant."""
        return [gate for model in self.models for gate in self._of(model)]

    def _of(self, model: ModelTable) -> Iterator[Gate]:
        found = form_of(model) if model.is_tflite else None
        targets = self._targets_of(model)
        self._check_limits(model, targets, found)
        for target in targets:
            forms, named = self._forms(model, target, found)
            for form in forms:
                variant = found if form == AS_IS and found is not None else form
                gate = Gate(model, target, form, variant, named, "")
                self._check_data(gate)
                for check in asked(gate.budgets, evaluated=model.dataset is not None):
                    if check == "latency" and gate.budgets.latency is None:
                        continue  # a figure that gates nothing: `run` has it
                    yield dataclasses.replace(gate, check=check)

    def _given(self, option: str) -> bool:
        """Whether the command line names what the configuration names as well, and wins."""
        return self._settings.origins.get(option, "").startswith("--")

    def _targets_of(self, model: ModelTable) -> Sequence[Target]:
        if model.targets and not self._given("target"):
            return model.targets
        names = self._settings.target or (DEFAULT_TARGET,)
        found = {target.name: target for name in names for target in self._targets.expand(name)}
        return list(found.values())

    def _forms(
        self, model: ModelTable, target: Target, found: str | None
    ) -> tuple[Sequence[str], bool]:
        """The variants of a model on a target, and whether somebody asked for them by name."""
        own = model.variants
        if self._given("variant") or (self._settings.variant and not own):
            own = tuple(get_spec(name).name for name in self._settings.variant)
        if not own:
            return ((AS_IS,), True) if model.is_tflite else (target.variants, False)
        # A file that is the form already is taken as it is.
        return tuple(dict.fromkeys(AS_IS if form == found else form for form in own)), True

    def _check_limits(
        self, model: ModelTable, targets: Sequence[Target], found: str | None
    ) -> None:
        """Raise for limits that would never be held, or mean nothing."""
        for budget in model.budgets:
            place = model.place(*budget.keys)
            if model.is_tflite and not model.variants and budget.variant not in (None, found):
                self._check_variant(budget, place, found)
            if budget.limit == "max_accuracy_drop":
                self._check_drop(model, budget, place, found)
            if budget.limit == "arena" and not (model.targets or self._settings.target):
                raise SettingsError(
                    f'{place}: no target has it: add targets = ["nano33ble"] to '
                    f"{model.place()} (`edgequant targets` lists them)"
                )
            boards = (*budget.on, *([] if budget.target is None else [budget.target]))
            missing = [name for name in boards if name not in {t.name for t in targets}]
            if missing and not self._given("target"):
                raise SettingsError(
                    f"{place}: the model is not gated on {', '.join(missing)}, so that the limit "
                    f"would never be held: add it to {model.place('targets')}"
                )

    def _check_variant(self, budget: Budget, place: str, found: str | None) -> None:
        """Raise for a limit of a form that a file, which is gated as it is, does not have."""
        if found is None or self._settings.variant:
            return
        raise SettingsError(
            f"{place}: the model is gated as the {found} that it is, so that the limit of "
            f"{budget.variant} would never be held: take it out"
        )

    @staticmethod
    def _check_drop(model: ModelTable, budget: Budget, place: str, found: str | None) -> None:
        if model.baseline is None and budget.variant == "float32":
            raise SettingsError(
                f"{place}: the float model is what others are compared with: take the limit out, "
                f"or add a baseline to {model.place()}"
            )
        if model.baseline is None and found not in (None, "float32"):
            raise SettingsError(
                f"{place}: a drop is against the float model, which {model.path.name} ({found}) "
                f'does not hold: add baseline = "models/float.tflite" to {model.place()}'
            )
        if isinstance(model.metric, Reference):
            return
        from pytest_edgequant.measure.metrics import metric_named

        metric = metric_named(model.metric, model.place("metric"))
        parse_drop(budget.value, metric.name, metric.share, place)

    def _check_data(self, gate: Gate) -> None:
        """Raise where a variant needs samples that nothing gives."""
        model, spec = gate.model, get_spec(gate.form)
        if spec.trained and model.training is None:
            raise SettingsError(
                f"{model.place('variants')}: {spec.name} is trained: add training = "
                f'"module:function", which gives (x, y), to {model.place()}'
            )
        given = model.calibration or model.dataset or (spec.trained and model.training)
        if spec.calibrated and not given:
            if model.path.is_dir():
                _check_model(model.path, model.place("model"))
            raise SettingsError(
                f"{model.place('variants' if model.variants else 'model')}: {spec.name} needs "
                'representative samples: add calibration = "module:function" or an .npz or .npy '
                f"file to {model.place()}, or name variants without, such as "
                'variants = ["float32"]'
            )

    # -- before they run ----------------------------------------------------------------------

    @staticmethod
    def prepare(gates: Iterable[Gate]) -> None:
        """Load what the gates need; raises `ConfigurationError` for what is not as it should be."""
        for gate in gates:
            for path, key in ((gate.model.path, "model"), (gate.model.baseline, "baseline")):
                if path is not None:
                    _check_model(path, gate.model.place(key))
            for reference in _needed(gate):
                reference.value  # noqa: B018 - loaded now, so that what is wrong stops the run
            if isinstance(gate.model.metric, Reference) and gate.evaluates:
                gate.model.metric.object  # noqa: B018

    # -- running ------------------------------------------------------------------------------

    def run(self, gate: Gate) -> None:
        """Run one check.

        Raises `EdgeAssertionError` where it does not pass, `PassedOverError`, and
        `ConfigurationError` for samples that don't fit the model.
        """
        self.prepare([gate])
        try:
            self._judge(gate)
        except (CalibrationError, DatasetError) as error:
            raise _given_wrong(gate.model, error) from error

    def _judge(self, gate: Gate) -> None:
        variant = self._variant(gate)
        budgets, task = gate.budgets, self._task(gate)
        found = {check.name: check for check in checks(variant, gate.target, budgets, task)}
        if gate.check == "deployable" and budgets.latency is None:
            found["latency"].run()  # for the report
        found[gate.check].run()

    def _variant(self, gate: Gate) -> Variant:
        """The gate's variant; its use is recorded where it can't be had."""
        model, target = gate.model, gate.target
        refused = None if gate.named else variant_refused(gate.form, target)
        if refused is not None:
            self._pass_over(gate, refused)
        try:
            variant = self._made(gate, gate.form, target)
            reasons = [] if gate.named else refusals(variant, target)
        except NotDerivableError as error:
            if not gate.named:
                recording.record_skip(model.name, gate.variant, target.name, "source", str(error))
                raise PassedOverError(str(error)) from None
            recording.record_use(model.name, gate.variant, target.name)
            raise
        except Exception:
            recording.record_use(model.name, gate.variant, target.name)
            raise
        if reasons:
            self._pass_over(gate, "; ".join(reasons))
        recording.record_variant(variant)
        return variant

    @staticmethod
    def _pass_over(gate: Gate, reason: str) -> None:
        names = gate.model.name, gate.variant, gate.target.name
        message = f"{names[0]}/{names[1]} cannot run on {names[2]}: {reason}"
        recording.record_skip(*names, "runs", message, outcome=Outcome.CANNOT_RUN)
        raise PassedOverError(message)

    def _made(
        self, gate: Gate, form: str, target: Target | None, path: Path | None = None
    ) -> Variant:
        model = gate.model
        return self._pipeline().variant(
            str(path or model.path),
            form,
            _request(model, evaluated=gate.evaluates),
            model_name=model.name,
            target=target,
            where=model.place("model" if path is None else "baseline"),
        )

    def _task(self, gate: Gate) -> Task | None:
        """What the gate's variant is evaluated on; None for one that evaluates nothing."""
        model = gate.model
        if not gate.evaluates or model.dataset is None:
            return None
        baseline = None
        if gate.check == "accuracy_drop":
            path = model.baseline
            tflite = path is not None and path.suffix.lower() in (".tflite", ".lite")
            baseline = self._made(gate, AS_IS if tflite else "float32", gate.target, path)
        metric = model.metric
        return Task(
            model.dataset.value,
            baseline,
            metric.object if isinstance(metric, Reference) else metric,
        )


def _check_model(path: Path, place: str) -> None:
    if path.is_dir() and not (path / "saved_model.pb").is_file():
        raise ConfigurationError(
            f"{place}: the folder {path.name!r} holds no model (no saved_model.pb): name the "
            "model's file, or a SavedModel's folder"
        )
    if not path.exists():
        raise ConfigurationError(
            f"{place}: there is no file {str(path)!r}: check the path, or make the model first"
        )


def _given_wrong(model: ModelTable, error: EdgeQuantError) -> EdgeQuantError:
    """An error of samples, by the key that names them."""
    reference = model.dataset
    if reference is None or (isinstance(error, CalibrationError) and model.calibration):
        reference = model.calibration or model.training
    return error if reference is None else reference.refused(error)


def _is_calibrated(gate: Gate) -> bool:
    """Whether making the variant takes representative samples."""
    spec: VariantSpec = get_spec(gate.form)
    return spec.calibrated


def _needed(gate: Gate) -> Iterator[Reference]:
    """What is loaded for a gate."""
    model = gate.model
    calibrated = _is_calibrated(gate)
    if calibrated and model.calibration is not None:
        yield model.calibration
    if get_spec(gate.form).trained and model.training is not None:
        yield model.training
    split = calibrated and model.calibration is None
    if model.dataset is not None and (gate.evaluates or split):
        yield model.dataset


def _request(model: ModelTable, *, evaluated: bool) -> CalibrationRequest:
    """Where a model's representative samples come from, as for the fixtures."""

    def given(reference: Reference | None) -> Callable[[], Any]:
        return lambda: None if reference is None else reference.value

    return CalibrationRequest(
        samples=given(model.calibration),
        training=given(model.training),
        dataset=given(model.dataset),
        split_applies=evaluated and model.calibration is None,
    )

"""What tests are given: each its target, and its variants of its model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import pytest

from pytest_edgequant.api.memory import refusals
from pytest_edgequant.context import Undefined
from pytest_edgequant.conversion.source import given_form
from pytest_edgequant.errors import (
    EdgeQuantError,
    NotDerivableError,
    SettingsError,
    user_facing,
)
from pytest_edgequant.forms import get_spec
from pytest_edgequant.measure.legality import variant_refused
from pytest_edgequant.pipeline.pipeline import Pipeline
from pytest_edgequant.pipeline.request import CalibrationRequest
from pytest_edgequant.plugin import parametrization
from pytest_edgequant.plugin.device_results import DeviceResults
from pytest_edgequant.plugin.given_files import GivenFiles, standing_for
from pytest_edgequant.plugin.runtimes import (
    Runtime,
    boards_of,
    by_runtime,
    runs_by_runtime,
    share,
)
from pytest_edgequant.records import CalibrationRobustness, Outcome, Target, Variant
from pytest_edgequant.results import recording
from pytest_edgequant.settings import Settings
from pytest_edgequant.targets import DEFAULT_TARGET, Targets


def _stop(error: Exception) -> NoReturn:
    """Fail the test with the message alone: the traceback would be ours."""
    misuse = isinstance(error, SettingsError | pytest.UsageError)
    kind = "UsageError" if misuse else type(error).__name__
    failure = pytest.fail.Exception(f"{kind}: {error}", pytrace=False)
    failure.edgequant = True  # type: ignore[attr-defined]
    raise failure from None


def _not_parametrized(fixture: str, choices: str, otherwise: str) -> pytest.UsageError:
    return pytest.UsageError(
        f"{fixture} was asked for where pytest can't parametrize (getfixturevalue, or a unittest "
        f"class), and there are several: {choices}. Make it an argument of a test function, or "
        f"{otherwise}"
    )


class HandingOut:
    """Targets and variants for the tests of one run. `pipeline` makes it at its first use."""

    def __init__(
        self,
        settings: Settings,
        targets: Targets,
        pipeline: Callable[[], Pipeline],
        devices: DeviceResults,
    ) -> None:
        self._settings = settings
        self._targets = targets
        self._pipeline = pipeline
        self._devices = devices
        self.files = GivenFiles(self._forms)

    # -- collection ---------------------------------------------------------------------------

    def _marker(self, node: Any) -> parametrization.EdgeMarker:
        return parametrization.read_marker(node.get_closest_marker("edge"), node.nodeid)

    def _target_names(self, marker: parametrization.EdgeMarker) -> list[str]:
        names = marker.target or self._settings.target or (DEFAULT_TARGET,)
        return parametrization.union(
            [target.name for target in self._targets.expand(name)] for name in names
        )

    def _variant_names(
        self, marker: parametrization.EdgeMarker, target: Target
    ) -> tuple[Sequence[str], bool]:
        """The variants of a target, and whether they were asked for by name."""
        named = marker.variant or self._settings.variant
        if named:
            return parametrization.union([[get_spec(name).name for name in named]]), True
        return target.variants, False

    def _item_variants(self, item: pytest.Item) -> tuple[Sequence[str], bool]:
        """The variants that an item's target has, or any board of its runtime."""
        target, marker = item.callspec.params["edge_target"], self._marker(item)  # type: ignore[attr-defined]
        profiles = target.targets if isinstance(target, Runtime) else [self._profile(target)]
        found = [self._variant_names(marker, profile) for profile in profiles]
        return parametrization.union(names for names, _ in found), found[0][1]

    def parametrize(self, metafunc: pytest.Metafunc) -> None:
        """Give the test its targets and variants."""
        try:
            marker = self._marker(metafunc.definition)
            targets = self._target_names(marker)
            for name in marker.variant:
                get_spec(name)
            if runs_by_runtime(metafunc):
                self._parametrize_by_runtime(metafunc, targets)
            elif "edge_target" in metafunc.fixturenames:
                parametrization.add_parameters(metafunc, "edge_target", targets, "session")
            if "edge_variant" in metafunc.fixturenames:
                given = parametrization.users_values(metafunc.definition, "edge_target")
                profiles = [self._profile(target) for target in given or targets]
                names = parametrization.union(
                    [self._variant_names(marker, profile)[0] for profile in profiles]
                )
                parametrization.add_parameters(metafunc, "edge_variant", names, "function")
        except EdgeQuantError as error:
            place = metafunc.definition.nodeid
            text = str(error) if place in str(error) else f"{place}: {error}"
            raise pytest.Collector.CollectError(text) from None

    def _parametrize_by_runtime(self, metafunc: pytest.Metafunc, targets: Sequence[str]) -> None:
        runtimes = by_runtime([self._targets.get(name) for name in targets])
        ids = [runtime.name for runtime in runtimes]
        names = [name for name in ("edge_target", "edge_runtime") if name in metafunc.fixturenames]
        values = [(runtime,) * len(names) for runtime in runtimes]
        parametrization.add_parameters(metafunc, names, values, "session", ids)

    def _profile(self, target: Any) -> Target:
        return target if isinstance(target, Target) else self._targets.get(str(target))

    def wanted(self, item: pytest.Item) -> bool:
        """Whether the item's variant is one of its target's and its model's."""
        params = getattr(getattr(item, "callspec", None), "params", {})
        target, variant = params.get("edge_target"), params.get("edge_variant")
        if target is None or not isinstance(variant, str):
            return True
        if parametrization.is_users(item, "edge_variant"):
            return True
        names, _ = self._item_variants(item)
        return variant in names and self.files.collects(item)

    def _forms(self, item: pytest.Item) -> Sequence[str] | None:
        """The variants that an item was collected by; None where one was asked for by name."""
        params = getattr(getattr(item, "callspec", None), "params", {})
        target = params.get("edge_target")
        if target is None or parametrization.is_users(item, "edge_variant"):
            return None
        names, named = self._item_variants(item)
        return None if named else names

    # -- fixtures -----------------------------------------------------------------------------

    def target(self, request: pytest.FixtureRequest) -> Target:
        """The target of this test: its parameter, else the only one there is."""
        try:
            param = getattr(request, "param", None)
            if isinstance(param, Runtime):
                return param.targets[0]
            if isinstance(param, Target):
                return param
            if param is not None:
                return self._targets.get(param)
            names = self._target_names(parametrization.EdgeMarker())
        except EdgeQuantError as error:
            _stop(error)
        if len(names) > 1:
            _stop(_not_parametrized("edge_target", ", ".join(names), "give one --edge-target"))
        return self._targets.get(names[0])

    @staticmethod
    def runtime(request: pytest.FixtureRequest, target: Target) -> Runtime:
        """The runtime of this test: its parameter, else that of its only target."""
        param = getattr(request, "param", None)
        return param if isinstance(param, Runtime) else by_runtime([target])[0]

    def variant(
        self, request: pytest.FixtureRequest, target: Target, model: tuple[Any, str]
    ) -> Variant:
        """The variant of this test's parameter; one the target can't run is skipped."""
        param = getattr(request, "param", None)
        if isinstance(param, Variant):
            given = dataclasses.replace(param, target=target)
            recording.record_variant(given)
            return given
        try:
            marker = self._marker(request.node)
            target = self._marked_target(request, target)
            names, named = self._variant_names(marker, target)
            named = named or parametrization.is_users(request.node, "edge_variant")
            form = None if named else given_form(model[0])
            if form is not None:
                return self._file(request, target, model, names, form)
            if param is None and len(names) > 1:
                raise _not_parametrized(
                    "edge_variant",
                    f"{target.name} has {', '.join(names)}",
                    "give one --edge-variant, or use a named fixture such as edge_int8",
                )
            name = get_spec(names[0] if param is None else str(param)).name
        except (EdgeQuantError, pytest.UsageError) as error:
            _stop(error)
        return self._hand_out(request, target, model, name, named)

    def _file(
        self,
        request: pytest.FixtureRequest,
        target: Target,
        model: tuple[Any, str],
        names: Sequence[str],
        form: str,
    ) -> Variant:
        """A quantized file as it is: it is what ships, and fails where the target refuses it."""
        param = getattr(request, "param", None)
        standing = standing_for(form, names)
        if param is not None and get_spec(str(param)).name != standing:
            # Tests of other forms are passed over, but where another plugin runs them itself.
            pytest.skip(f"{model[1]} is {form} already; the file is gated as {standing}")
        return self._hand_out(request, target, model, "as_is", named=True)

    def named_variant(
        self, request: pytest.FixtureRequest, target: Target, model: tuple[Any, str], name: str
    ) -> Variant:
        """The variant of a fixture such as edge_int8: handed out whatever the target says."""
        try:
            target = self._marked_target(request, target)
        except (EdgeQuantError, pytest.UsageError) as error:
            _stop(error)
        return self._hand_out(request, target, model, name, named=True)

    def _marked_target(self, request: pytest.FixtureRequest, target: Target) -> Target:
        """The target that a marker names, where pytest could not parametrize the test by it."""
        marker = self._marker(request.node)
        params = getattr(getattr(request.node, "callspec", None), "params", {})
        if not marker.target or "edge_target" in params:
            return target
        names = self._target_names(marker)
        if len(names) > 1:
            raise _not_parametrized("edge_target", ", ".join(names), "name one in the marker")
        return self._targets.get(names[0])

    def _hand_out(
        self,
        request: pytest.FixtureRequest,
        target: Target,
        model: tuple[Any, str],
        name: str,
        named: bool,
    ) -> Variant:
        source, model_name = model
        boards = boards_of(request.node)
        refused = variant_refused(name, target) if boards is None else None
        if refused is not None and not named:
            self._skip_illegal(model_name, name, target, refused)
        try:
            variant = self._pipeline().variant(
                source,
                name,
                self._calibration(request),
                model_name=model_name,
                target=target,
            )
            if boards is not None:
                variant = share(boards, variant, self._offers(request, name, named), refusals)
            reasons = [] if named or boards is not None else refusals(variant, target)
        except NotDerivableError as error:
            if not named:
                recording.record_skip(model_name, name, target.name, "source", str(error))
                pytest.skip(str(error))
            recording.record_use(model_name, name, target.name)
            _stop(error)
        except EdgeQuantError as error:
            recording.record_use(model_name, name, target.name)
            _stop(error)
        except Exception:
            recording.record_use(model_name, name, target.name)
            raise
        if reasons:
            self._skip_illegal(model_name, name, target, "; ".join(reasons))
        recording.record_variant(variant)
        for board in [target] if boards is None else boards.running(variant):
            self._devices.note(dataclasses.replace(variant, target=board), board)
        return variant

    def _offers(
        self, request: pytest.FixtureRequest, name: str, named: bool
    ) -> Callable[[Target], bool] | None:
        """Whether a test by form is about a target; None where it is whatever that one has."""
        marker = self._marker(request.node)
        return None if named else lambda board: name in self._variant_names(marker, board)[0]

    @staticmethod
    def _skip_illegal(model: str, variant: str, target: Target, reason: str) -> NoReturn:
        message = f"{model}/{variant} cannot run on {target.name}: {reason}"
        recording.record_skip(
            model, variant, target.name, "runs", message, outcome=Outcome.CANNOT_RUN
        )
        pytest.skip(message)

    @staticmethod
    def _calibration(request: pytest.FixtureRequest) -> CalibrationRequest:
        def value_of(name: str) -> Any:
            value = request.getfixturevalue(name)
            return None if isinstance(value, Undefined) else value

        # Asked for only where needed: a test of the size alone must not load a dataset.
        evaluated = "edge_dataset" in request.fixturenames
        return CalibrationRequest(
            samples=lambda: value_of("edge_calibration"),
            training=lambda: value_of("edge_training"),
            dataset=lambda: value_of("edge_dataset"),
            preprocess=lambda: value_of("edge_preprocess"),
            split_applies=evaluated and value_of("edge_calibration") is None,
        )

    def calibration_gate(
        self, request: pytest.FixtureRequest, target: Target, model: tuple[Any, str]
    ) -> Callable[..., CalibrationRobustness]:
        """What the fixture edge_calibration_robustness gives: a function that measures and gates.

        It loads what it needs when it is called, and raises at the caller's line.
        """
        source, model_name = model

        @user_facing
        def gate(
            max_drop: float | str = 0.02,
            *,
            variant: str = "int8",
            subsets: int = 3,
            sizes: Sequence[int] | None = None,
            seed: int = 0,
        ) -> CalibrationRobustness:
            from pytest_edgequant.diagnose.robustness import calibration_robustness
            from pytest_edgequant.gate.accuracy import assert_calibration_robust

            dataset = request.getfixturevalue("edge_dataset")
            calibrated = self._pipeline().variant(
                source,
                variant,
                dataclasses.replace(
                    self._calibration(request), dataset=lambda: dataset, split_applies=True
                ),
                model_name=model_name,
                target=target,
            )
            boards = boards_of(request.node)
            if boards is not None:
                calibrated = share(boards, calibrated, None, refusals)
            if calibrated.calibration is None:
                raise SettingsError(
                    f"edge_calibration_robustness: {calibrated.label} is not calibrated here; it "
                    "needs a float model, and an integer variant"
                )
            found = calibration_robustness(
                source,
                calibrated.calibration,
                dataset,
                variant=variant,
                subsets=subsets,
                sizes=sizes,
                seed=seed,
                metric=request.getfixturevalue("edge_metric"),
                name=model_name,
                target=calibrated.target,
                where="edge_model",
            )
            recording.record_variant(found.variant)
            assert_calibration_robust(found, max_drop)
            return found

        return gate

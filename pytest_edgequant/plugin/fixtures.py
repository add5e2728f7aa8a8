"""The fixtures that users override (the model, its data), and those that they get of them.

Registered as a plugin of its own by `hooks`, so that `-p no:edgequant` leaves it out as well. What
the fixtures do is loaded when a test asks for one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from pytest_edgequant.context import Undefined
from pytest_edgequant.forms import VARIANTS
from pytest_edgequant.plugin.current import collected, get_run

if TYPE_CHECKING:
    from pytest_edgequant.plugin.runtimes import Runtime
    from pytest_edgequant.records import Target, Variant

PARAMETRIZED = frozenset(f"edge_{name}" for name in VARIANTS) | {
    "edge_runtime",
    "edge_target",
    "edge_variant",
    "edge_calibration_robustness",
}
"""Those that a test is given a target or a variant by."""


# -- what the user gives --------------------------------------------------------------------------


def _check_default(request: pytest.FixtureRequest) -> None:
    """Fail where a default stands because the user's own fixture has a misspelt name."""
    __tracebackhide__ = True
    from pytest_edgequant.plugin.parametrization import misspelt_fixture

    name, config = str(request.fixturename), request.config
    items = collected(config)
    found = misspelt_fixture(name, items, config.pluginmanager.get_plugins())
    if found is not None:
        raise pytest.fail.Exception(
            f"UsageError: {found}, which no test asks for, and {name} has its default. Did you "
            f"mean {name}?",
            pytrace=False,
        )


@pytest.fixture(scope="session")
def edge_model(request: pytest.FixtureRequest) -> Any:
    """The model: override it. A Keras model, or a path to a .keras, .h5, SavedModel or .tflite."""
    __tracebackhide__ = True
    _check_default(request)
    return Undefined(
        "the fixture edge_model is not defined; define it in conftest.py to return a Keras model "
        "or the path of a .keras, .h5, SavedModel folder or .tflite"
    )


@pytest.fixture(scope="session")
def edge_dataset(request: pytest.FixtureRequest) -> Any:
    """The evaluation set: override it. (x, y), an iterable of (x, y) batches, or a function."""
    __tracebackhide__ = True
    _check_default(request)
    return Undefined(
        "the fixture edge_dataset is not defined; define it in conftest.py to return (x, y), an "
        "iterable of (x, y) batches, or a function that gives one"
    )


@pytest.fixture(scope="session")
def edge_preprocess(request: pytest.FixtureRequest) -> Any:
    """A function of x, given each batch of edge_dataset: override it. None for none by default."""
    __tracebackhide__ = True
    _check_default(request)
    return None


@pytest.fixture(scope="session")
def edge_calibration(request: pytest.FixtureRequest) -> Any:
    """Representative samples: override it, or they are split off edge_dataset."""
    __tracebackhide__ = True
    _check_default(request)
    return Undefined(
        "the fixture edge_calibration is not defined; define it in conftest.py to return "
        "representative samples from validation data (200-500 are recommended)"
    )


@pytest.fixture(scope="session")
def edge_training(request: pytest.FixtureRequest) -> Any:
    """What qat_int8 is trained with: override it. (x, y) of the training set, or a TrainingRecipe.

    Samples as the model takes them, as in `edge_calibration`: `edge_preprocess` is not applied.
    `pytest_edgequant.TrainingRecipe(data=(x, y), ...)` sets validation samples, loss, optimizer,
    epochs, early stopping and the seed.
    """
    __tracebackhide__ = True
    _check_default(request)
    return Undefined(
        "the fixture edge_training is not defined; define it in conftest.py to return (x, y) of "
        "the training set, or a pytest_edgequant.TrainingRecipe"
    )


@pytest.fixture(scope="session")
def edge_metric(request: pytest.FixtureRequest) -> Any:
    """The task metric: override it with a name or a callable; top-1 accuracy by default."""
    __tracebackhide__ = True
    _check_default(request)
    return "accuracy"


@pytest.fixture
def edge_model_name(request: pytest.FixtureRequest, edge_model: Any) -> str:
    """The model's name in reports: the file's stem, or the parametrization's id."""
    from pytest_edgequant.plugin import parametrization

    return parametrization.model_name(request.node, edge_model)


# -- what the user gets ---------------------------------------------------------------------------


@pytest.fixture(scope="session")
def edge_target(request: pytest.FixtureRequest) -> Target:
    """The target that this test gates against, from --edge-target."""
    __tracebackhide__ = True
    return get_run(request.config).handing_out.target(request)


@pytest.fixture(scope="session")
def edge_runtime(request: pytest.FixtureRequest, edge_target: Target) -> Runtime:
    """Instead of edge_target: the test runs once for all targets of a runtime, told under each.

    For what comes out the same on each of them, accuracy above all. Has `name` and `targets`.
    """
    __tracebackhide__ = True
    return get_run(request.config).handing_out.runtime(request, edge_target)


@pytest.fixture
def edge_variant(
    request: pytest.FixtureRequest, edge_target: Target, edge_model: Any, edge_model_name: str
) -> Variant:
    """Each variant that the target can run (or --edge-variant), converted from edge_model."""
    __tracebackhide__ = True
    model = (edge_model, str(edge_model_name))
    return get_run(request.config).handing_out.variant(request, edge_target, model)


@pytest.fixture
def edge_calibration_robustness(
    request: pytest.FixtureRequest, edge_target: Target, edge_model: Any, edge_model_name: str
) -> Callable[..., Any]:
    """Call it to gate the worst drop over different calibration samples: (max_drop=0.02, ...)."""
    __tracebackhide__ = True
    model = (edge_model, str(edge_model_name))
    return get_run(request.config).handing_out.calibration_gate(request, edge_target, model)


def _named(name: str, summary: str) -> Callable[..., Any]:
    def fixture(
        request: pytest.FixtureRequest, edge_target: Target, edge_model: Any, edge_model_name: str
    ) -> Variant:
        __tracebackhide__ = True
        model = (edge_model, str(edge_model_name))
        return get_run(request.config).handing_out.named_variant(request, edge_target, model, name)

    fixture.__doc__ = f"edge_model as {name}: {summary}."
    return pytest.fixture(name=f"edge_{name}")(fixture)


for _spec in VARIANTS.values():
    globals()[f"edge_{_spec.name}"] = _named(_spec.name, _spec.summary)

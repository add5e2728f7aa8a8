"""Quantized `.tflite` files as edge_model: of the tests that were collected by form, one runs.

Such a file is one form already and no other can be made of it. Which model a fixture gives is known
when it is asked for, just before the first test that needs it; a test of another form is then
passed over without a word, as if it had not been collected. Where a `parametrize` names the file,
that is known at collection already.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from pytest_edgequant.conversion.source import given_form
from pytest_edgequant.plugin import parametrization

if TYPE_CHECKING:
    from pathlib import Path

_UNKNOWN = object()
_OUTCOMES = (Exception, pytest.fail.Exception, pytest.skip.Exception)
"""What the setup of a test may raise and still be this test's own matter."""


def standing_for(form: str, forms: Sequence[str]) -> str:
    """Which of the forms that a test was collected by has a file: its own, else the first."""
    return form if form in forms else forms[0]


class GivenFiles:
    """Which tests have nothing to run. `forms` gives those that a test was collected by.

    They are None for a test that names its variant: it has to get it, or fail.
    """

    def __init__(self, forms: Callable[[pytest.Item], Sequence[str] | None]) -> None:
        self._forms = forms
        self._models: dict[Hashable, str | None] = {}
        self._others: set[Hashable] = set()

    def collects(self, item: pytest.Item) -> bool:
        """Whether a test is collected: not where its model is a file of another form."""
        model = _direct_model(item)
        return model is _UNKNOWN or self._has(item, given_form(model))

    def pass_over(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        """Whether a test has nothing to run; what was set up is then as after any test."""
        if _variant_of(item) is None or self._forms(item) is None:
            return False
        if self._has(item, self._form(item)):
            return False
        if not _follow(item, nextitem):
            item.session.testscollected -= 1  # or the last test would not be at 100 %
        return True

    def _has(self, item: pytest.Item, form: str | None) -> bool:
        forms = self._forms(item)
        if form is None or not forms:
            return True
        return _variant_of(item) == standing_for(form, forms)

    def _form(self, item: pytest.Item) -> str | None:
        """The form of the quantized file that edge_model gives a test; None for other models.

        That a model is no such file is taken for granted of all tests beside each other, so that
        one is asked; that it is one is not: a test that does not run must be right.
        """
        direct = _direct_model(item)
        if direct is not _UNKNOWN:
            return given_form(direct)
        indices: dict[str, int] = item.callspec.indices  # type: ignore[attr-defined]
        beside = (
            item.parent,
            tuple(sorted((n, i) for n, i in indices.items() if n != "edge_variant")),
        )
        if beside in self._others:
            return None
        key = *beside, getattr(item, "originalname", "")
        if key not in self._models:
            form = self._models[key] = given_form(_asked(item))
            if form is None:
                self._others.add(beside)
        return self._models[key]


def _params(item: pytest.Item) -> dict[str, Any]:
    params: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    return params


def _variant_of(item: pytest.Item) -> str | None:
    value = _params(item).get("edge_variant")
    return value if isinstance(value, str) else None


def _direct_model(item: pytest.Item) -> Any:
    """The model that a `parametrize` gives a test itself, not to a fixture edge_model."""
    if not parametrization.is_direct(item, "edge_model"):
        return _UNKNOWN
    return _params(item).get("edge_model", _UNKNOWN)


def _asked(item: pytest.Item) -> Any:
    """What edge_model gives a test, asked for in its place: what is set up there stays for it."""

    @pytest.mark.usefixtures("edge_model")
    def edge_model() -> None: ...

    probe: Any = pytest.Function.from_parent(
        item.parent,
        name="edge_model",
        callspec=item.callspec,  # type: ignore[attr-defined]
        callobj=edge_model,
    )
    try:
        item.ihook.pytest_runtest_setup(item=probe)
        return probe.funcargs.get("edge_model")
    except _OUTCOMES:
        return None  # the test comes to the same, and says so
    finally:
        with contextlib.suppress(*_OUTCOMES):
            item.ihook.pytest_runtest_teardown(item=probe, nextitem=item)


class _Nothing(pytest.Item):
    """Stands where a test has nothing to run."""

    def runtest(self) -> None: ...

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name


def _follow(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Tear down what only tests before `nextitem` need, as the end of any test does.

    Gives whether that failed, and so was reported under the test.
    """
    assert item.parent is not None
    nothing = _Nothing.from_parent(item.parent, name=item.name)
    with contextlib.suppress(*_OUTCOMES):
        item.ihook.pytest_runtest_setup(item=nothing)
    end = pytest.CallInfo.from_call(
        lambda: item.ihook.pytest_runtest_teardown(item=nothing, nextitem=nextitem),
        when="teardown",
        reraise=(KeyboardInterrupt, pytest.exit.Exception),
    )
    if end.excinfo is None:
        return False
    report = item.ihook.pytest_runtest_makereport(item=item, call=end)
    item.ihook.pytest_runtest_logreport(report=report)
    return True

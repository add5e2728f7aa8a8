"""What can go wrong, each with what it was, where, and what to do about it.

Two families: `EdgeQuantError` is misuse or a step that could not be done; the subclasses of
`EdgeAssertionError` are verdicts of a gate (they are `AssertionError`, so pytest reports a failed
test and not a broken one).
"""

from __future__ import annotations

import contextlib
import functools
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from pytest_edgequant.wording import message as told

if TYPE_CHECKING:
    from pytest_edgequant.outcomes import Verdict

P = ParamSpec("P")
R = TypeVar("R")


class EdgeQuantError(Exception):
    """Base of all errors that are not verdicts."""

    def __init__(self, *args: object) -> None:
        # Messages of converters and runtimes are among them, which quote whole names.
        super().__init__(*(told(arg) if isinstance(arg, str) else arg for arg in args))


class SettingsError(EdgeQuantError):
    """An option, ini value, TOML key or marker that can't be used as it stands."""


class ConfigurationError(SettingsError):
    """A model of the configuration that can't be gated as it stands there: its file, its data."""


class UnknownNameError(SettingsError):
    """A name that is not in a registry; the message lists the closest ones."""


class UnitError(SettingsError, ValueError):
    """A quantity whose unit or number can't be read without guessing."""


class TargetError(SettingsError):
    """A target description with a missing, misspelt or impossible figure."""


class ModelError(EdgeQuantError):
    """A model that is missing, damaged, or of a kind that can't be read."""


class CalibrationError(EdgeQuantError):
    """Representative samples from which no meaningful range can be had."""


class DatasetError(EdgeQuantError):
    """Evaluation samples or labels that don't fit the model or each other."""


class MetricError(EdgeQuantError):
    """A metric that is unknown, misdeclared, or could not be computed."""


class ConversionError(EdgeQuantError):
    """A variant that could not be made, or was made and is not what its name says."""


class TrainingError(EdgeQuantError):
    """A training that can't be done as asked, or that came to no number."""


class NotDerivableError(ConversionError):
    """A variant that can't be made from this source at all (int8 has no way back to float32)."""


class MissingExtraError(EdgeQuantError):
    """A step that needs an optional package."""


class IsolatedProcessError(EdgeQuantError):
    """The child process in which native code runs died, or did not answer in time."""


class MeasurementUnavailable(EdgeQuantError):
    """A figure that can't be had here; the message is the reason. Never a zero."""


class CannotRunError(EdgeQuantError):
    """The runtime itself refused the model; the message is its reason."""


class DeviceResultError(EdgeQuantError):
    """A result that a board printed and that can't be used: the line, and what is wrong with it."""


class DocumentError(EdgeQuantError):
    """A baseline or report that is missing, damaged, of another version, or contradicts others."""


class NotApplicableError(EdgeQuantError):
    """A measurement without meaning on this runtime (a tensor arena on LiteRT)."""


class EdgeAssertionError(AssertionError):
    """A gate that did not pass.

    `verdict` is the record that also stands in the report. `brief` says what failed and by how
    much in some words, for lines that are cut; empty where the message begins with what to do.
    """

    def __init__(self, message: str, verdict: Verdict | None = None, brief: str = "") -> None:
        super().__init__(told(message))
        self.verdict = verdict
        self.brief = brief or (verdict.brief if verdict is not None else "")


class AccuracyDropExceeded(EdgeAssertionError):
    """The candidate lost more than the test allows."""


class RuntimesDiffer(EdgeAssertionError):
    """Two runtimes' outputs for the same samples are further apart than the test allows."""


class Inconclusive(EdgeAssertionError):
    """A gate that what is known proves neither to hold nor not to; it begins with what to do."""


class SizeExceeded(EdgeAssertionError):
    """The file is larger than its budget or than the flash that is left."""


class ArenaExceeded(EdgeAssertionError):
    """The tensor arena is larger than the SRAM that is left."""


class ArenaMismatch(EdgeAssertionError):
    """The interpreter needs another arena than was computed; the message has both numbers."""


class UnsupportedOperators(EdgeAssertionError):
    """The target's runtime has no kernel for an operator, or not in these types."""


class NotFullyInteger(EdgeAssertionError):
    """Float tensors remain where the test allows none."""


class CannotRun(EdgeAssertionError):
    """The target's runtime would refuse this variant, whatever else was measured."""


class Unavailable(EdgeAssertionError):
    """A gate on a figure that could not be had: it never passes."""


class LatencyExceeded(EdgeAssertionError):
    """An inference takes longer than the test allows."""


class SpeedupMissed(EdgeAssertionError):
    """The candidate is not as much faster than the baseline as the test demands."""


class NotDeployable(EdgeAssertionError):
    """At least one of the target's own limits is broken; the message lists them all."""


_OF_DAMAGE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """Raise a `ModelError` for what a damaged model makes of our own rules.

    Around what looks at a model alone, and calls nothing of the user's. Rules check what they
    stumble over and name it; this is for what they have not thought of.
    """
    try:
        yield
    except (EdgeQuantError, EdgeAssertionError):
        raise
    except _OF_DAMAGE as error:
        raise ModelError(
            f"{what}: its operators, tensors and options contradict each other "
            f"({type(error).__name__}: {error}). Convert the model again; where it runs elsewhere "
            "as it is, report it with the file"
        ) from error


def missing_extra(what: str, extra: str) -> MissingExtraError:
    """The one sentence that names the extra to install."""
    return MissingExtraError(
        f"{what} needs the extra `{extra}`, which is not installed here. "
        f"Install it: pip install 'pytest-edgequant[{extra}]'"
    )


def user_facing(function: Callable[P, R]) -> Callable[P, R]:
    """Let the function's errors begin at the caller's line: no traceback out of our internals."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        __tracebackhide__ = True
        try:
            return function(*args, **kwargs)
        except (EdgeQuantError, EdgeAssertionError) as error:
            caught = error
        raise caught.with_traceback(None) from caught.__cause__

    return wrapper

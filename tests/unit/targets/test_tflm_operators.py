"""Whether the list of TFLM's operators is what the `tflite-micro` wheel says.

The wheel is asked with a model of one operator each. "Didn't find op" is TFLM's word for an
operator without a kernel; whatever else happens to such a model, the kernel was found.
"""

from __future__ import annotations

import pytest
from model_building import BUILTIN_CODES, one_operator, tensor

from pytest_edgequant.errors import CannotRunError, IsolatedProcessError
from pytest_edgequant.isolation import IsolatedProcess
from pytest_edgequant.measure.arena import tflm_worker
from pytest_edgequant.targets.tflm_operators import TFLM_CUSTOM_OPERATORS, TFLM_OPERATORS

NO_OPERATORS = {"CUSTOM", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES"}


def refusal(tflm: IsolatedProcess, name: str, custom_code: str = "") -> str:
    """What TFLM says of a model of that operator; its kernel may well crash on the inputs."""
    x, y = (tensor(n, [1, 4], "FLOAT32") for n in "xy")
    try:
        tflm.call(tflm_worker.measure, one_operator(name, [x], y, custom_code=custom_code))
    except (CannotRunError, IsolatedProcessError) as error:
        return str(error)
    return ""


def test_the_list_is_what_the_wheel_has_kernels_for(tflm: IsolatedProcess) -> None:
    asked = sorted(set(BUILTIN_CODES) - NO_OPERATORS)
    assert len(asked) > 200
    missing = {name for name in asked if "Didn't find op" in refusal(tflm, name)}
    assert set(asked) - missing == TFLM_OPERATORS


@pytest.mark.parametrize("code", sorted(TFLM_CUSTOM_OPERATORS))
def test_the_wheel_has_kernels_for_the_custom_operators_of_the_list(
    code: str, tflm: IsolatedProcess
) -> None:
    assert "Failed to get registration" not in refusal(tflm, "CUSTOM", code)


def test_the_wheel_refuses_a_custom_operator_that_it_does_not_know(tflm: IsolatedProcess) -> None:
    assert "FlexErf" not in TFLM_CUSTOM_OPERATORS
    assert "Failed to get registration" in refusal(tflm, "CUSTOM", "FlexErf")

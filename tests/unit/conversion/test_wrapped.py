"""Which graphs still have wrappers that write weights, by their operators' names."""

from __future__ import annotations

import pytest

from pytest_edgequant.conversion.wrapped import writing_wrapper

PRUNED = ("VarHandleOp", "prune_low_magnitude_conv/mask")
CLUSTERED = ("VarHandleOp", "cluster_dense/pulling_indices_kernel")


@pytest.mark.parametrize(
    ("variable", "layer", "way"),
    [
        (PRUNED, "prune_low_magnitude_conv", "strip_pruning"),
        (CLUSTERED, "cluster_dense", "strip_clustering"),
    ],
)
def test_a_wrapper_is_named_with_what_takes_it_off(
    variable: tuple[str, str], layer: str, way: str
) -> None:
    writes = ("AssignVariableOp", f"model/{layer}/AssignVariableOp_1")
    told = writing_wrapper([writes, ("MatMul", "model/other/MatMul"), variable])
    assert told is not None
    assert f"'{layer}' writes" in told
    assert way in told
    # A layer of that name that is none, and a wrapper that writes nothing.
    assert writing_wrapper([writes]) is None
    assert writing_wrapper([variable, ("AssignVariableOp", "model/gru/AssignVariableOp")]) is None

"""Whether a file that can be read is a model at all: something computed, from what is there."""

from __future__ import annotations

from pytest_edgequant.errors import ModelError
from pytest_edgequant.tflite.graph import Graph, Subgraph
from pytest_edgequant.wording import counted

_AGAIN = "Check how the file was written, and convert the model again"


def check_complete(graph: Graph, where: str) -> None:
    """Raise `ModelError` for a model that computes nothing, or nothing that could be read.

    Such a file is small, allocates in any arena and has no operator that a runtime could refuse:
    whatever is asked of it would pass.
    """
    main = graph.main
    if not main.outputs:
        raise ModelError(
            f"{where}: the model has no outputs: nothing that it computes can be read. {_AGAIN}"
        )
    if not main.operators:
        raise ModelError(
            f"{where}: the model has no operators: it computes nothing from its "
            f"{counted(len(main.inputs), 'input')}. {_AGAIN}"
        )
    _check_reads(main, where)
    made = _made(main)
    for index in main.outputs:
        if index not in made and not main.tensors[index].constant:
            raise ModelError(
                f"{where}: the output {main.tensors[index].name!r} is computed by no operator: it "
                f"would be whatever memory holds. {_AGAIN}"
            )
    if not any(index in made and index not in main.inputs for index in main.outputs):
        raise ModelError(
            f"{where}: every output is an input or a constant: no operator has a part in what "
            f"can be read. {_AGAIN}"
        )


def _check_reads(main: Subgraph, where: str) -> None:
    """Raise `ModelError` where an operator reads what nothing wrote before it.

    Custom operators are left out: their own memory may stand among their inputs, as Vela's does.
    """
    known = set(main.inputs)
    for operator in main.operators:
        for index in operator.inputs if operator.name != "CUSTOM" else ():
            if index < 0 or index in known:
                continue
            tensor = main.tensors[index]
            if not (tensor.constant or tensor.is_variable or tensor.elements == 0):
                raise ModelError(
                    f"{where}: {operator.place} reads {tensor.shown}, which is no input, no "
                    "constant, and computed by no operator before it: it would be whatever memory "
                    f"holds. {_AGAIN}"
                )
        known.update(operator.outputs)


def _made(main: Subgraph) -> set[int]:
    """The tensors that have a value after an inference, constants left out."""
    return {*main.inputs, *(i for operator in main.operators for i in operator.outputs)}

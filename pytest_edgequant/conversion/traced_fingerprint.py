"""What a traced function computes, as a fingerprint that is the same in every process."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Any

from pytest_edgequant.conversion.tracing import Traced

_UNIMPORTANT = ("shared_name", "container", "config_proto")


def fingerprint(traced: Traced) -> str:
    """SHA-256 of what the function computes: its graph without names, and the captured values.

    Stable over processes: layer names such as `dense_3`, which depend on what was built before, do
    not count; the code of custom layers does, since it is in the graph.
    """
    return _Fingerprint(traced).digest()


class _Fingerprint:
    """Functions of the graph are taken in where they are first called, and numbered."""

    def __init__(self, traced: Traced) -> None:
        self._traced = traced
        self._definition = traced.function.graph.as_graph_def()
        self._library = {f.signature.name: f for f in self._definition.library.function}
        self._seen: dict[str, int] = {}
        self._total = hashlib.sha256()

    def digest(self) -> str:
        graph = self._traced.function.graph
        canonical = self._add_nodes(self._definition.node)
        given = (canonical(tensor.name) for tensor in graph.outputs)
        self._add(f"gives {','.join(given)}")
        self._add_captures(graph)
        self._add(repr((self._traced.inputs, self._traced.output_names)))
        return self._total.hexdigest()

    def _add(self, text: str) -> None:
        self._total.update(text.encode())

    def _add_nodes(self, nodes: Any, arguments: Sequence[str] = ()) -> Callable[[str], str]:
        """Take nodes in; gives what writes the name of one by its position."""
        order: dict[str, Any] = {name: f"argument {i}" for i, name in enumerate(arguments)}
        order.update((node.name, i) for i, node in enumerate(nodes))

        def canonical(name: str) -> str:
            prefix, name = ("^", name[1:]) if name.startswith("^") else ("", name)
            head, *rest = name.split(":")
            return f"{prefix}{order.get(head, head)}:{':'.join(rest)}"

        for node in nodes:
            self._add(f"\n{node.op}({','.join(canonical(i) for i in node.input)})")
            for key in sorted(node.attr):
                if not key.startswith("_") and key not in _UNIMPORTANT:
                    self._add(f";{key}=")
                    self._add_attribute(node.attr[key])
        return canonical

    def _add_attribute(self, value: Any) -> None:
        if value.HasField("func"):
            self._add_function(value.func.name)
        elif value.HasField("list") and value.list.func:
            for function in value.list.func:
                self._add_function(function.name)
        else:
            self._total.update(value.SerializeToString(deterministic=True))

    def _add_function(self, name: str) -> None:
        if name in self._seen:
            self._add(f"function {self._seen[name]}")
            return
        self._seen[name] = len(self._seen)
        function = self._library.get(name)
        if function is None:
            self._add(name)
            return
        arguments = [a.name for a in function.signature.input_arg]
        self._add(f"function {self._seen[name]} of {len(arguments)}")
        canonical = self._add_nodes(function.node_def, arguments)
        # Which of the nodes it gives, and in which order, stands beside them.
        given = (canonical(function.ret[a.name]) for a in function.signature.output_arg)
        self._add(f"gives {','.join(given)}")

    def _add_captures(self, graph: Any) -> None:
        """The values of variables and constants that the graph was traced around."""
        variables = {id(v.handle): v for v in graph.variables}
        for external, _ in graph.captures:
            variable = variables.get(id(external))
            if variable is None and external.dtype == "resource":
                # A lookup table or the like, whose content can't be read: never the same twice.
                self._total.update(os.urandom(32))
                continue
            array = (variable if variable is not None else external).numpy()
            self._add(f"{array.dtype.str}{array.shape}")
            self._total.update(array.tobytes())

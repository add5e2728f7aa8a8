"""A plan computed with TensorFlow: what the int8 model computes, in float, for gradients.

Weights are rounded to their int8 grid with a straight-through gradient (the gradient passes as if
there were no rounding), activations go through TensorFlow's fake-quantization operator with the
range of their group. The rounding to a grid is the one of TFLite's quantization spec: weights
symmetric from -127 to 127, activations from -128 to 127 with zero exactly representable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.conversion.qat import failures, rounding
from pytest_edgequant.conversion.qat.kernels import Call, Value, activate, to_trained
from pytest_edgequant.conversion.qat.movement import OPERATORS
from pytest_edgequant.conversion.qat.opaque import Opaque
from pytest_edgequant.conversion.qat.plan import Plan
from pytest_edgequant.conversion.qat.weights import MOVES_DATA, WEIGHTED
from pytest_edgequant.errors import ConversionError, EdgeQuantError
from pytest_edgequant.tflite.graph import Operator, Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOMENTUM = 0.99
_EPSILON = 1e-3


@dataclass(frozen=True)
class Mode:
    """What a pass does: quantize at all, follow ranges, follow batch normalization's statistics.

    `channels_of` names the activations whose channels' limits are wanted.
    `loss` leaves the last softmax's or sigmoid's output unrounded: rounded to 0, a probability has
    no gradient left.
    """

    quantize: bool = True
    follow_ranges: bool = False
    follow_statistics: bool = False
    loss: bool = False
    channels_of: tuple[int, ...] = ()


@dataclass
class Statistics:
    """The state of one folded batch normalization, in the unfolded convolution's own unit.

    With the weights trained as they were folded at first, the normalized output is
    (z - mean) * gain + beta, gain = deviation / sqrt(variance + eps); `deviation` is that of the
    beginning, so that gain begins as 1.
    """

    mean: Any
    variance: Any
    initial: Any


@dataclass
class _Pass:
    """What one pass gathers beside the outputs."""

    mode: Mode
    lows: dict[int, list[Any]] = field(default_factory=dict)
    highs: dict[int, list[Any]] = field(default_factory=dict)
    moments: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    channels: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    rounded: dict[tuple[int, bool], tuple[Any, Any]] = field(default_factory=dict)
    edges: Sequence[Any] = ()


def _type(tensor: Tensor) -> str:
    """What a tensor is simulated in."""
    return "float32" if tensor.quantization is not None else str(tensor.dtype)


class Simulation:
    """The variables of a plan and the functions over them."""

    def __init__(self, plan: Plan, where: str) -> None:
        import keras
        import tensorflow as tf

        self.tf, self.plan, self.where = tf, plan, where
        self._layouts = self._find_layouts()
        self._opaque = {
            o.index: Opaque(plan, o, where) for o in plan.main.operators if o.index in plan.opaque
        }
        self.units: list[Any] = []
        self.variables: list[Any] = []
        for position, weights in enumerate(plan.weights):
            value, channel = weights.value, weights.channel
            order = self._layouts.get(position)
            if order is not None:
                value = np.transpose(value, order)
            if value.ndim > 1 and channel is not None:
                channel = value.ndim - 1
            unit = rounding.scale_steps(value, channel)
            self.units.append(tf.constant(unit))
            self.variables.append(
                keras.Variable(value / unit, name=f"w{position}", dtype="float32")
            )
        self.trained = [
            variable
            for variable, weights in zip(self.variables, plan.weights, strict=True)
            if weights.trained
        ]
        self.ranges = tf.Variable(plan.ranges, name="ranges", trainable=False)
        self.statistics: dict[int, Statistics] = {}

    def _find_layouts(self) -> dict[int, tuple[int, ...]]:
        """The permutation of each weights tensor to output channel last, by its users."""
        plan, found = self.plan, {}
        for operator in plan.main.operators:
            place = WEIGHTED.get(operator.name, (None, None))[0]
            if place is None or operator.inputs[place] not in plan.sources:
                continue
            position = plan.sources[operator.inputs[place]]
            order = to_trained(operator.name, plan.weights[position].value.ndim)
            if order is not None:
                found[position] = order
        return found

    # -- values ---------------------------------------------------------------------------------

    def weights_in_file(self) -> list[NDArray[np.float32]]:
        """The trained weights in the file's layout, before batch normalization's gain."""
        values = []
        for position, variable in enumerate(self.variables):
            value = np.asarray(variable.value) * np.asarray(self.units[position])
            order = self._layouts.get(position)
            if order is not None:
                value = np.transpose(value, np.argsort(order))
            values.append(value)
        return values

    def _master(self, position: int) -> Any:
        return self.variables[position].value * self.units[position]

    def gain(self, operator: int) -> tuple[Any, Any] | None:
        """The factor on a folded operator's weights, and what its bias moves by."""
        state = self.statistics.get(operator)
        if state is None:
            return None
        tf = self.tf
        gain = tf.sqrt((state.initial[1] + _EPSILON) / (state.variance + _EPSILON))
        return gain, state.initial[0] - state.mean * gain

    def _scale(self, index: int, edges: Sequence[Any]) -> Any:
        """An activation's step."""
        group = self.plan.groups[index]
        return (edges[group][1] - edges[group][0]) / 255.0

    # -- the pass -------------------------------------------------------------------------------

    def __call__(self, inputs: Sequence[Any], mode: Mode) -> tuple[list[Any], _Pass]:
        """Outputs (samples, *shape) in the file's order, for inputs in the file's order.

        Raises `TrainingError`, which names the operator that TensorFlow can't compute.
        """
        # Nothing here depends on a tensor's value; converted, errors would lose their type.
        run = self.tf.autograph.experimental.do_not_convert(self._run)
        found: tuple[list[Any], _Pass] = run(inputs, mode)
        return found

    def _run(self, inputs: Sequence[Any], mode: Mode) -> tuple[list[Any], _Pass]:
        tf, plan, main = self.tf, self.plan, self.plan.main
        state = _Pass(mode)
        limits = tf.unstack(self.ranges) if len(plan.ranges) else []
        edges = state.edges = [tf.unstack(pair) for pair in limits]
        known: dict[int, Any] = {}
        for index, value in zip(main.inputs, inputs, strict=True):
            shape = main.tensors[index].shape
            known[index] = tf.reshape(value, (-1, *shape))
        outputs = set(main.outputs) if mode.loss else set()
        unrounded = self._before_outputs(outputs)
        for operator in main.operators:
            try:
                with tf.name_scope(failures.scope_of(operator)):
                    results = self._compute(operator, known, state)
            except EdgeQuantError:
                raise
            except Exception as error:
                place = failures.place_of(plan, operator)
                raise failures.training_error(self.where, place, error) from None
            moved = self._on_grid(operator)
            for index, result in zip(operator.outputs, results, strict=True):
                shape = main.tensors[index].shape
                result = tf.reshape(result, (-1, *shape))
                group = plan.groups.get(index)
                if group is not None and not moved:
                    if group not in plan.fixed and mode.follow_ranges:
                        state.lows.setdefault(group, []).append(tf.reduce_min(result))
                        state.highs.setdefault(group, []).append(tf.reduce_max(result))
                    if mode.quantize and index not in unrounded:
                        result = rounding.to_range(tf, result, *edges[group])
                known[index] = result
                if index in mode.channels_of:
                    axes = list(range(len(result.shape) - 1))
                    state.channels[index] = (
                        tf.reduce_min(result, axes),
                        tf.reduce_max(result, axes),
                    )
        return [known[i] for i in main.outputs], state

    def _before_outputs(self, outputs: set[int]) -> set[int]:
        """The softmaxes and sigmoids that outputs come from."""
        found: set[int] = set()
        for operator in reversed(self.plan.main.operators):
            if not outputs.intersection(operator.outputs):
                continue
            if operator.name in ("SOFTMAX", "LOGISTIC", "LOG_SOFTMAX"):
                found.update(operator.outputs)
            elif operator.name in ("DEQUANTIZE", "RESHAPE"):
                outputs = outputs | {operator.inputs[0]}
        return found

    def _on_grid(self, operator: Operator) -> bool:
        """Whether the outputs are on their grid already: values of inputs with the same scale."""
        plan = self.plan
        if operator.index in plan.bypassed:
            return True
        if operator.name not in MOVES_DATA:
            return False
        inputs = {plan.groups.get(i) for i in operator.inputs if i >= 0 and not self._is_index(i)}
        return inputs <= {plan.groups.get(i) for i in operator.outputs} and None not in inputs

    def _is_index(self, index: int) -> bool:
        return self.plan.main.tensors[index].type in ("INT32", "INT64", "BOOL")

    def _value(self, index: int, known: Mapping[int, Any], state: _Pass) -> Value | None:
        if index < 0:
            return None
        plan, shape = self.plan, self.plan.main.tensors[index].shape
        if index in known:
            return Value(known[index], shape, True)
        if index in plan.sources:
            position = plan.sources[index]
            value = self._master(position)
            # What an operator passes on is rounded with its output, on the same grid.
            if state.mode.quantize and index not in plan.constant_groups:
                value = rounding.round_constant(self.tf, value)
            return Value(value, shape, False)
        if index not in plan.constants:
            raise ConversionError(
                f"{self.where}: qat_int8: the tensor {plan.main.tensors[index].shown} is read "
                "before it is written (a state between inferences); it can't be trained"
            )
        return Value(plan.constants[index], shape, False)

    def _compute(self, operator: Operator, known: Mapping[int, Any], state: _Pass) -> list[Any]:
        tf, main = self.tf, self.plan.main
        if operator.index in self._opaque:
            opaque = self._opaque[operator.index]
            return opaque(tf, [known[i] for i in opaque.inputs], state.mode.quantize)
        shapes = [main.tensors[i].shape for i in operator.outputs]
        place, bias_place = WEIGHTED.get(operator.name, (None, None))
        if place is None or operator.inputs[place] not in self.plan.sources:
            arguments = [self._value(i, known, state) for i in operator.inputs]
            types = [_type(main.tensors[i]) for i in operator.outputs]
            found = OPERATORS[operator.name](tf, Call(operator, arguments, shapes, types))
            results = list(found) if isinstance(found, list | tuple) else [found]
        else:
            results = [self._weighted(operator, place, bias_place, known, state, shapes)]
        kind = int(operator.options.get("fusedActivationFunction", 0) or 0)
        return [activate(tf, result, kind) for result in results]

    def _weighted(
        self,
        operator: Operator,
        place: int,
        bias_place: int | None,
        known: Mapping[int, Any],
        state: _Pass,
        shapes: list[tuple[int, ...]],
    ) -> Any:
        """Convolutions and matrix products, with what batch normalization adds."""
        tf, plan = self.tf, self.plan
        tensor = plan.main.tensors[operator.inputs[place]]
        folded = self.gain(operator.index)
        value, step = self._master(plan.sources[tensor.index]), None
        if folded is not None:
            value = value * folded[0]
        if state.mode.quantize:
            per_channel = tensor.quantization is not None and tensor.quantization.per_axis
            key = (plan.sources[tensor.index], per_channel)
            if folded is not None or key not in state.rounded:
                state.rounded[key] = rounding.round_weights(tf, value, per_channel)
            value, step = state.rounded[key]
        arguments: list[Value | None] = []
        for position, index in enumerate(operator.inputs):
            if position == place:
                arguments.append(Value(value, tensor.shape, False))
            elif position == bias_place:
                arguments.append(None)
            else:
                arguments.append(self._value(index, known, state))
        result = OPERATORS[operator.name](tf, Call(operator, arguments, shapes))
        if operator.index in plan.normalized and state.mode.follow_statistics:
            axes = list(range(len(result.shape) - 1))
            state.moments[operator.index] = tf.nn.moments(result, axes)
        bias = self._bias(operator, bias_place)
        if bias is not None:
            bias = bias if folded is None else bias + folded[1]
            if step is not None:
                # Its grid is that of the products: coarse where a channel's weights are large.
                source = operator.inputs[2 if operator.name == "TRANSPOSE_CONV" else 0]
                bias = rounding.straight_through(tf, bias, self._scale(source, state.edges) * step)
            result = result + bias
        return result

    def _bias(self, operator: Operator, place: int | None) -> Any | None:
        if place is None or len(operator.inputs) <= place or operator.inputs[place] < 0:
            return None
        index = operator.inputs[place]
        if index in self.plan.sources:
            return self._master(self.plan.sources[index])
        return self.tf.constant(self.plan.constants[index], self.tf.float32)

    # -- state that follows ---------------------------------------------------------------------

    def start_statistics(self, moments: Mapping[int, tuple[Any, Any]]) -> None:
        """Begin following batch normalization from the float model's own moments."""
        tf = self.tf
        for index, (mean, variance) in moments.items():
            self.statistics[index] = Statistics(
                tf.Variable(mean, trainable=False),
                tf.Variable(variance, trainable=False),
                (tf.constant(mean), tf.constant(variance)),
            )

    def follow(self, state: _Pass) -> None:
        """Move ranges and statistics towards those of the batch that a pass saw."""
        tf = self.tf
        rate = 1.0 - _MOMENTUM
        if state.lows:
            groups = sorted(state.lows)
            lows = tf.stack([tf.reduce_min(tf.stack(state.lows[g])) for g in groups])
            highs = tf.stack([tf.reduce_max(tf.stack(state.highs[g])) for g in groups])
            seen = tf.stack([tf.minimum(lows, 0.0), tf.maximum(highs, 0.0)], axis=1)
            now = tf.gather(self.ranges, groups)
            moved = now + rate * (seen - now)
            wide = tf.maximum(moved[:, 1], moved[:, 0] + rounding.NARROWEST)
            moved = tf.stack([moved[:, 0], wide], axis=1)
            self.ranges.scatter_nd_update([[g] for g in groups], moved)
        for index, (mean, variance) in state.moments.items():
            statistics, folded = self.statistics[index], self.gain(index)
            assert folded is not None
            gain = folded[0]
            statistics.mean.assign_add(rate * (mean / gain - statistics.mean))
            statistics.variance.assign_add(
                rate * (variance / tf.square(gain) - statistics.variance)
            )

    def snapshot(self) -> list[NDArray[np.float32]]:
        """Everything that training changes."""
        return [np.array(v) for v in self._state()]

    def restore(self, snapshot: Sequence[NDArray[np.float32]]) -> None:
        for variable, value in zip(self._state(), snapshot, strict=True):
            variable.assign(value)

    def _state(self) -> list[Any]:
        found = [v.value for v in self.variables]
        found.append(self.ranges)
        for statistics in self.statistics.values():
            found += [statistics.mean, statistics.variance]
        return found

"""The converter's reasons, from what it really printed."""

from __future__ import annotations

from pytest_edgequant.conversion.converter_messages import converter_reason

_LOCATED = (
    '<unknown>:0: error: loc(callsite(fused["{op}:", "{path}/{op}@__inference_serve_58"] at '
    'callsite(fused["StatefulPartitionedCall:", "StatefulPartitionedCall@__inference_68"] at '
    'fused["StatefulPartitionedCall:", "StatefulPartitionedCall"]))): \'tf.{op}\' op is neither '
    "a custom op nor a flex op\n"
)


def _refused(*operators: tuple[str, str], lists: str) -> RuntimeError:
    located = "".join(_LOCATED.format(op=op, path=path) for op, path in operators)
    return RuntimeError(
        f"Could not translate MLIR to FlatBuffer.{located}"
        "<unknown>:0: error: failed while converting: 'main': \n"
        "Some ops are not supported by the native TFLite runtime, you can enable TF kernels "
        f"fallback using TF Select.\n{lists}Details:\n\ttf.BitwiseAnd(tensor<1x4xi32>)\n"
    )


def test_operators_that_tflite_lacks_are_named_with_their_layers() -> None:
    error = _refused(
        ("BitwiseAnd", "model/odd"),
        ("BitwiseAnd", "model/even"),
        ("Svd", "model/last"),
        lists="TF Select ops: BitwiseAnd, Svd\n",
    )
    assert converter_reason(error) == (
        "TFLite has no operator for the operator of TensorFlow BitwiseAnd (in 'model/odd', "
        "'model/even'), the operator of TensorFlow Svd (in 'model/last'). Compute it outside of "
        "the model, or replace it by operations that TFLite has"
    )


def test_custom_operators_are_named() -> None:
    reason = converter_reason(
        _refused(("PyFunc", "model/odd"), lists="Custom ops: PyFunc\nTF Select ops: Other\n")
    )
    assert "the custom operator PyFunc (in 'model/odd')" in reason
    assert "TensorFlow Other" in reason
    assert "failed while converting" not in reason


def test_every_operator_without_16_bits_is_named() -> None:
    text = "".join(
        f"Quantization to 16x8-bit not yet supported for op: '{name}'.\n"
        for name in ("RFFT2D", "COMPLEX_ABS", "RFFT2D")
    )
    reason = converter_reason(RuntimeError(text))
    assert reason.count("RFFT2D") == 1
    assert "COMPLEX_ABS" in reason
    assert "\n" not in reason


def test_a_reason_behind_its_location_names_the_layer() -> None:
    text = (
        '<unknown>:0: error: loc(callsite(fused["Softmax:", "model/last/Softmax@__inference_1"] at '
        'fused["StatefulPartitionedCall:", "StatefulPartitionedCall"])): \'tfl.softmax\' op failed '
        'to verify its types\n<unknown>:0: note: loc(fused["x"]): called from\n'
    )
    reason = converter_reason(RuntimeError(text))
    assert reason == "'tfl.softmax' op failed to verify its types (in 'model/last')"


def test_other_errors_stay_as_they_are() -> None:
    located = "loc(\"x\"): error: 'tfl.split' op failed: called from somewhere\n"
    assert converter_reason(RuntimeError(located)) == "'tfl.split' op failed"
    assert converter_reason(RuntimeError("two\nlines")) == "two lines"
    assert converter_reason(ValueError()) == "ValueError"
    assert len(converter_reason(RuntimeError("x" * 5000))) < 1000

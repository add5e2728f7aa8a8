"""What to do about an accuracy drop, by its size.

Over 10 % points to missing or bad calibration data, 5-10 % to more and more diverse samples or
quantization-aware training, less is a trade-off to decide.
"""

from __future__ import annotations


def accuracy_drop_advice(drop: float, calibrated: bool) -> str:
    """One sentence; `drop` is a fraction, `calibrated` whether the variant was calibrated."""
    if not calibrated:
        return (
            "This form needs no calibration data: a drop here points to the evaluation itself "
            "(preprocessing, labels) or to weights with extreme ranges"
        )
    if drop > 0.10:
        return (
            "A drop of over 10 points means no or bad calibration data: check that "
            "edge_calibration has the preprocessing of training, every class, and 200-500 samples "
            "of validation data"
        )
    if drop > 0.05:
        return (
            "A drop of 5 to 10 points asks for more and more diverse calibration samples (200-500, "
            "every class), int16x8, or quantization-aware training (edge_qat_int8)"
        )
    return (
        "A drop under 5 points is a trade-off to decide: raise max_drop knowingly, or try int16x8 "
        "or quantization-aware training (edge_qat_int8)"
    )


_NEGLIGIBLE = 0.01
"""A drop that int8 is commonly granted: one point."""


def training_advice(untrained: float, trained: float) -> str:
    """Whether quantization-aware training is worth it; drops of accuracy as fractions."""
    gained = untrained - trained
    if untrained <= _NEGLIGIBLE:
        return "Training is not needed here: int8 loses a point at most"
    if gained <= 0:
        return (
            "Training gave nothing back: give more data or epochs, another learning rate, or try "
            "int16x8"
        )
    if trained > _NEGLIGIBLE:
        return (
            f"Training gives back {100 * gained:.1f} points and leaves {100 * trained:.1f}: more "
            "epochs or data may give back more"
        )
    return f"Training is worth it: it gives back {100 * gained:.1f} points"

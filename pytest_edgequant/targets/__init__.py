"""Boards as data: one TOML file a target, and those of the user's own configuration.

It may import `tflite`, `samples`, `records` and the ground; what is measured or refused on a board
is known above.
"""

from pytest_edgequant.targets.loading import DEFAULT_TARGET, Targets
from pytest_edgequant.targets.tables import KERNELS, build_target, check_optimization, known_keys

__all__ = [
    "DEFAULT_TARGET",
    "KERNELS",
    "Targets",
    "build_target",
    "check_optimization",
    "known_keys",
]

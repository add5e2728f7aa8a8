"""What this machine's processor is."""

from __future__ import annotations

import platform
from functools import lru_cache
from pathlib import Path

_COMPUTING = (
    *("sse", "ssse", "avx", "fma", "f16c", "amx"),
    *("fp", "asimd", "neon", "vfp", "sve", "sme", "bf16", "i8mm"),
)


@lru_cache(maxsize=1)
def instructions() -> frozenset[str]:
    """The processor's instruction set extensions, as Linux names them; empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    for line in text.split("\n"):
        if line.startswith(("flags", "Features")):
            return frozenset(line.split(":", 1)[1].split())
    return frozenset()


@lru_cache(maxsize=1)
def machine() -> tuple[str, str, str]:
    """What float results may depend on, beside the software: how this processor computes.

    Of its extensions those that compute; others come and go with the kernel and its mitigations.
    """
    flags = sorted(flag for flag in instructions() if flag.startswith(_COMPUTING))
    return platform.machine(), platform.system(), " ".join(flags)


def usual_kernel() -> str:
    """The kernel of `tflite.folding` that int8 convolutions run on here; empty if not known."""
    if "amx_int8" in instructions():
        return "amx"
    if not {"avx2", "avx512_vnni", "avx_vnni"}.isdisjoint(instructions()):
        return "vector"
    return ""

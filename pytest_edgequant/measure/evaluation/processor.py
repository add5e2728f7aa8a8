"""What this machine's processor is."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path


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


def usual_kernel() -> str:
    """The kernel of `tflite.folding` that int8 convolutions run on here; empty if not known."""
    if "amx_int8" in instructions():
        return "amx"
    if not {"avx2", "avx512_vnni", "avx_vnni"}.isdisjoint(instructions()):
        return "vector"
    return ""

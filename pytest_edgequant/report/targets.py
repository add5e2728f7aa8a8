"""The table of targets that `--edge-list-targets` prints."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from pytest_edgequant.api.latency import estimates_on
from pytest_edgequant.records import Figure, Target
from pytest_edgequant.units import format_frequency, format_size


def _size(figure: Figure | None) -> str:
    if figure is None:
        return "no limit"
    return format_size(figure.value) + ("" if figure.verified else " *")


def target_lines(targets: Iterable[Target]) -> list[str]:
    """One row a target; figures from no source that was read are marked with an asterisk."""
    from tabulate import tabulate

    rows = [
        [
            target.name,
            target.title,
            target.core,
            format_frequency(target.clock.value) if target.clock else "-",
            _size(target.flash),
            _size(target.flash_for_model or target.flash_after_firmware),
            _size(target.sram),
            _size(target.sram_for_arena),
            f"{target.runtime} ({target.kernels})",
            estimates_on(target) or "-",
            ", ".join(target.variants),
        ]
        for target in targets
    ]
    headers = [
        "target",
        "board",
        "core",
        "clock",
        "flash",
        "after firmware",
        "SRAM",
        "for the arena",
        "runtime (kernels)",
        "latency estimate",
        "variants",
    ]
    return [
        *tabulate(rows, headers, tablefmt="simple", disable_numparse=True).splitlines(),
        "* unverified: an assumption, not read in a source; set your own in "
        "[tool.edgequant.targets.NAME]",
        "latency estimate: of which arithmetic estimate_latency has one; measure others on the "
        "board (edge_device_result), and what runs LiteRT with edge_benchmark",
    ]


def target_document(target: Target) -> dict[str, Any]:
    """A target as plain data: each figure with its source, and what of a latency is estimated."""
    found = dataclasses.asdict(target)
    return found | {"latency_estimate": estimates_on(target) or None}

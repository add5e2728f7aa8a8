"""The measurements under the assertions: arena and size of a variant, and what refuses it.

For scripts and notebooks as well: nothing here needs pytest.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

from pytest_edgequant.api.convert import for_target
from pytest_edgequant.errors import (
    CannotRunError,
    MeasurementUnavailable,
    NotApplicableError,
    user_facing,
)
from pytest_edgequant.measure import legality
from pytest_edgequant.measure.arena import compute_arena
from pytest_edgequant.measure.flash import FlashSplit, split_flash
from pytest_edgequant.pipeline.current import current_pipeline
from pytest_edgequant.records import (
    Arena,
    Target,
    Variant,
)
from pytest_edgequant.targets.profiles import (
    NEWEST,
    Profile,
    core_abi,
    core_extension,
    make_profile,
)
from pytest_edgequant.targets.runtimes import RUNTIMES
from pytest_edgequant.tflite.graph import read_graph
from pytest_edgequant.tflite.model import graph_of, model_of


def refusals(variant: Variant, target: Target, *, wrong_results: bool = True) -> list[str]:
    """Why the target's runtime can't run the variant; empty where it can.

    By the variant's name, by its graph, and by what the interpreter itself says (LiteRT's, or
    TFLM's where the `tflite-micro` wheel is there). Without `wrong_results` only what does not run
    at all.
    """
    by_name = legality.variant_refused(variant.name, target)
    if by_name is not None:
        return [by_name]
    graph = graph_of(variant)
    found = legality.graph_refusals(graph, target, wrong_results=wrong_results)
    # The interpreters on this machine have none of the operators that only the firmware registers.
    if not found and not legality.foreign_operators(graph, target):
        try:
            if target.is_microcontroller:
                current_pipeline().interpreters.tflm_allocation(variant.content)
            else:
                current_pipeline().interpreters.check_litert(variant.content)
        except CannotRunError as error:
            found.append(legality.named_by_interpreter(str(error), graph, target))
        except MeasurementUnavailable:
            pass
    return found


def runtime_warnings(variant: Variant, target: Target) -> list[str]:
    """What a user should know of a variant that the target's runtime does run."""
    return legality.warnings(graph_of(variant), target)


def flash_split(variant: Variant, target: Target | None) -> FlashSplit:
    """How the target's flash is shared by the firmware, TFLM's code and the variant."""
    if target is None:
        return FlashSplit(variant.size_bytes, None, None)
    return split_flash(variant.size_bytes, graph_of(variant), target)


def _profile_of(
    target: Target | None,
    abi: str | None = None,
    core: str | None = None,
    kernels: str | None = None,
    release: str | None = None,
) -> Profile:
    """The build of TFLM that runs on a target; keywords override what the target says."""
    core = core or (target.core if target is not None else None)
    kernels = kernels or (target.kernels if target is not None else None)
    abi = abi or (core_abi(core) if core is not None else None)
    if abi is None or core is None or kernels is None:
        raise MeasurementUnavailable(
            f"the arena depends on ABI, core and kernel library; known here are abi={abi}, "
            f"core={core}, kernels={kernels}. Give a target, or all three"
        )
    if target is not None and core_extension(core) is None:
        raise MeasurementUnavailable(f"the arena on the core {core!r} is not known")
    release = release or (target.release if target is not None else None) or NEWEST.name
    return make_profile(abi, core, kernels, release)


def _refused(variant: Variant, target: Target | None, profile: Profile) -> list[str]:
    """Why a build of TFLM would refuse the model; empty where it would run it."""
    runtime = RUNTIMES["tflm"]
    judged = target or Target(
        "tflm", "TFLM", "-", "-", "-", "-", "tflm", profile.kernels, runtime.variants, {}
    )
    return refusals(
        variant, dataclasses.replace(judged, kernels=profile.kernels), wrong_results=False
    )


@user_facing
def measure_arena(
    model: Any,
    target: Target | str | None = None,
    *,
    abi: str | None = None,
    core: str | None = None,
    kernels: str | None = None,
    release: str | None = None,
) -> Arena:
    """The tensor arena that TFLM needs for a model on a target, in bytes.

    `model` is a Variant, a path or the bytes of a .tflite. Computed for the target's own build:
    `abi` ("arm32", "xtensa", "riscv32", "x86_64"), `core` ("cortex-m4") and `kernels` ("reference",
    "cmsis-nn", "esp-nn") override what the target says, or stand for it when all three are given.
    `release` is the one of TFLM that the firmware's library ships ("chirale-2.0.0"), by default
    the target's, else the newest one that is known.
    Where an operator's memory is not known, all figures are upper bounds, and `provenance` names
    the operator. With `--edge-arena-verify` the same calculator is checked against the
    `tflite-micro` interpreter (x86-64, reference kernels) where that is installed.

    Raises `CannotRunError` where TFLM refuses the model, `NotApplicableError` on a target without
    an arena, `MeasurementUnavailable` where the target's build is not known, `ArenaMismatch` where
    the interpreter says otherwise.
    """
    variant, found = for_target(model, target)
    if found is not None and not found.is_microcontroller:
        raise NotApplicableError(
            f"{found.name} runs {found.runtime}, which allocates from the heap: there is no "
            "tensor arena"
        )
    profile = _profile_of(found, abi, core, kernels, release)
    reasons = _refused(variant, found, profile)
    if reasons:
        raise CannotRunError(f"{variant.label}: TFLM can't run it here: {'; '.join(reasons)}")
    arena = compute_arena(graph_of(variant), profile, variant.content)
    said = current_pipeline().interpreters.arena_verification(model_of(variant))
    return dataclasses.replace(arena, provenance=f"{arena.provenance}; {said}") if said else arena


@user_facing
def optimize_arena(model: Any, target: Target | str | None = None) -> bytes:
    """The model with a tighter memory plan in its metadata, which TFLM follows.

    `model` is a Variant, a path or the bytes of a .tflite with one subgraph; outputs stay the same.
    The plan is made for `target` (its kernels' scratch counts too), else for reference kernels on
    a 32-bit Arm core. Gives the model's own bytes where no better plan was found; `measure_arena`
    of both tells the difference.

    Raises `CannotRunError` where TFLM has no kernel for an operator.
    """
    from pytest_edgequant.measure.arena.optimizer import optimized

    variant, found = for_target(model, target)
    profile = (
        _profile_of(found) if found is not None else make_profile("arm32", "cortex-m4", "reference")
    )
    with current_pipeline().progress(f"planning the arena of {variant.label}") as step:
        told = partial(step.at, unit="plans")
        return optimized(variant.content, graph_of(variant), profile, told)


def roomier_target(variant: Variant, target: Target) -> tuple[Target, int, int] | None:
    """The target with the least SRAM on which a model's arena fits, of those with more than here.

    With the bytes that are left there for an arena, and those that the model needs. None where no
    known target has enough, or none would run the model.
    """
    graph = graph_of(variant)
    here = target.sram_for_arena.value if target.sram_for_arena is not None else 0
    offered = [
        (other.sram_for_arena.value, other.name, other)
        for other in current_pipeline().targets
        if other.is_microcontroller and other.sram_for_arena and other.sram_for_arena.value > here
    ]
    for room, _, other in sorted(offered, key=lambda entry: entry[:2]):
        if legality.variant_refused(variant.name, other) or legality.graph_refusals(graph, other):
            continue
        try:
            need = compute_arena(graph, _profile_of(other)).minimum_bytes
        except (CannotRunError, MeasurementUnavailable):
            continue
        if need <= room:
            return other, room, need
    return None


def arena_build(target: Target) -> Profile:
    """The build of TFLM that a target's arena is computed for: equal for boards that share it.

    Raises `MeasurementUnavailable`.
    """
    return _profile_of(target)


def computed_arena(content: bytes, target: Target, where: str = "model") -> Arena:
    """The arena as `measure_arena` computes it, of a .tflite that the target is known to run.

    Raises `CannotRunError`, `MeasurementUnavailable`.
    """
    return compute_arena(read_graph(content, where), _profile_of(target), content)

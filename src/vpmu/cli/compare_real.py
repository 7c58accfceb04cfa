"""`vpmu compare` where a side is a real kernel: `kvm:SUITE`, or the user's build."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from .compare import show
from .options import DEFAULT_HOST_PMU, fault_plan

if TYPE_CHECKING:
    from ..campaign.compare_real import Named, RealComparison

BUILT_IN = "none"
"""--kvm-module of a kernel with KVM built in, where the other one has a module."""


def is_real(args: argparse.Namespace) -> bool:
    """Whether a side is a real kernel."""
    from ..conform.targets import is_kvm

    return bool(args.host_kernel) or any(map(is_kvm, args.sides[:-1]))


def run(args: argparse.Namespace) -> int:
    """Compare; the exit status."""
    from ..campaign.compare_real import compare_real
    from ..conform.watched_guest import is_linux
    from ..faults import FaultPlan
    from ..report.compare_real import markdown, page
    from ..vmm.linux.progress import Progress
    from .images import find_image

    first, second = sides(args)
    for option in ("host_timeout", "timeout", "max_instructions"):
        if getattr(args, option, None) is not None:
            raise UsageError(
                f"--{option.replace('_', '-')}", expected="profiles to compare", got="a real kernel"
            )
    if args.host_pmu != DEFAULT_HOST_PMU:
        raise UsageError(
            "--host-pmu", expected="profiles to compare", got="a real kernel, whose hart has full"
        )
    name = args.sides[-1]
    image = name if is_linux(name) else str(find_image(name))
    shown = Progress(quiet=args.json or not sys.stderr.isatty())
    found = compare_real(first, second, image, fault_plan(args) or FaultPlan(), name=name, told=shown.step)
    shown.finish()
    return show(args, found, markdown, page, as_object)


def sides(args: argparse.Namespace) -> tuple[Named, Named]:
    """The two sides: those that are named first, then builds, in order. Raises UsageError."""
    found = [_named(name) for name in args.sides[:-1]]
    kernels: Sequence[str] = args.host_kernel
    modules: Sequence[str] = args.kvm_module
    if len(found) + len(kernels) != 2:
        raise UsageError("compare", expected="two of PROFILE, kvm:SUITE and --host-kernel, then GUEST",
                         got=f"{len(found)} and {len(kernels)} --host-kernel")  # fmt: skip
    if modules and len(modules) != len(kernels):
        expected = "one for each --host-kernel, in order ('none': it is built in)"
        got = f"{len(modules)} for {len(kernels)}"
        raise UsageError("--kvm-module", expected=expected, got=got)
    from ..conform.kvm import VPMU, HostOptions

    labels = _labels(kernels, modules)
    for index, kernel in enumerate(kernels):
        module = modules[index] if modules and modules[index] != BUILT_IN else None
        options = HostOptions(on=VPMU, kernel=Path(kernel), module=None if module is None else Path(module))
        found.append((labels[index], options))
    return found[0], found[1]


def _labels(kernels: Sequence[str], modules: Sequence[str]) -> list[str]:
    """The builds' names in tables: as short as tells one from the other."""
    choices = [[Path(kernel).name for kernel in kernels], list(kernels)]
    if modules:
        choices += [[Path(module).name for module in modules], list(modules)]
    return next((labels for labels in choices if len(set(labels)) == len(labels)), choices[0])


def _named(name: str) -> Named:
    from dataclasses import replace

    from ..conform.kvm import VPMU
    from ..conform.targets import host_options, is_kvm
    from ..profiles.profiles import get_profile
    from ..vmm.linux.progress import Progress

    if is_kvm(name):
        options = host_options(name)
        if options.on not in ("", VPMU):
            raise UsageError("compare", expected="a host on vpmu", got=name)
        return name, replace(options, on=VPMU, progress=Progress(quiet=True))
    return get_profile(name).name, None


def as_object(found: RealComparison) -> dict[str, object]:
    """For JSON."""
    return {
        "changed": found.changed,
        "kernels": [found.first.kernel, found.second.kernel],
        "rows": [{"what": what, "first": one, "second": two} for what, one, two in found.rows],
        "host_rows": [{"what": what, "first": one, "second": two} for what, one, two in found.host_rows],
        "differs_at": found.differs_at,
        "parted": None if found.parted is None else list(found.parted),
        "costs": [found.first.run.costs, found.second.run.costs],
        "paths": [
            {
                "mark": path.mark, "layer": path.function.layer, "function": path.function.function,
                "depth": path.function.depth,
                "results": [None if one is None else one.result for one in (path.first, path.second)],
                "instructions": [None if one is None else one.total for one in (path.first, path.second)],
            }
            for path in found.paths
        ],
    }  # fmt: skip

"""Our engines against Spike on one batch of probes, and where the two may differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .bare import Image
from .probe import ISA, Probe, Result, build, on_engine, on_spike

SGEI = 1 << 12
MASKS = dict.fromkeys(("mideleg", "mie", "hie", "mip", "hip"), ~SGEI)
"""Spike shows bit 12 of these although it has no guest external interrupts (GEILEN is 0)."""
CHOICES = ("mtinst", "htinst")
"""Spike writes zero for loads and stores (privileged ISA, 21.6.3: it may); rows test ours."""

Excuse = Callable[[Probe, str, int, int], bool]


def none(probe: Probe, name: str, ours: int, spikes: int) -> bool:
    return False


def differences(
    probes: Sequence[Probe], ours: Sequence[Result], spikes: Sequence[Result], excuse: Excuse = none
) -> list[str]:
    """One line per probe that answers otherwise on Spike."""
    lines = []
    for probe, one, other in zip(probes, ours, spikes, strict=True):
        wrong = []
        for name, value in one.words.items():
            theirs = other[name]
            mask = MASKS.get(name, -1)
            if value & mask == theirs & mask or (name in CHOICES and theirs == 0):
                continue
            if not excuse(probe, name, value, theirs):
                wrong.append(f"{name} {value:#x}, Spike {theirs:#x}")
        if wrong:
            lines.append(f"{probe.mode} {probe.name}: " + "; ".join(wrong))
    return lines


def same_on_both_engines(
    probes: Sequence[Probe],
    prepare: Callable[[Image], None] = lambda image: None,
    isa: frozenset[str] = ISA,
    pmp: int = 0,
) -> list[Result]:
    """The results of a batch, once the engines agree on them."""
    batch = build(probes, prepare, isa)
    native, reference = on_engine(batch, "native", isa, pmp), on_engine(batch, "reference", isa, pmp)
    for probe, one, other in zip(probes, native, reference, strict=True):
        assert one.words == other.words, f"{probe.mode} {probe.name}"
    return native


def as_on_spike(
    probes: Sequence[Probe],
    ours: Sequence[Result],
    prepare: Callable[[Image], None] = lambda image: None,
    isa: frozenset[str] = ISA,
    options: Sequence[str] = ("--pmpregions=0",),
    excuse: Excuse = none,
) -> list[str]:
    """Differences of `ours` from what Spike answers to the same batch."""
    return differences(probes, ours, on_spike(build(probes, prepare, isa), isa, options), excuse)

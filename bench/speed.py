"""Guest speed: the same ELF files on vpmu and on QEMU, taken in turns, so that a busy machine is busy for
all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from measure import MEMORY, Cost, Runner, best, measure

SPEED_GUESTS = (
    "aes",
    "alu",
    "memory",
    "calls",
    "mixed",
    "fp",
    "interpreter",
    "matrix",
    "mixedpage",
    "sort",
    "strings",
)
"""Guests whose time is all their own work; `mixed` is the CoreMark-like one."""


@dataclass(frozen=True, slots=True)
class Speed:
    """One guest on one runner. `net` is what is left without the start of the runner (its time for an empty
    guest), `rounds` the same in each round.
    """

    guest: str
    runner: str
    instructions: int
    cost: Cost
    net: Cost
    rounds: list[Cost]

    @property
    def mips(self) -> float:
        """Million guest instructions in a second of net CPU time."""
        return self.instructions / self.net.cpu / 1e6


def instructions_of(image: Path) -> int:
    """What the guest retires on vpmu, which is what it retires anywhere but for its wait for the end."""
    from vpmu import Machine

    machine = Machine(memory=128 << 20)
    machine.load(str(image))
    return machine.run().instructions


def guest_speed(
    images: Sequence[Path], empty: Path, runners: Sequence[Runner], rounds: int, say: Callable[[str], None]
) -> list[Speed]:
    """Run every guest on every runner, `rounds` times, in turns."""
    taken: dict[tuple[Path, str], list[Cost]] = {}
    for number in range(rounds):
        for image in (empty, *images):
            for runner in runners:
                say(f"round {number + 1} of {rounds}: {image.stem} on {runner.name} ({MEMORY})")
                expect = "hello" if image == empty else image.stem
                taken.setdefault((image, runner.name), []).append(
                    measure(runner.command(image), expect=expect)
                )
    out = []
    for image in images:
        instructions = instructions_of(image)
        for runner in runners:
            cost, start = best(taken[image, runner.name]), best(taken[empty, runner.name])
            each = [_without(one, start) for one in taken[image, runner.name]]
            out.append(Speed(image.stem, runner.name, instructions, cost, _without(cost, start), each))
    return out


def _without(cost: Cost, start: Cost) -> Cost:
    return Cost(max(cost.cpu - start.cpu, 1e-9), max(cost.wall - start.wall, 1e-9))


def ratios(speeds: Sequence[Speed]) -> dict[str, dict[str, dict[str, float]]]:
    """guest -> QEMU's way -> how many times as fast vpmu is, by net CPU time and by net wall time; `low` and
    `high` are the least and the most that a round says, by CPU time.
    """
    out: dict[str, dict[str, dict[str, float]]] = {}
    for ours in speeds:
        if ours.runner != "vpmu":
            continue
        for other in speeds:
            if other.guest == ours.guest and other.runner != "vpmu":
                each = [one.cpu / own.cpu for one, own in zip(other.rounds, ours.rounds, strict=True)]
                by = {"cpu": other.net.cpu / ours.net.cpu, "wall": other.net.wall / ours.net.wall}
                by |= {"low": min(each), "high": max(each)}
                out.setdefault(ours.guest, {})[other.runner] = by
    return out

"""What a run of a machine takes and gives: the outside world, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypedDict

from vpmu.brief import Brief

if TYPE_CHECKING:
    from vpmu.rows import Rows

Ending = tuple[str, str, int | None]
"""stop, reason and reset reason of a RunResult."""


class Host(Protocol):
    """What connects a run to the outside world. A run without one is a function of its inputs."""

    def poll(self) -> None:
        """Called every few million instructions: feed console input (Machine.console_input), halt the
        machine.
        """

    def idle(self, now: int, wake: int | None) -> int | None:
        """All harts sleep, until virtual time `wake` if that is not None: wait for the outside world.

        Answers the virtual time at which to go on, at most `wake`; None: nothing comes from outside.
        """


class Limits(TypedDict, total=False):
    """Of a run (Machine.run): instructions, and virtual time."""

    max_instructions: int | None
    timeout_ns: int | None


@dataclass(frozen=True, slots=True, repr=False)
class RunResult(Brief):
    """How a run ended. `stop` is shutdown, reset, kvm_run_failed, budget, idle, hung, breakpoint,
    watchpoint, caught, or what
    Machine.halt was given; `reason` says it in words.
    """

    stop: str
    reason: str
    instructions: int
    """Retired by all harts since power-on."""
    exits: int
    """Exits to user space in this run."""
    exit_counts: dict[str, int]
    """Exits to KVM (hart stops) and to user space, by kind, since power-on."""
    console: bytes
    seconds: float
    """Wall time of this run."""
    kvm_run_errno: int | None = None
    reset_reason: int | None = None
    """SRST's reset_reason or the code of the test finisher: 0 is success."""
    sbi_calls: dict[tuple[int, int, int], int] = field(default_factory=dict)
    """Answered SBI calls since power-on, by (EID, FID, error)."""
    virtual_ns: int = 0
    """Virtual time since power-on."""
    fixed_by: str | None = None
    """Of a host that is lost: the commit that keeps it alive."""

    @property
    def ok(self) -> bool:
        """The guest ended the run itself and reported no failure."""
        return self.stop in ("shutdown", "reset") and not self.reset_reason

    def calls(self) -> Rows:
        """The answered SBI calls as a table: extension, function, error, times."""
        from vpmu.rows import Rows
        from vpmu.spec.sbi import Eid, error_name
        from vpmu.spec.sbi_functions import function

        found = [
            (
                Eid(eid).name if eid in Eid._value2member_map_ else hex(eid),
                function(eid, fid).name,
                error_name(error),
                times,
            )
            for (eid, fid, error), times in sorted(self.sbi_calls.items())
        ]
        return Rows(("extension", "function", "error", "times"), found)

"""The machines of `vpmu_linux`: Debian at its prompt, booted once for each description of a machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from .settings import fault_plan, seed_of

if TYPE_CHECKING:
    from vpmu.vmm.linux.session import Answer, LinuxSession
    from vpmu.vmm.machine import Machine
    from vpmu.vmm.snapshot import Snapshot

_FIXED = ("plic",)
"""Words of the mark that a booted Linux decides."""


class LinuxGuest:
    """Debian at its prompt in a machine of its own; `oracle` holds what it is told against what its hart
    did.
    """

    def __init__(self, session: LinuxSession) -> None:
        from vpmu.campaign.oracle import Oracle

        self.session, self.machine = session, session.machine
        self.oracle = Oracle(self.machine)
        self.oracle.attach()

    def run(self, command: str, *, max_instructions: int | None = 2_000_000_000) -> Answer:
        """Run a shell command, one line, from the prompt to its end or the budget: its output and status."""
        self.session.restore()
        self.oracle.detach()
        self.oracle.attach()
        return self.session.run(command, restore=False, max_instructions=max_instructions)


class LinuxGuests:
    """What the tests of one process share: a snapshot at the prompt for each kind of machine."""

    def __init__(self) -> None:
        self._bases: dict[str, Snapshot] = {}

    def guest(self, arguments: dict[str, object]) -> LinuxGuest:
        """A guest of its own, with its trace recorded. VpmuError where Debian cannot be had or booted."""
        from vpmu.trace.recorder import Recorder
        from vpmu.vmm.linux.session import LinuxSession

        described = {key: value for key, value in arguments.items() if key not in ("inject", *_FIXED)}
        base = self._bases.get(repr(described))
        if base is None:
            base = self._bases[repr(described)] = _booted(described)
        session = LinuxSession.from_snapshot(base, recorder=Recorder())
        session.machine.inject(fault_plan(arguments.get("inject"), seed_of(arguments)))
        return LinuxGuest(session)


def _booted(described: dict[str, object]) -> Snapshot:
    from vpmu.vmm.linux.fetch import debian_guest
    from vpmu.vmm.linux.kept import kept_session
    from vpmu.vmm.linux.progress import Progress
    from vpmu.vmm.machine import Machine

    def build(sink: Callable[[bytes], None], bootargs: str) -> Machine:
        machine: dict[str, object] = {"memory": 256 << 20, **described}
        return Machine(console_out=sink, bootargs=bootargs, plic=True, second_serial=True, **machine)  # type: ignore[arg-type]

    quiet = Progress(quiet=True)
    session, _ = kept_session(debian_guest(progress=quiet), described, build, quiet)
    return session.machine.snapshot()


def skip_without_debian(error: Exception) -> None:
    """A guest that cannot be fetched here skips the test, with the reason."""
    from vpmu.vmm.linux.cache import FetchError

    if isinstance(error, FetchError):
        pytest.skip(str(error))

"""Debian in a VM of real KVM, at its prompt, and one command: a campaign's guest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..conform.real_linux import RealLinux, memory_for
from ..faults.plan import FaultPlan
from ..vmm.linux.fetch import debian_guest
from ..vmm.linux.session import WAIT
from .guests import Outcome
from .plan import Guest
from .real_stations import RealStation

if TYPE_CHECKING:
    from ..trace.recorder import Recorder
    from .real_oracle import RealOracle


class RealLinuxStation(RealStation):
    """The fetched guest on the host: both booted once, then every run begins at the prompt."""

    def __init__(
        self, guest: Guest, implementation: str, host_pmu: str, recorder: Recorder | None = None
    ) -> None:
        debian = debian_guest()
        self._kernel, self._initrd = debian.kernel_image(), debian.initramfs()
        self._memory = memory_for(self._kernel, self._initrd)
        super().__init__(guest, implementation, host_pmu, recorder, self._memory)

    def _prepared(self) -> RealOracle:
        link = self.host.target.link
        self.linux = RealLinux(
            link, self._description, self._kernel, self._initrd, command=WAIT, memory=self._memory
        )
        segments = self.linux.image.segments
        oracle = self._oracle(self.linux.guest.pages, {gpa: bytes(data) for gpa, data in segments})
        oracle.begin()  # it hears of the page that the driver shares when it starts
        self.linux.to_prompt()
        oracle.keep()
        return oracle

    def run(self, faults: FaultPlan, seed: int, max_instructions: int) -> Outcome:
        self._begin(faults)
        done = self.linux.command(self.guest.what, max_instructions)
        end = done.end
        return Outcome(
            end.stop, done.failure or end.reason, end.instructions, end.virtual_ns, done.output,
            dict(sorted(self.oracle.calls.items())), status=done.status,
            lost=end.stop in ("kvm_run_failed", "panic"), hung=done.status is None and end.stop == "budget",
            host_lost=end.stop == "host_lost", **self._common(),  # type: ignore[arg-type]
        )  # fmt: skip

"""`vpmu host --run GUEST` and `--exec COMMAND`: a guest in a VM of a real host, its counts held against the
hart's.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import HOST_LOST_STATUS, UsageError
from ..hart.events import HartEvent, Mode
from .check import WRONG
from .limits import add_host_timeout, add_timeout, count, nanoseconds
from .options import add_inject_option, fault_plan
from .output import print_json
from .parser import in_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..conform.kvm import HostOptions
    from ..conform.real_guest import RealEnd, RealGuest
    from ..peers.host_faults import HostFaults
    from ..vmm.loader import LoadedImage

LIMIT = 20_000_000_000


def add_guest_options(parser: argparse.ArgumentParser) -> None:
    """What runs in a VM of the host, and what goes wrong below it."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--run", metavar="GUEST", help="run a payload or an image of up to 4 MiB in a VM")
    which.add_argument("--exec", metavar="COMMAND", help="boot Linux in a VM and run a shell command")
    parser.add_argument(
        "--guest-kernel", metavar="IMAGE", type=in_file, help="of --exec (default: the fetched Debian's)"
    )
    parser.add_argument(
        "--guest-initrd",
        metavar="FILE",
        type=in_file,
        help="an initramfs with a shell, beside --guest-kernel",
    )
    parser.add_argument(
        "--max-instructions", metavar="N", type=count, default=LIMIT, help="of host and guest"
    )
    add_timeout(parser)
    add_host_timeout(parser)
    add_inject_option(parser)


def wanted(args: argparse.Namespace) -> bool:
    """Whether a guest is asked for. Raises UsageError for options that belong to one."""
    if args.guest_initrd is not None and args.guest_kernel is None:
        raise UsageError("--guest-initrd", expected="--guest-kernel beside it", got="none")
    if args.guest_kernel is not None and args.exec is None:
        raise UsageError("--guest-kernel", expected="--exec COMMAND", got="none")
    if args.inject and args.run is None and args.exec is None:
        raise UsageError("--inject", expected="a guest: --run or --exec", got="none")
    return args.run is not None or args.exec is not None


def run_guest(args: argparse.Namespace, options: HostOptions) -> int:
    """Run it; the command's exit status, 0 or 1 of a payload, HOST_LOST_STATUS where the host went down."""
    show: Callable[[bytes], None] = (lambda data: None) if args.json else _show
    guest = _Payload(args, options, show) if args.run is not None else _Linux(args, options, show)
    if args.timeout is not None:
        machine = guest.host.machine
        machine.turns.ends_ns = machine.time + (nanoseconds(args.timeout) or 0)
    end = guest.run(args.max_instructions)
    told = guest.told(end)
    if args.json:
        print_json({**told, "output": guest.output.decode(errors="replace")})
    else:
        print(_line(told), file=sys.stderr)
    if end.stop == "host_lost":
        return HOST_LOST_STATUS
    if told["wrong"]:
        return WRONG
    return guest.status if guest.status is not None and not guest.failure else 1


class _Watched:
    """A guest in a VM, with the host's faults in place and the oracle in its code."""

    status: int | None = None
    failure = ""
    output = b""

    def __init__(self, args: argparse.Namespace, options: HostOptions) -> None:
        from ..campaign.real_stations import counter_masks
        from ..conform.hooked import HookedHost
        from ..perf.description import load_host_pmu

        self.host = HookedHost(options)
        self.description = load_host_pmu(options.host_pmu)
        self._masks = counter_masks(self.host.target)
        self._plan = fault_plan(args)
        self._faults: HostFaults | None = None

    def watch(self, guest: RealGuest, image: LoadedImage) -> None:
        """Take the stand, once the guest is loaded. UsageError for a fault that has no place here."""
        from ..campaign.real_oracle import RealOracle
        from ..conform.real_guest import BASE
        from ..peers.host_faults import HostFaults

        host = self.host
        if self._plan:
            self._faults = HostFaults(host.hooks, self._plan)
            for rule, why in self._faults.not_carried:
                raise UsageError(f"{rule.source} on real KVM: {why}", layer="faults")
        self.oracle = RealOracle(
            host.machine, host.target.profile, self.description, BASE, guest.pages, self._masks
        )
        self.oracle.place({gpa: bytes(data) for gpa, data in image.segments})
        if self._plan:
            self.oracle.listen(host.hooks)  # looks up names, which takes as long as a short run
        self.oracle.begin()
        self._before = self._counts()

    def _counts(self) -> dict[str, int]:
        hart = self.host.machine.vcpu(0).hart
        modes = {"guest": Mode.VS, "guest_user": Mode.VU, "host": Mode.S, "host_user": Mode.U}
        return {name: hart.count(HartEvent.INSTRUCTIONS, mode) for name, mode in modes.items()}

    def run(self, limit: int) -> RealEnd:
        """Run it to its end."""
        raise NotImplementedError

    def told(self, end: RealEnd) -> dict[str, object]:
        """What came of it."""
        spent = {name: now - self._before[name] for name, now in self._counts().items()}
        return {
            "kernel": self.host.target.facts.kernel.split(" #")[0], "stop": end.stop, "reason": end.reason,
            "status": self.status, "failure": self.failure, "instructions": spent, "exits": end.exits,
            "sbi_calls": dict(sorted(self.oracle.calls.items())), "compared": self.oracle.values,
            "wrong": [str(finding) for finding in self.oracle.findings],
            "injected": 0 if self._faults is None else self._faults.fired,
        }  # fmt: skip


class _Payload(_Watched):
    def __init__(self, args: argparse.Namespace, options: HostOptions, show: Callable[[bytes], None]) -> None:
        from ..conform.real_guest import BASE, MEMORY, RealGuest
        from ..vmm.loader import load_image

        image = load_image(args.run, BASE, MEMORY)
        super().__init__(args, options)
        self.guest = RealGuest(self.host.target.link, self.description, MEMORY, show)
        self.guest.load(image)
        self.watch(self.guest, image)

    def run(self, limit: int) -> RealEnd:
        end = self.guest.run(limit)
        self.output, self.status = bytes(self.guest.output), end.reset_reason
        return end


class _Linux(_Watched):
    def __init__(self, args: argparse.Namespace, options: HostOptions, show: Callable[[bytes], None]) -> None:
        from ..conform.real_linux import RealLinux, memory_for

        kernel, initrd = _files(args)
        memory = memory_for(kernel, initrd)
        super().__init__(args, replace(options, guest_memory=memory))
        self.linux = RealLinux(self.host.target.link, self.description, kernel, initrd or None,
                               command=args.exec, memory=memory, output=show)  # fmt: skip
        self.watch(self.linux.guest, self.linux.image)

    def run(self, limit: int) -> RealEnd:
        done = self.linux.run(limit)
        self.output, self.status, self.failure = done.output, done.status, done.failure
        return done.end


def _files(args: argparse.Namespace) -> tuple[bytes, bytes]:
    """Kernel and initramfs of the guest. Raises VpmuError."""
    if args.guest_kernel is None:
        from ..vmm.linux.fetch import debian_guest

        debian = debian_guest()
        return bytes(debian.kernel_image()), bytes(debian.initramfs())
    from ..vmm.linux.boot import read_initrd, read_kernel

    return read_kernel(args.guest_kernel), b"" if args.guest_initrd is None else read_initrd(
        args.guest_initrd
    )


def _show(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.flush()


def _line(told: dict[str, object]) -> str:
    spent, wrong = told["instructions"], told["wrong"]
    assert isinstance(spent, dict)
    assert isinstance(wrong, list)
    guest, host = (sum(spent[name] for name in (mode, f"{mode}_user")) for mode in ("guest", "host"))
    lines = [
        f"vpmu: {told['failure'] or told['reason']}; {guest:,} instructions in the guest, {host:,} in "
        f"{told['kernel']}; {told['compared']} counts compared, {len(wrong)} wrong"
    ]
    return "\n".join([*lines, *(f"vpmu: wrong count: {text}" for text in wrong)])

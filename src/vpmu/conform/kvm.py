"""Real KVM as a target: our monitor on a host on vpmu's own hart, on a Debian host in QEMU, or on this
machine's /dev/kvm.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..peers.host_image import HostImage, host_image
from ..peers.kvm_host import agent_path, command, find_program, firmware, monitor_path, prepare, trouble
from ..profiles.profiles import Profile
from ..vmm.linux.cache import FetchError
from ..vmm.linux.fetch import DEFAULT_SUITE
from ..vmm.linux.progress import Progress
from ..vmm.linux.sources import AptSource
from .agent import AgentTarget
from .calls import Call
from .frames import FrameReader
from .host_facts import HostFacts, parse_facts
from .qemu import PROGRAM, ProcessLink, version
from .target import PeerAbsent, TargetError, TargetLost

if TYPE_CHECKING:
    from ..peers.host_source import HostSource
    from ..vmm.machine import Machine
    from .host_link import HostLink

WAIT = 20.0
"""Seconds for an answer before the first repetition: nothing is lost on this line, the host is only slow."""
BOOT_LIMIT = 400.0
"""Seconds in which the host must be up."""
QEMU, VPMU = "qemu", "vpmu"
OWN_SLACK = 6_000
SLACK = 60_000
"""Instructions around one call: on QEMU before 9.2 counters have no mode filter and count the host's, too
(7.2.13 takes 50,269 for a stop that writes the snapshot page).
"""
DEVICE = Path("/dev/kvm")
CONSOLE = "console.log"
# The monitor's memory map (vpmu.peers.monitor), which must not be imported for two numbers.
MEMORY_END = 0x8000_0000 + (4 << 20)


class KvmLink(ProcessLink):
    """The monitor's line; `folder` holds the host's console and goes at `close`. Raises TargetError where the
    monitor does not come up.
    """

    def __init__(self, command: list[str], folder: tempfile.TemporaryDirectory[str] | None = None) -> None:
        self._folder = folder
        super().__init__(command, wait=WAIT)
        try:
            self.facts = self._facts()
        except TargetLost as lost:
            self.close()
            raise TargetError(f"no KVM: {lost.what}") from None
        except BaseException:
            self.close()
            raise

    def _facts(self) -> HostFacts:
        """The first frame, which comes unasked when the monitor is ready."""
        reader = FrameReader()
        end = time.monotonic() + BOOT_LIMIT
        while time.monotonic() < end:
            for frame in reader.feed(self.receive(0.05)):
                if frame.payload[:1] == b"I":
                    return parse_facts(frame.payload[1:].decode(errors="replace"))
        raise TargetError(f"the KVM host is not up after {BOOT_LIMIT:.0f} s: {trouble(self.console())}")

    def console(self) -> str:
        """What the host has printed so far."""
        if self._folder is None:
            return ""
        try:
            return Path(self._folder.name, CONSOLE).read_text("utf-8", "replace")
        except OSError:
            return ""

    def close(self) -> None:
        super().close()
        if self._folder is not None:
            self._folder.cleanup()

    def _last_words(self) -> str:
        words = super()._last_words()
        said = trouble(self.console())
        return f"{words}; its console: {said}" if said else words


class KvmTarget(AgentTarget):
    """The agent in a VM of real KVM; `reset` takes a new VM. `facts` describe the host, `versions` name what
    runs it.
    """

    fresh_kind = b"F"

    def __init__(
        self, link: KvmLink | HostLink, where: str, versions: dict[str, str], profile: str | Profile | None
    ) -> None:
        self.facts, self.versions, self.console = link.facts, versions, link.console
        self.pid = link.pid if isinstance(link, ProcessLink) else os.getpid()
        """The process that runs it."""
        super().__init__(link, "kvm", where, profile=profile, memory_end=MEMORY_END, slack=SLACK)
        self.missing = frozenset()
        self.switches = True

    def _reset_calls(self) -> list[Call]:
        return []


class HostTarget(KvmTarget):
    """Real KVM on our own hart: `reset` takes the whole host back to a fresh VM."""

    def __init__(
        self, link: HostLink, where: str, versions: dict[str, str], profile: str | Profile | None
    ) -> None:
        super().__init__(link, where, versions, profile)
        self.link = link
        self.interrupts = True  # AIA's CSRs are there: an overflow reaches the guest at its instruction
        self.slack = OWN_SLACK
        self.rewind = link.rewind

    def _fresh_kind(self) -> bytes:
        return b"F" if self._without_pmu else b"R"


@dataclass(frozen=True, slots=True)
class HostOptions:
    """Which host: what runs it, Debian suite (None: trixie; in QEMU this machine's own KVM where it has one),
    whether to look for newer packages, APT sources in place of the machine's own; or the user's own build.
    """

    suite: str | None = None
    refresh: bool = False
    sources: Sequence[AptSource] | None = None
    progress: Progress | None = None
    on: str = ""
    """QEMU, VPMU; empty: this machine's own KVM where no suite is named and it has one, else VPMU."""
    kernel: Path | None = None
    module: Path | None = None
    initrd: Path | None = None
    isa: tuple[str, ...] = ()
    host_pmu: str = "full"
    """The hart of a host on vpmu: extensions (empty: those that KVM likes to have), and its PMU."""
    firmware: Path | None = None
    """Real firmware below a host on vpmu; None: modelled."""
    guest_memory: int = 0
    """Room for a VM of so many bytes beside the agent's."""
    opened: Callable[[Machine], None] | None = None
    """Told of the machine of a host on vpmu before its first run; then it is not kept."""


def kvm_target(profile: str | Profile | None = None, options: HostOptions | None = None) -> KvmTarget:
    """Real KVM: this machine's, or that of a host. Raises PeerAbsent and TargetError."""
    options = options if options is not None else HostOptions()
    if options.kernel is None and options.suite is None and options.on != VPMU and _is_host():
        if not os.access(DEVICE, os.R_OK | os.W_OK):
            raise PeerAbsent(f"{DEVICE} cannot be opened (is this user in the group kvm?)")
        link = KvmLink([sys.executable, "-I", str(monitor_path()), str(agent_path())])
        return _opened(link, "KVM of this machine", {}, profile)
    return _in_qemu(profile, options) if options.on == QEMU else host_target(profile, options)


def _is_host() -> bool:
    """Whether this machine has a KVM of the kind."""
    return platform.machine() == "riscv64" and DEVICE.exists()


def _in_qemu(profile: str | Profile | None, options: HostOptions) -> KvmTarget:
    if options.kernel is not None:
        raise UsageError("--host-kernel", expected="a host on vpmu", got="--on qemu")
    program = find_program(PROGRAM)
    if program is None:
        raise PeerAbsent(f"{PROGRAM} is not installed", expected="the package qemu-system-misc, with opensbi")
    qemu = version(program)
    image = _image(options)
    try:
        link = _boot(program, image)
    except TargetError as error:
        if "Kernel panic" not in error.what:
            raise
        link = _boot(program, image)  # one boot of two hundred on QEMU 7.2 panicked before its first process
    versions = {"QEMU": qemu.removeprefix("QEMU "), "firmware": firmware(link.console()), **image.versions}
    return _opened(link, f"{qemu}, {versions['firmware']}", versions, profile)


def host_target(profile: str | Profile | None, options: HostOptions) -> HostTarget:
    """A host on our own hart: a Debian suite's, or the user's. Raises PeerAbsent, TargetError, FileError."""
    from ..peers.vpmu_host import ISA
    from .host_link import HostLink

    source = source_of(options)
    progress = options.progress if options.progress is not None else Progress(quiet=True)
    link = HostLink(
        source, progress, options.isa or ISA, options.host_pmu, options.guest_memory, options.opened
    )
    below = "firmware modelled" if options.firmware is None else options.firmware.name
    where = f"vpmu, {below}, {link.facts.kernel.split(' #')[0]}"
    return HostTarget(link, where, source.versions, profile)


def source_of(options: HostOptions) -> HostSource:
    """The files of a host on our own hart. Raises PeerAbsent, FileError."""
    from ..peers.host_source import of_suite, own

    if options.kernel is not None:
        source = own(options.kernel, options.module, options.initrd)
    else:
        source = of_suite(_image(options))
    return source if options.firmware is None else replace(source, firmware=options.firmware)


def _image(options: HostOptions) -> HostImage:
    """The host's kernel and root. Raises PeerAbsent."""
    suite = options.suite or DEFAULT_SUITE
    if not re.fullmatch(r"[a-z][a-z0-9-]*", suite):
        raise TargetError("Debian suite", expected="a name such as trixie or sid", got=repr(suite))
    try:
        return host_image(
            suite,
            refresh=options.refresh, sources=options.sources, progress=options.progress,
        )  # fmt: skip
    except FetchError as error:
        raise PeerAbsent(error.what, expected=error.expected, got=error.got) from None


def _boot(program: str, image: HostImage) -> KvmLink:
    folder = tempfile.TemporaryDirectory(prefix="vpmu-kvm-")
    try:
        root = prepare(image, Path(folder.name))
        return KvmLink(command(program, image, root, Path(folder.name, CONSOLE)), folder)
    except BaseException:
        folder.cleanup()
        raise


def _opened(link: KvmLink, where: str, versions: dict[str, str], profile: str | Profile | None) -> KvmTarget:
    try:
        return KvmTarget(link, f"{where}, {link.facts.kernel.split(' #')[0]}", versions, profile)
    except BaseException:
        link.close()
        raise

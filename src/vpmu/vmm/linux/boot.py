"""Boot Linux on a machine: kernel, initramfs and boot arguments in, the way it ended out.

`LinuxBoot` watches the console: a kernel panic ends the run at once, and with a command (`--exec`) the run
ends when the command has, its output cut out of everything else that the guest prints.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpmu.brief import Brief
from vpmu.errors import HOST_LOST_STATUS, ImageError
from vpmu.vmm.console import keep
from vpmu.vmm.linux import cpio
from vpmu.vmm.linux.execution import EXEC_INIT, ExecStream, build_exec_archive
from vpmu.vmm.linux.trouble import Trouble, trouble
from vpmu.vmm.loader import Buffer, ImageKind, LoadedImage, read_file

if TYPE_CHECKING:
    from vpmu.vmm.linux.own_initrd import OwnInitrd
    from vpmu.vmm.machine import Host, Machine, RunResult

DEFAULT_MEMORY = 384 << 20
"""Enough for the fetched initramfs with perf, which is unpacked while it still lies in memory."""

FAST_BOOT = "cryptomgr.notests initcall_blacklist=jent_mod_init,load_system_certificate_list,trace_eval_init"
"""Leaves out what costs most of a stock kernel's boot and changes nothing that counts: self-tests of the
crypto
library, the jitter entropy test, parsing built-in certificates, and the names of trace events' enums."""

CONSOLE = "earlycon=sbi console=ttyS0"

_PANIC_END = b"---[ end Kernel panic"
BEGINS_WITHIN = 60 * 10**9
"""Nanoseconds of virtual time from power-on; a Debian needs half a second."""
_FAILED = re.compile(rb"@vpmu-failed ([^@\r\n]*)@\r?\n")
_TAIL = 512  # of the console, looked at for the end of a panic

# What an initramfs may be compressed with (Linux lib/decompress.c), by its first bytes.
_COMPRESSED = {
    b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x5d\x00\x00": "lzma",
    b"\x89LZO": "lzo", b"\x02\x21\x4c\x18": "lz4", b"\x28\xb5\x2f\xfd": "zstd",
}  # fmt: skip


@dataclass(frozen=True, slots=True, repr=False)
class Outcome(Brief):
    """How a boot ended. `ok`: the command exited with 0, or without a command the guest powered off or
    rebooted; and the kernel came to no harm.
    """

    result: RunResult
    status: int | None
    """Exit status of the command; None without one, or if it did not come to its end."""
    panic: str | None
    """The kernel's words, if it panicked or oopsed."""
    started: bool
    """The command had begun."""
    failure: str | None
    """One line for a run that did not end as it should."""
    console: bytes

    @property
    def ok(self) -> bool:
        return self.failure is None and not self.status

    @property
    def exit_status(self) -> int:
        """For a command line: that of the command, 1 if the guest was lost, HOST_LOST_STATUS if its host."""
        if self.result.fixed_by is not None:
            return HOST_LOST_STATUS
        return 1 if self.failure is not None else self.status or 0


def boot_arguments(append: str = "", *, quiet: bool = False) -> str:
    """The kernel's command line: console, the fast-boot arguments, then the caller's own, which win."""
    return " ".join(filter(None, (CONSOLE, FAST_BOOT, "quiet" if quiet else "", append)))


def read_kernel(path: str | Path) -> bytes:
    """A kernel Image. Raises FileError; what it holds is checked when it is loaded."""
    return read_file(path)


def read_initrd(path: str | Path) -> bytes:
    """An initramfs, checked as far as it can be without unpacking it twice.

    :raises FileError: it cannot be read. :raises ImageError: it is none, or it is truncated.
    """
    data = read_file(path)
    if not data:
        raise ImageError(path, "empty file", expected="an initramfs")
    if data.startswith((cpio.MAGIC, b"070702", b"\0")):
        try:
            cpio.read(data)
        except cpio.CpioError as error:
            raise ImageError(path, error.what, expected=error.expected, got=error.got) from None
    elif not any(data.startswith(magic) for magic in _COMPRESSED):
        raise ImageError(
            path, "not an initramfs", expected="cpio (newc), plain or compressed", got=repr(data[:6])
        )
    elif data.startswith(b"\x1f\x8b"):
        _check_gzip(path, data)
    return data


def _check_gzip(path: str | Path, data: bytes) -> None:
    decoder = zlib.decompressobj(31)
    try:
        for at in range(0, len(data), 1 << 20):
            decoder.decompress(data[at : at + (1 << 20)])
            if decoder.eof:
                return
    except zlib.error as error:
        raise ImageError(path, f"damaged gzip file: {error}") from None
    raise ImageError(path, "truncated gzip file", got=f"{len(data)} bytes")


class LinuxBoot:
    """One boot of Linux; use it once. Its `sink` is the machine's `console_out`.

    kernel, initrd: their bytes; `archives` come behind the initrd (cpio). command: a shell command to run
    instead of a shell, `files` more files for it (by guest path). own: the initramfs is not ours, so the
    kernel is told to start our init from the archive. start: one of the archives is
    vmm.linux.start's. output: gets what a person wants to see: the command's
    output, or without a command the whole console. errors: gets what the command writes to its standard
    error, where the machine has a second serial
    port; without it both go to `output`.
    """

    def __init__(
        self,
        kernel: Buffer,
        initrd: Buffer | None,
        *,
        command: str | None = None,
        files: Mapping[str, bytes | Path] | None = None,
        archives: Sequence[Buffer] = (),
        own: OwnInitrd | None = None,
        start: bool = False,
        output: Callable[[bytes], None] | None = None,
        errors: Callable[[bytes], None] | None = None,
        kernel_name: str = "kernel",
    ) -> None:
        self.kernel, self.initrd = kernel, [] if initrd is None else [initrd]
        self._kernel_name = kernel_name
        self._output, self._errors = output, errors
        self._machine: Machine | None = None
        self.loaded: LoadedImage | None = None
        self._stream = ExecStream() if command is not None else None
        self._console = bytearray()
        self._own, self._start = own, start
        self.ended: Callable[[RunResult], None] = lambda result: None
        """Told of the run's end."""
        for archive in archives:
            self._append(archive)
        if command is not None:
            more = own.additions() if own is not None else ()
            self._append(build_exec_archive(command, files, more))

    def _append(self, archive: Buffer) -> None:
        self.initrd.append(cpio.behind(sum(map(len, self.initrd)), bytes(archive)))

    @property
    def has_command(self) -> bool:
        """A command runs, and nobody gets a shell."""
        return self._stream is not None

    @property
    def console(self) -> bytes:
        """What the guest has printed, the end of it."""
        return bytes(self._console)

    def arguments(self, append: str = "") -> str:
        """The kernel's command line of this boot: quiet where only a command's output is wanted."""
        init = f"rdinit={EXEC_INIT}" if self._stream is not None and self._own is not None else ""
        if self._start:
            from vpmu.vmm.linux.start import START

            init = f"rdinit={START}"
        return boot_arguments(" ".join(filter(None, (init, append))), quiet=self._stream is not None)

    def sink(self, data: bytes) -> None:
        """Take console output of the guest."""
        keep(self._console, data)
        shown = data
        if self._stream is not None:
            shown = self._stream.feed(data)
            if self._stream.status is not None and self._machine is not None:
                self._machine.halt("exited", f"the command exited with status {self._stream.status}")
        if self._output is not None and shown:
            self._output(shown)
        if b"\n" in data and self._start:
            self._watch_start()
        if b"\n" in data and _PANIC_END in self._console[-_TAIL:] and self._machine is not None:
            found = trouble(self._console)
            self._machine.halt("panic", found.words if found is not None else "reason not printed")

    def _watch_start(self) -> None:
        """The script of vmm.linux.start says why it does not go on."""
        failed = _FAILED.search(self._console[-_TAIL:])
        if failed is not None and self._machine is not None:
            self._machine.halt("unready", failed[1].decode("utf-8", "replace"))

    def _error(self, data: bytes) -> None:
        keep(self._console, data)
        to = self._errors or self._output
        if to is not None:
            to(data)

    def machine(self, **options: Any) -> Machine:
        """A machine that has this boot loaded; `options` are Machine's, the memory is DEFAULT_MEMORY if they
        do not say otherwise.
        """
        from vpmu.vmm.machine import Machine

        machine = Machine(
            **{"memory": DEFAULT_MEMORY, "second_serial": self._stream is not None, **options},
            console_out=self.sink, bootargs=self.arguments(), plic=True,
        )  # fmt: skip
        self.load(machine)
        return machine

    def load(self, machine: Machine) -> None:
        """Put kernel, initramfs and device tree into the machine. Raises ImageError or MachineError."""
        self._machine = machine
        if self._stream is not None and machine.board.second_serial is not None:
            machine.console.hand_errors_to(self._error)
        try:
            self.loaded = machine.load(self.kernel, kind=ImageKind.LINUX, initrd=self.initrd)
        except ImageError as error:
            raise ImageError(self._kernel_name, error.what.partition(": ")[2] or error.what,
                             expected=error.expected, got=error.got) from None  # fmt: skip

    def run(
        self, *, max_instructions: int | None = None, timeout_ns: int | None = None, host: Host | None = None
    ) -> Outcome:
        """Run the loaded machine to the end of the command, of the guest, or of what is allowed."""
        assert self._machine is not None, "load first"
        result = self._run(self._machine, max_instructions, timeout_ns, host)
        self.ended(result)
        return self.outcome(result)

    def _run(
        self, machine: Machine, max_instructions: int | None, timeout_ns: int | None, host: Host | None
    ) -> RunResult:
        """A command has to begin within BEGINS_WITHIN: a guest that waits for somebody never ends."""
        if self._stream is None or (timeout_ns is not None and timeout_ns <= BEGINS_WITHIN):
            return machine.run(max_instructions, timeout_ns, host)
        before = machine.instructions
        first = machine.run(max_instructions, BEGINS_WITHIN, host)
        used = machine.instructions - before
        spent = max_instructions is not None and used >= max_instructions
        if first.stop != "budget" or spent:
            return first
        if not self._stream.started:
            waited = f"the command did not begin within {BEGINS_WITHIN // 10**9} s of virtual time"
            last = bytes(self._console).replace(b"\r", b"").rstrip().rpartition(b"\n")[2]
            said = f"; the console's last line: {last.decode('utf-8', 'replace')}" if last else ""
            return replace(first, reason=waited + said)
        second = machine.run(
            None if max_instructions is None else max_instructions - used,
            None if timeout_ns is None else timeout_ns - BEGINS_WITHIN, host,
        )  # fmt: skip
        return replace(second, exits=first.exits + second.exits, seconds=first.seconds + second.seconds)

    def outcome(self, result: RunResult) -> Outcome:
        """What a run of the machine has come to."""
        status = None if self._stream is None else self._stream.status
        started = self._stream is not None and self._stream.started
        when = ""
        if self._stream is not None:
            when = " while the command ran" if started else " before the command began"
        said = trouble(self._console)
        failure = failure_of(result, status, said, when)
        return Outcome(result, status, None if said is None else said.words, started, failure, self.console)


def failure_of(result: RunResult, status: int | None, said: Trouble | None, when: str) -> str | None:
    """The one line that says what went wrong in a run of Linux; None for one that ended as it should. `when`
    says how far a command had come, "" where there is none; `status` is its exit status.
    """
    if said is not None:  # whatever came then: a kernel may reboot by itself, or go on without a task
        return f"guest: {said.text}{when}: {said.words}"
    if status is not None:
        return None
    match result.stop:
        case "panic":
            return f"guest: kernel panic{when}: {result.reason}"
        case "kvm_run_failed" if result.kvm_run_errno is not None:
            return f"kvm: KVM_RUN failed with {_errno(result.kvm_run_errno)}{when}: {result.reason}"
        case "unready":
            return f"guest: {result.reason}"
        case "host_lost":
            return f"kvm: the host is lost{when}: {result.reason}"
        case "idle" | "hung":
            return f"guest: hangs{when}: {result.reason}"
        case "timeout":
            return f"guest: timed out{when}: {result.reason}"
        case "budget":
            used = f"{result.virtual_ns / 1e9:.3f} s of virtual time, {result.instructions:,} instructions"
            return f"guest: timed out{when}: {result.reason} ({used})"
        case "killed":
            return f"guest: killed{when}: {result.reason}"
        case "left":
            return None
    if when:
        return f"guest: powered off{when}: {result.reason}"
    return f"guest: powered off with a failure: {result.reason}" if result.reset_reason else None


def _errno(number: int) -> str:
    import errno

    return errno.errorcode.get(number, str(number))

"""A booted Linux that waits for a command: boot once, snapshot, and then every command takes what it takes.

The guest's init runs one script, which says that it is ready and reads the command from its console. What
comes before that is the same for all commands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vpmu.brief import Brief
from vpmu.errors import BootError, MachineError
from vpmu.vmm.linux.boot import CONSOLE, FAST_BOOT, LinuxBoot, boot_arguments, failure_of
from vpmu.vmm.linux.execution import ExecStream, command_bytes
from vpmu.vmm.linux.trouble import trouble
from vpmu.vmm.snapshot import Snapshot

if TYPE_CHECKING:
    from vpmu.trace.recorder import Recorder
    from vpmu.vmm.loader import Buffer
    from vpmu.vmm.machine import Machine, RunResult

READY = b"@vpmu-ready@"
WAIT = (
    "exec < /dev/console; stty -echo; echo @vpmu-ready@; IFS= read -r command; stty echo; "
    'exec < /dev/null; eval "$command"'
)
LONGEST_COMMAND = 4000
"""A terminal's line: more does not come through."""
SETTLE = 3_000_000
"""Instructions from the word that the guest is ready to the moment that it waits."""
__all__ = ["CONSOLE", "FAST_BOOT", "Answer", "LinuxSession"]


@dataclass(frozen=True, slots=True, repr=False)
class Answer(Brief):
    """What a command did. `status` None: it did not come to its end; `failure` says why, or what harm the
    kernel came to. `panic` are the kernel's words of it. `result` is the run's.
    """

    output: bytes
    status: int | None
    panic: str | None
    failure: str | None
    result: RunResult

    @property
    def text(self) -> str:
        """The output as text, lines ending as everywhere."""
        return self.output.decode("utf-8", "replace").replace("\r\n", "\n")

    @property
    def ok(self) -> bool:
        """It came to its end with status 0, and the kernel came to no harm."""
        return self.status == 0 and self.failure is None


class _Sink:
    """The console of the machine: what is behind it changes from one command to the next."""

    def __init__(self) -> None:
        self.to: Callable[[bytes], None] = lambda data: None

    def __call__(self, data: bytes) -> None:
        self.to(data)


class LinuxSession:
    """A Linux guest at its command prompt. Build it with `boot` or `from_snapshot`, then `run` commands, each
    from the same state.
    """

    def __init__(self, machine: Machine, snapshot: Snapshot, sink: _Sink, run_id: bytes) -> None:
        self.machine, self.snapshot = machine, snapshot
        self._sink, self._id = sink, run_id

    @classmethod
    def boot(
        cls, build: Callable[[Callable[[bytes], None], str], Machine], kernel: Buffer, initrd: Buffer,
        *, max_instructions: int = 60_000_000_000,
    ) -> LinuxSession:  # fmt: skip
        """Boot to the prompt. `build(console_out, bootargs)` gives a machine with an interrupt controller.

        BootError where the guest does not come so far.
        """
        boot = LinuxBoot(kernel, initrd, command=WAIT)
        sink = _Sink()
        machine = build(sink, boot_arguments(quiet=True))
        seen = bytearray()

        def watch(data: bytes) -> None:
            seen.extend(data)
            boot.sink(data)
            if READY in seen[-256:]:
                machine.halt("ready", "the guest waits for a command")

        sink.to = watch
        boot.load(machine)
        machine.serial.hold()
        result = machine.run(max_instructions)
        if result.stop != "ready":
            outcome = boot.outcome(result)
            got = outcome.failure or f"{result.stop}: {result.reason}"
            raise BootError("Linux did not boot to its prompt", got=got, outcome=outcome, machine=machine)
        sink.to = lambda data: None
        machine.run(SETTLE)
        run_id = next(found for found in seen.split(b"@vpmu-begin ")[1:])[:16]
        return cls(machine, machine.snapshot(), sink, bytes(run_id))

    @classmethod
    def from_snapshot(
        cls, snapshot: Snapshot, *, once: bool = False, recorder: Recorder | None = None
    ) -> LinuxSession:
        """A session in a machine of its own, from a snapshot that `boot` has taken. `once`: for one
        command only, to
        be run without `restore`; that is quicker.
        """
        sink = _Sink()
        if once and recorder is None:
            machine = snapshot.become(console_out=sink)
        else:
            machine = snapshot.machine(console_out=sink, recorder=recorder)
        output = machine.console.output
        if READY not in output:
            raise MachineError("snapshot", expected="a Linux that waits for a command", got="another guest")
        return cls(machine, snapshot, sink, bytes(output.rpartition(b"@vpmu-begin ")[2][:16]))

    def restore(self) -> None:
        """Go back to the prompt; `run` does it by itself."""
        self.machine.restore(self.snapshot)

    def run(
        self, command: str, *, show: Callable[[bytes], None] | None = None,
        errors: Callable[[bytes], None] | None = None,
        max_instructions: int | None = 2_000_000_000, restore: bool = True,
    ) -> Answer:  # fmt: skip
        """Run a shell command, from the prompt, to its end or the budget. `errors`: gets what it writes to
        its standard error, where the machine has a second serial port; else that is output like the rest.
        """
        if len(command) > LONGEST_COMMAND or "\n" in command:
            raise MachineError(
                "command for the guest", expected=f"one line of at most {LONGEST_COMMAND} characters"
            )
        if restore:
            self.restore()
        machine = self.machine
        stream = ExecStream()
        stream.resume(self._id)
        output, console = bytearray(), bytearray()

        def take(data: bytes) -> None:
            console.extend(data)
            shown = stream.feed(data)
            output.extend(shown)
            if shown and show is not None:
                show(shown)
            if stream.status is not None:
                machine.halt("exited", f"the command exited with status {stream.status}")
            elif data == b"\n" and b"---[ end Kernel panic" in console[-300:]:
                found = trouble(console)
                machine.halt("panic", found.words if found is not None else "reason not printed")

        def take_error(data: bytes) -> None:
            console.extend(data)
            if errors is not None:
                errors(data)
                return
            output.extend(data)
            if show is not None:
                show(data)

        if machine.board.second_serial is not None:
            machine.console.hand_errors_to(take_error)
        self._sink.to = take
        machine.console_input(command_bytes(command) + b"\n")
        result = machine.run(max_instructions)
        self._sink.to = lambda data: None
        said = trouble(console)
        failure = failure_of(result, stream.status, said, " while the command ran")
        return Answer(bytes(output), stream.status, None if said is None else said.words, failure, result)

"""Scripted guests at work: what each step of `script_text` does to a machine."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..hart.memory import PAGE, HostMemory, MemoryFault
from ..kvm.errors import HostLostError, KvmRunError
from ..kvm.injection import migrate
from ..kvm.pmu import VcpuPmu
from ..perf.event import errno_name
from ..perf.host_pmu import HostPmuPerf
from ..see.exits import HungExit
from ..see.pmu import IllegalCounter
from ..see.vcpu_api import GuestTrap
from ..spec.csr import Csr, Irq
from ..spec.sbi import U64, ConfigFlag, Eid, HsmFid, PmuFid, SbiRet, StartFlag, StopFlag, error_name
from ..spec.sbi_events import event_by_name
from .script_text import NAMES, RAM, ROM, Answered, ScriptError, Step, counters, number, read_options

if TYPE_CHECKING:
    from ..vmm.machine import Machine

_FLAGS = {
    "clear": ConfigFlag.CLEAR_VALUE, "auto": ConfigFlag.AUTO_START, "skip": ConfigFlag.SKIP_MATCH,
    "uinh": ConfigFlag.SET_UINH, "sinh": ConfigFlag.SET_SINH,
}  # fmt: skip
BUDGET = 200_000_000
_LCOFI = 1 << Irq.LCOFI
_LOOP = struct.pack("<I", 0x0000006F)  # j .


def parse_script(text: str) -> tuple[Step, ...]:
    """The steps of a script; empty lines and comments (#) are left out. Raises ScriptError."""
    steps = []
    for line in text.splitlines():
        action, _, after = line.partition("|")
        action = action.partition("#")[0].strip()
        if not action:
            continue
        clauses = []
        for clause in filter(None, (part.strip() for part in after.split(";"))):
            selector, colon, answer = clause.partition(": ")
            clauses.append((selector.replace(" ", ""), answer.strip()) if colon else ("", clause))
        words = tuple(action.split())
        if words[0] not in _OPERATIONS:
            raise ScriptError(f"unknown step {words[0]!r}", expected=", ".join(sorted(_OPERATIONS)))
        steps.append(Step(action, words, tuple(clauses)))
    return tuple(steps)


class Script:
    """A guest that does the steps on a machine of 1 MiB."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.vcpu = machine.vcpu(0)
        self.lost: str | None = None
        self.host_lost: HostLostError | None = None
        machine.memory.set_slot(1, ROM, PAGE, backing=HostMemory(PAGE), readonly=True)

    def begin(self) -> None:
        """The machine was brought back: the guest lives."""
        self.lost = self.host_lost = None

    def run(self, steps: Sequence[Step]) -> list[Answered]:
        """Do the steps; the answers of all, or until KVM_RUN fails or the host is lost."""
        profile = self.machine.profile
        answers = []
        for step in steps:
            expected = step.expected(profile)
            if expected == "skip":
                continue
            try:
                observed = _OPERATIONS[step.words[0]](self, step.words[1:])
            except KvmRunError as error:
                self.lost = f"KVM_RUN {errno_name(error.errno)}"
                observed = self.lost
            except HostLostError as error:
                self.host_lost = error
                observed = self.lost = "host lost"
            except (IllegalCounter, GuestTrap):
                observed = "illegal"
            except MemoryFault:
                observed = "fault"
            except (ValueError, IndexError, KeyError) as error:
                raise ScriptError(f"step {step.text!r}: {error}") from None
            answers.append(Answered(step.text, expected, observed))
            if self.lost is not None:
                break
        return answers

    # --- steps

    def pmu(self, fid: int, *args: int) -> str:
        """A call of the PMU extension: `SUCCESS 3`, `SUCCESS`, `NOT_SUPPORTED`."""
        return self.call(Eid.PMU, fid, *args)

    def call(self, eid: int, fid: int, *args: int) -> str:
        """An SBI call, its answer in words."""
        answer = self.vcpu.ecall(eid, fid, *args)
        if not isinstance(answer, SbiRet):
            return type(answer).__name__
        return error_name(answer.error) + (f" {answer.value}" if answer.value else "")

    def config(self, words: Sequence[str]) -> str:
        """config EVENT [counters=SET] [flags=clear+auto+skip+N] [data=N]"""
        options = read_options(words[1:], "counters", "flags", "data", "event")
        everything = (1 << self.vcpu.pmu.num_counters_total) - 1 & ~2
        base, mask = counters(options["counters"]) if "counters" in options else (0, everything)
        event = event_by_name(words[0])
        data = number(options["data"]) if "data" in options else event.event_data
        flags = 0
        for flag in filter(None, options.get("flags", "clear").split("+")):
            flags |= _FLAGS[flag] if flag in _FLAGS else number(flag)
        return self.pmu(PmuFid.COUNTER_CONFIG_MATCHING, base, mask, flags, event.event_idx, data)

    def start(self, words: Sequence[str]) -> str:
        """start SET [value=N | keep | snapshot] [flags=N]"""
        options = read_options(words[1:], "value", "keep", "snapshot", "flags")
        flags = int(StartFlag.SET_INIT_VALUE)
        if "keep" in options:
            flags = 0
        if "snapshot" in options:
            flags = int(StartFlag.INIT_SNAPSHOT)
        if "flags" in options:
            flags = number(options["flags"])
        return self.pmu(PmuFid.COUNTER_START, *counters(words[0]), flags, number(options.get("value", "0")))

    def stop(self, words: Sequence[str]) -> str:
        """stop SET [reset] [snapshot] [flags=N]"""
        options = read_options(words[1:], "reset", "snapshot", "flags")
        flags = StopFlag.RESET * ("reset" in options) | StopFlag.TAKE_SNAPSHOT * ("snapshot" in options)
        return self.pmu(PmuFid.COUNTER_STOP, *counters(words[0]), flags | number(options.get("flags", "0")))

    def work(self, words: Sequence[str]) -> str:
        """work N: retire N instructions"""
        self.vcpu.work(number(words[0]))
        return "done"

    def read(self, words: Sequence[str]) -> str:
        """read N: the counter's CSR"""
        return str(self.vcpu.csr_read(Csr.CYCLE + number(words[0])))

    def csr(self, words: Sequence[str]) -> str:
        """csr NUMBER [write]: any CSR"""
        if len(words) > 1:
            return str(self.vcpu.pmu.read_csr(number(words[0]), writes=True))
        return str(self.vcpu.csr_read(number(words[0])))

    def user(self, words: Sequence[str]) -> str:
        """user SCOUNTEREN: go to VU mode"""
        self.vcpu.hart.set("mode", 0)
        self.vcpu.hart.set("scounteren", number(words[0]))
        return "done"

    def shmem(self, words: Sequence[str]) -> str:
        """shmem ADDRESS [HIGH] [FLAGS]"""
        low, high, flags = (*map(number, words), 0, 0)[:3] if words[0] != "none" else (U64, U64, 0)
        return self.pmu(PmuFid.SNAPSHOT_SET_SHMEM, low, high, flags)

    def table(self, words: Sequence[str]) -> str:
        """table EVENT,...: write entries for eventinfo at `table`"""
        entries = [event_by_name(name) for name in words[0].split(",")]
        data = b"".join(struct.pack("<IIQ", entry.event_idx, 0, entry.event_data) for entry in entries)
        self.vcpu.write(NAMES["table"], data)
        return "done"

    def eventinfo(self, words: Sequence[str]) -> str:
        """eventinfo ADDRESS ENTRIES: the answer, then the outputs"""
        address, entries = number(words[0]), number(words[1])
        answer = self.pmu(PmuFid.EVENT_GET_INFO, address, 0, entries, 0)
        if answer != "SUCCESS" or entries > 64:
            return answer
        outputs = [self.vcpu.read(address + 16 * i + 4, 4)[0] for i in range(entries)]
        return f"{answer} {''.join(map(str, outputs))}"

    def word(self, words: Sequence[str]) -> str:
        """word ADDRESS [VALUE]: read or write 8 bytes of memory"""
        address = number(words[0])
        if len(words) > 1:
            self.vcpu.write(address, number(words[1]).to_bytes(8, "little"))
            return "done"
        return str(int.from_bytes(self.vcpu.read(address, 8), "little"))

    def slot(self, words: Sequence[str]) -> str:
        """slot N: value N of the snapshot page at `page`"""
        return self.word([f"page+{8 + 8 * number(words[0])}"])

    def pending(self, _words: Sequence[str]) -> str:
        """pending: is the counter-overflow interrupt pending?"""
        return "yes" if self.vcpu.interrupts.flush() & _LCOFI else "no"

    def clear(self, _words: Sequence[str]) -> str:
        """clear: the guest clears the pending overflow"""
        self.vcpu.interrupts.sync(self.vcpu.interrupts.flush() & ~_LCOFI)
        return "done"

    def interrupts(self, _words: Sequence[str]) -> str:
        """interrupts: how many overflow interrupts KVM has raised"""
        return str(self.vcpu.overflows)

    def live(self, _words: Sequence[str]) -> str:
        """live: perf events that the host holds for this vCPU"""
        return str(self.vcpu.pmu.live_events())

    def held(self, _words: Sequence[str]) -> str:
        """held: hpmcounters of the host that are taken"""
        host = getattr(self.vcpu.perf, "inner", self.vcpu.perf)
        assert isinstance(host, HostPmuPerf)
        return str(sum(index > 2 for index in host.held_counters))

    def destroy(self, _words: Sequence[str]) -> str:
        """destroy: the vCPU is destroyed; what the host still holds for it"""
        self.vcpu.pmu.deinit()
        return self.live(())

    def state(self, words: Sequence[str]) -> str:
        """state N: perf's state of the event on counter N"""
        pmu = self.vcpu.pmu
        event = pmu.counters[number(words[0])].event if isinstance(pmu, VcpuPmu) else None
        return "none" if event is None else str(event.state)

    def reset(self, _words: Sequence[str]) -> str:
        """reset: a vCPU reset, as hart_start does it"""
        self.vcpu.reset()
        return "done"

    def restart(self, _words: Sequence[str]) -> str:
        """restart: hart 0 stops itself by HSM, and hart 1 starts it again"""
        self.vcpu.write(RAM, _LOOP)
        self.call(Eid.HSM, HsmFid.HART_STOP)
        answer = self.machine.vcpu(1).ecall(Eid.HSM, HsmFid.HART_START, 0, RAM, 0)
        self.vcpu.run(1)
        return error_name(answer.error) if isinstance(answer, SbiRet) else str(answer)

    def migrate(self, _words: Sequence[str]) -> str:
        """migrate: the vCPU goes on on another machine with the state that ONE_REG and memory carry"""
        migrate(self.vcpu)
        return "done"

    def switch(self, words: Sequence[str]) -> str:
        """switch EXTENSION on|off: what user space does before the first run"""
        self.machine.set_sbi_extension(words[0], words[1] == "on")
        return "done"

    def ecall(self, words: Sequence[str]) -> str:
        """ecall EID FID [ARGUMENTS]"""
        return self.call(*(number(word) for word in words))

    def run_image(self, words: Sequence[str]) -> str:
        """run PAYLOAD: boot it; how the run ended"""
        from ..payloads import path

        machine = self.machine
        machine.load(str(path(words[0])))
        result = machine.run(max_instructions=BUDGET)
        if result.kvm_run_errno is not None:
            self.lost = f"KVM_RUN {errno.errorcode[result.kvm_run_errno]}"
            return self.lost
        return f"{result.stop} {result.reset_reason}" if result.stop == "shutdown" else result.stop

    def console(self, words: Sequence[str]) -> str:
        """console TEXT: does the console have it?"""
        return "yes" if " ".join(words) in self.machine.console.output.decode("utf-8", "replace") else "no"

    def enter(self, words: Sequence[str]) -> str:
        """enter N: run the guest's code (an endless loop) for N instructions"""
        self.vcpu.write(RAM, _LOOP)
        self.vcpu.pc = RAM
        end = self.vcpu.run(number(words[0]))
        return "hung" if isinstance(end, HungExit) else "done"


_OPERATIONS: dict[str, Callable[[Script, Sequence[str]], str]] = {
    "config": Script.config, "start": Script.start, "stop": Script.stop, "work": Script.work,
    "read": Script.read, "csr": Script.csr, "user": Script.user, "shmem": Script.shmem, "table": Script.table,
    "eventinfo": Script.eventinfo, "word": Script.word, "slot": Script.slot, "pending": Script.pending,
    "clear": Script.clear, "interrupts": Script.interrupts, "live": Script.live, "held": Script.held,
    "destroy": Script.destroy, "state": Script.state, "reset": Script.reset, "restart": Script.restart,
    "migrate": Script.migrate,
    "switch": Script.switch, "ecall": Script.ecall, "run": Script.run_image, "console": Script.console,
    "enter": Script.enter,
}  # fmt: skip

"""The catalogue's scripted guests in a VM of real KVM: each step is a call of the agent."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING

from ..conform.calls import Call, Result, ecall
from ..conform.in_process import WRITE_FORMS
from ..conform.target import HostStopped, NoAnswer, TargetLost
from ..perf.event import errno_name
from ..spec.csr import Csr, Irq
from ..spec.sbi import PmuFid, SbiError, error_name
from ..spec.sbi_events import event_by_name
from .script import Script
from .script_text import Answered, Step, number

if TYPE_CHECKING:
    from ..conform.kvm import HostTarget
    from ..profiles.profiles import Profile

_NAME = re.compile(r"\b(page2|page|table|hole|end|rom|uart|ram)\b")
_COUNTS_ALL = ("cycles", "ref-cycles", "instructions")
"""Events that happen at every instruction."""
_SCOUNTOVF, _SIP = 32, 33
_NO_SLOT = 0x1000_0000
"""Where user space has devices: no memory slot, which is all that KVM looks at."""
_LCOFI = 1 << Irq.LCOFI
LOOKS = frozenset({"live", "held", "state", "interrupts"})
"""Steps that look into the model: on real KVM they are left out."""


class NotReal(Exception):
    """A step that the agent cannot do in a VM of real KVM."""


class RealScript(Script):
    """A guest that does the steps in a fresh VM. `lost`: how KVM_RUN failed; `host_dead`: the host's last
    words.
    """

    def __init__(self, target: HostTarget, total: int) -> None:
        self.target = target
        self.lost: str | None = None
        self.host_dead = ""
        self.hung = self.gone = False
        """Of what is in `host_dead`: nothing answered in time; it was not the host that ended."""
        self.steps: list[Step] = []  # those that were done, one for each answer
        self.silent: list[str] = []
        """Counts that the guest read although the counter that it started has missed what it did."""
        self._events: dict[int, str] = {}  # counter -> the event that it was given
        self._done: dict[int, int] = {}  # running counter -> what it must have counted, at least
        self.vcpu = SimpleNamespace(pmu=SimpleNamespace(num_counters_total=total))  # type: ignore[assignment]
        page = 4096
        self._places = {
            "page": target.scratch, "page2": target.scratch + page, "table": target.scratch + 2 * page,
            "hole": target.hole, "end": target.memory_end, "rom": target.scratch + 3 * page,
            "uart": _NO_SLOT,
        }  # fmt: skip

    def run_real(self, steps: Sequence[Step], profile: Profile) -> list[Answered]:
        """Do the steps; each with what `profile`, the model of this KVM, answers. Raises NotReal."""
        for step in steps:
            if step.words[0] not in _REAL and step.words[0] not in LOOKS:
                raise NotReal(f"the step {step.words[0]!r} is of the model's machine")
        if any("rom" in word for step in steps for word in step.words[1:]):
            self.do(Call("P", (self._places["rom"],)))
        answers = []
        for step in steps:
            expected = step.expected(profile)
            if expected == "skip" or step.words[0] in LOOKS:
                continue
            words = [_NAME.sub(self._place, word) for word in step.words[1:]]
            try:
                observed = _REAL[step.words[0]](self, words)
            except TargetLost as lost:
                self.hung, self.gone = isinstance(lost, NoAnswer), not isinstance(lost, HostStopped)
                self.host_dead = observed = f"host lost: {lost.what}"
            self._watch(step.words, observed)
            self.steps.append(step)
            answers.append(Answered(step.text, expected, observed))
            if self.lost is not None or self.host_dead:
                break
        return answers

    def _watch(self, words: Sequence[str], observed: str) -> None:
        """Hold what is read against what the guest has done since it started a counter by itself."""
        match words[0]:
            case "config":
                number_ = observed.removeprefix("SUCCESS").strip() or "0"
                if observed.startswith("SUCCESS") and number_.isdigit():
                    self._events[int(number_)] = words[1]
                    self._done.pop(int(number_), None)
            case "start" if words[1].isdigit() and len(words) == 2 and observed == "SUCCESS":
                self._done[int(words[1])] = 0
            case "work":
                for counter in self._done:
                    self._done[counter] += number(words[1])
            case "stop" | "reset" | "shmem" | "clear":
                self._done.clear()
            case "read" if observed.isdigit():
                done = self._done.get(int(words[1]), 0)
                if self._events.get(int(words[1])) in _COUNTS_ALL and int(observed) < done:
                    self.silent.append(f"counter {words[1]}: read {observed}, at least {done} were done")

    def _place(self, found: re.Match[str]) -> str:
        if found[0] not in self._places:
            raise NotReal(f"{found[0]} is no place of the agent's VM")
        return hex(self._places[found[0]])

    def do(self, *calls: Call) -> list[Result]:
        """Calls of the agent; an errno of KVM_RUN loses the guest."""
        results = self.target.run(calls)
        for result in results:
            if result.errno is not None:
                self.lost = f"KVM_RUN {errno_name(result.errno)}"
        return results

    def call(self, eid: int, fid: int, *args: int) -> str:
        result = self.do(ecall(eid, fid, *args))[0]
        if self.lost is not None:
            return self.lost
        if result.trap is not None:
            return "illegal"
        return error_name(result.error or 0) + (f" {result.value}" if result.value else "")

    def work(self, words: Sequence[str]) -> str:
        self.do(Call("w", (max(number(words[0]) // 2, 1),)))
        return "done"

    def read(self, words: Sequence[str]) -> str:
        return self._value(Call("c", (number(words[0]),)))

    def csr(self, words: Sequence[str]) -> str:
        csr = number(words[0])
        if (csr, len(words) > 1) in WRITE_FORMS:
            return self._value(Call("W", (WRITE_FORMS.index((csr, len(words) > 1)),)))
        if len(words) > 1 or not (Csr.CYCLE <= csr < Csr.CYCLE + 32 or csr == Csr.SCOUNTOVF):
            raise NotReal(f"the agent has no instruction for CSR {csr:#x}")
        return self._value(Call("c", (_SCOUNTOVF if csr == Csr.SCOUNTOVF else csr - Csr.CYCLE,)))

    def table(self, words: Sequence[str]) -> str:
        for i, name in enumerate(words[0].split(",")):
            event = event_by_name(name)
            at = self._places["table"] + 16 * i
            index = struct.unpack("<Q", struct.pack("<II", event.event_idx, 0))[0]
            self.do(Call("s", (at, index)), Call("s", (at + 8, event.event_data)))
        return "done"

    def eventinfo(self, words: Sequence[str]) -> str:
        address, entries = number(words[0]), number(words[1])
        answer = self.pmu(PmuFid.EVENT_GET_INFO, address, 0, entries, 0)
        if answer != SbiError.SUCCESS.name or entries > 64:
            return answer
        loaded = self.do(*(Call("l", (address + 16 * i,)) for i in range(entries)))
        return f"{answer} {''.join(str(result.value >> 32 & 0xFF) for result in loaded)}"

    def word(self, words: Sequence[str]) -> str:
        address = number(words[0])
        if len(words) > 1:
            self.do(Call("s", (address, number(words[1]))))
            return "done"
        return self._value(Call("l", (address,)))

    def slot(self, words: Sequence[str]) -> str:
        return self.word([hex(self._places["page"] + 8 + 8 * number(words[0]))])

    def pending(self, _words: Sequence[str]) -> str:
        return "yes" if self.do(Call("c", (_SIP,)))[0].value & _LCOFI else "no"

    def clear(self, _words: Sequence[str]) -> str:
        self.do(Call("C", (1, _LCOFI)))
        return "done"

    def reset(self, _words: Sequence[str]) -> str:
        self.do(Call("R"))
        return "done"

    def _value(self, call: Call) -> str:
        result = self.do(call)[0]
        return "illegal" if result.trap is not None else str(result.value)


_REAL: dict[str, Callable[[RealScript, Sequence[str]], str]] = {
    "config": RealScript.config, "start": RealScript.start, "stop": RealScript.stop, "work": RealScript.work,
    "read": RealScript.read, "csr": RealScript.csr, "shmem": RealScript.shmem, "table": RealScript.table,
    "eventinfo": RealScript.eventinfo, "word": RealScript.word, "slot": RealScript.slot,
    "pending": RealScript.pending, "clear": RealScript.clear, "reset": RealScript.reset,
    "ecall": RealScript.ecall,
}  # fmt: skip

"""Happenings that a run can be stopped at: an overflow, a refusal, an SBI call, a counter's CSR, a fault.

They are told by the Python that plays the levels below the guest, so that where nothing is caught nothing
asks. A run that catches one ends (`RunResult.stop` is "caught") at the same instruction every time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from vpmu.errors import UnknownNameError, UsageError
from vpmu.spec.csr import Csr
from vpmu.spec.sbi import Eid, SbiRet, error_name
from vpmu.spec.sbi_functions import function

if TYPE_CHECKING:
    from vpmu.faults.injector import Injector
    from vpmu.see.exits import EventResumed, SbiExit, SystemEvent
    from vpmu.see.guest_hart import Args, Ecall, GuestHart
    from vpmu.vmm.machine import Machine

KINDS = {
    "overflow": "[COUNTER]: a counter wraps and raises its interrupt",
    "refusal": "[EXTENSION]: an SBI call is answered with an error",
    "sbi": "[EXTENSION]: an SBI call is answered",
    "csr": "[COUNTER]: the guest reads a counter's CSR, by name (hpmcounter3) or number (0xc03)",
    "fault": "[SITE]: a rule of the fault plan fires",
}
"""What can be caught: its argument and what it is."""
_FIRST, _LAST = Csr.CYCLE, Csr.CYCLE + 31
CAUGHT = "caught"
"""RunResult.stop of a run that something was caught in."""


class Catch(NamedTuple):
    """One kind of happening; `which`: only of this counter, extension, CSR or site, None: of any."""

    kind: str
    which: int | str | None = None

    def __str__(self) -> str:
        if self.which is None:
            return self.kind
        shown = self.which
        if self.kind in ("sbi", "refusal"):
            shown = Eid(self.which).name if self.which in set(Eid) else f"{self.which:#x}"
        return f"{self.kind}:{shown}"


class Happening(NamedTuple):
    """What was caught, on which hart, in words."""

    catch: Catch
    hart: int
    words: str


def parse_catch(text: str) -> Catch:
    """`overflow`, `overflow:3`, `sbi PMU`, `csr hpmcounter3`, `refusal`, `fault perf.create`. UsageError."""
    kind, _, which = text.strip().replace(":", " ", 1).partition(" ")
    which = which.strip()
    if kind not in KINDS:
        raise UnknownNameError("event to catch", kind, KINDS)
    if not which:
        return Catch(kind)
    if kind == "fault":
        from vpmu.faults.sites import SITES

        if which not in SITES:
            raise UnknownNameError("site", which, SITES)
        return Catch(kind, which)
    if kind in ("sbi", "refusal"):
        if which.upper() in Eid.__members__:
            return Catch(kind, int(Eid[which.upper()]))
        known: Iterable[str] = Eid.__members__
    else:
        known = ["cycle", "time", "instret", *(f"hpmcounter{i}" for i in range(3, 32))] * (kind == "csr")
        if which in known:
            number = list(known).index(which)
            return Catch(kind, number)
    try:
        value = int(which, 0)
    except ValueError:
        if known:
            raise UnknownNameError(f"{kind} to catch", which, known) from None
        value = -1
    if kind == "csr":
        if not _FIRST <= value <= _LAST:
            raise UsageError("CSR to catch", expected="a counter's: cycle, instret, hpmcounter3, 0xc00 to "
                             "0xc1f", got=which)  # fmt: skip
        value -= _FIRST
    if not 0 <= value < 1 << 64 or (kind == "overflow" and value > 63):
        expected = "a counter, 0 to 63" if kind == "overflow" else "a number"
        raise UsageError(f"{kind} to catch", expected=expected, got=which)
    return Catch(kind, value)


class Catcher:
    """Catches in a machine from `attach` to `detach`; `told` hears of each happening as it happens."""

    def __init__(self, machine: Machine, catches: Iterable[Catch], told: Callable[[Happening], None]) -> None:
        self._machine, self._told = machine, told
        self._wanted: dict[str, set[int | str | None]] = {}
        for catch in catches:
            self._wanted.setdefault(catch.kind, set()).add(catch.which)
        self._undo: list[Callable[[], None]] = []

    def attach(self) -> None:
        """Begin."""
        for vcpu in self._machine.vcpus:
            if "overflow" in self._wanted:
                vcpu.overflow_seen = self._overflow
                self._undo.append(lambda vcpu=vcpu: setattr(vcpu, "overflow_seen", None))  # type: ignore[misc]
            if "csr" in self._wanted:
                self._watch(vcpu)
            if self._wanted.keys() & {"sbi", "refusal"}:
                self._answers(vcpu)
        injection = self._machine.injection
        if "fault" in self._wanted and injection is not None:
            self._faults(injection.injector)

    def detach(self) -> None:
        """End; who listened before listens again."""
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()

    def _tell(self, kind: str, which: int | str | None, hart: int, words: str) -> None:
        wanted = self._wanted.get(kind, ())
        found = which if which in wanted else None
        if found is not None or None in wanted:
            self._told(Happening(Catch(kind, found), hart, words))

    def _overflow(self, vcpu: GuestHart) -> None:
        counter = vcpu.pmu.last_overflow
        self._tell("overflow", counter, vcpu.id, f"counter {counter} of hart {vcpu.id} overflows")

    def _watch(self, vcpu: GuestHart) -> None:
        before = vcpu.watch

        def watch(vcpu: GuestHart, counter: int | None, value: int) -> None:
            if before is not None:
                before(vcpu, counter, value)
            if counter is not None:
                self._tell("csr", counter, vcpu.id, f"hart {vcpu.id} reads counter {counter}: {value:#x}")

        vcpu.watch = watch
        self._undo.append(lambda: setattr(vcpu, "watch", before))

    def _answers(self, vcpu: GuestHart) -> None:
        answers: Ecall = vcpu.answers

        def heard(
            vcpu: GuestHart, eid: int, fid: int, args: Args
        ) -> SbiRet | SystemEvent | SbiExit | EventResumed:
            answer = answers(vcpu, eid, fid, args)
            call = f"hart {vcpu.id} calls {function(eid, fid).name}"
            if not isinstance(answer, SbiRet):
                self._tell("sbi", eid, vcpu.id, call)
                return answer
            call = f"{call}: {error_name(answer.error)}"
            if answer.error and eid == Eid.PMU and vcpu.pmu.last_refusal is not None:
                refusal = vcpu.pmu.last_refusal
                call = f"{call}; {refusal.layer} refuses in {refusal.step}: {refusal.reason}"
            self._tell("sbi", eid, vcpu.id, call)
            if answer.error:
                self._tell("refusal", eid, vcpu.id, call)
            return answer

        vcpu.answers = heard
        self._undo.append(lambda: setattr(vcpu, "answers", answers))

    def _faults(self, injector: Injector) -> None:
        ask = injector.ask

        def heard(site: str, hart: int = 0, size: int = 1, **facts: object) -> object:
            effect = ask(site, hart, size, **facts)
            if effect is not None:
                self._tell("fault", site, hart, f"fault at {site}: {dict(effect)}")
            return effect

        injector.ask = heard  # type: ignore[method-assign, assignment]
        self._undo.append(lambda: vars(injector).pop("ask", None))

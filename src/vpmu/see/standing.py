"""What an exit that the hart's engine has answered itself would have done to the vCPU.

An answer that has been given twice in a row stands from then on (hart.standing): an emulated read of a
counter, and a call whose answer never changes. Whatever else happens at an exit withdraws all of them, but
for calls that have nothing to do with counters. So does the beginning of a run, and nothing stands where
somebody wants to see each exit (a trace, a fault plan, `--check`), or where a counter may overflow soon: then
each exit asks when.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vpmu.hart.exits import Stop
from vpmu.hart.state import STANDING_TAKEN_MAX, STATE
from vpmu.see.limits import STALLED_EXITS
from vpmu.spec.sbi import U64, BaseFid, Eid, SbiRet
from vpmu.spec.sbi_functions import CONSTANT, FAR_FROM_COUNTERS

if TYPE_CHECKING:
    from vpmu.hart.standing import StandingAnswers
    from vpmu.see.guest_hart import GuestHart
    from vpmu.see.pmu import StoredValue

_EID: Final = 17
_FID: Final = 16
_COUNT_VU: Final = STATE["count_vu"]
_COUNT_VS: Final = STATE["count_vs"]
_BUDGET: Final = Stop.BUDGET
_ECALL: Final = Stop.ECALL
_VIRTUAL: Final = Stop.VIRTUAL
_WITH_ARGUMENT = ((Eid.BASE, BaseFid.PROBE_EXTENSION), (Eid.PMU, 1))
_PMU: Final = int(Eid.PMU)
_COUNTERS: Final = 64
_WORTH, _IDLE, _MOST = 8, 64, 64
"""Answers that are worth the trouble; exits that are not looked at where they were fewer, or where nothing
may stand; different ones that are remembered.
"""


class Standing:
    """The answers of one vCPU that stand. `stands`: there are any; `some`: there are, or something has been
    answered once.
    """

    def __init__(self, vcpu: GuestHart, table: StandingAnswers) -> None:
        self.some = False
        self.stands = False
        self._vcpu, self._table, self._answers = vcpu, table, vcpu.answers
        self._seen: set[object] = set()  # answered once
        self._noted = 0  # exits that the engine had answered when the hart stopped last
        self._given = self._idle = 0  # exits since something stands; not to be looked at, in vain before
        # keys of GuestHart.sbi_calls, in the order of the rows
        self._calls: dict[object, tuple[int, int, int]] = {}
        self._totals: dict[int, StoredValue] = {}
        self.enter = table.enter

    def withdraw(self) -> None:
        """Something may change: every exit is Python's again."""
        if self.stands:
            self.credit()
            if self._given < _WORTH:
                self._idle = _IDLE
            self._given = 0
            self._table.withdraw()
            self._calls.clear()
            self._totals.clear()
        self._seen.clear()
        self.some = self.stands = False

    def stopped(self, stop: Stop) -> None:
        """The hart has stopped, maybe after exits that the engine has answered. What these would have counted
        is made up for when somebody may look.
        """
        words = self._vcpu.hart.words
        is_far = stop is _BUDGET or (stop is _ECALL and words[_EID] in FAR_FROM_COUNTERS)
        if self.stands:
            taken = self._table.taken
            if not is_far or taken == STANDING_TAKEN_MAX:
                self.credit()
            elif taken != self._noted:
                self._note_progress(taken)
            if words[_COUNT_VU] + words[_COUNT_VS] >= self._vcpu.perf.quiet.until:
                self.withdraw()
        stands = is_far or stop is _VIRTUAL
        if not (stands or (stop is _ECALL and (words[_EID], words[_FID]) in CONSTANT)):
            self.withdraw()

    def read(self, index: int) -> None:
        """An emulated read of a counter was answered."""
        if not self._again(index):
            return
        found = self._vcpu.pmu.stands(index) if self._may_stand() else None
        if found is None or not self._table.put_counter(index, found[0]):
            self._in_vain()
            return
        self.stands = True
        if found[0].total is not None:
            self._totals[index] = found[1]

    def called(self, eid: int, fid: int, argument: int, answer: SbiRet) -> None:
        """A call of CONSTANT was answered."""
        asked = argument if (eid, fid) in _WITH_ARGUMENT else None
        what = (eid, fid, asked)
        if what in self._calls or not self._again(what):
            return
        error, value = int(answer.error), answer.value
        key = (eid, fid, error)
        if (
            value is not None
            and key in self._vcpu.sbi_calls
            and (eid != _PMU or self._constant(error, asked))
            and self._vcpu.answers is self._answers
            and self._may_stand()
            and self._table.put_call(eid, fid, asked, error & U64, value & U64)
        ):
            self._calls[what] = key
            self.stands = True
        else:
            self._in_vain()

    def _again(self, what: object) -> bool:
        """Whether this has been answered once since the last withdrawal."""
        if self._idle:
            self._idle -= 1
            return False
        if what in self._seen:
            return True
        if len(self._seen) < _MOST:
            self._seen.add(what)
            self.some = True
        return False

    def _in_vain(self) -> None:
        self.withdraw()
        self._idle = _IDLE

    def _constant(self, error: int, counter: int | None) -> bool:
        """Of a call of the PMU: behind KVM's array of counters lies what changes (B.INFO_PAST_ARRAY)."""
        return not error and self._vcpu.pmu.csrs_trap and (counter is None or counter < _COUNTERS)

    def _may_stand(self) -> bool:
        """Nobody has to see every exit."""
        vcpu = self._vcpu
        return (
            vcpu.faults is None
            and vcpu.at_entry is None
            and vcpu.watch is None
            and not vcpu.recorder.enabled
            and vcpu.events_masked
            and vcpu.stalled < STALLED_EXITS // 2
            and vcpu.hart.instructions < vcpu.perf.quiet.until
        )

    def _note_progress(self, taken: int) -> None:
        """A guest that exits for ever without retiring an instruction is to be found: what of that the engine
        has seen.
        """
        self._noted = taken
        vcpu, (streak, retired) = self._vcpu, self._table.take_streak()
        if retired == vcpu.progress:
            vcpu.stalled += streak
        else:
            vcpu.progress, vcpu.stalled = retired, streak - 1

    def credit(self) -> None:
        """Count the exits that the engine has answered."""
        if self._table.taken != self._noted:
            self._note_progress(self._table.taken)
        self._noted = 0
        taken = self._table.take()
        if taken is None:
            return
        self._given += taken.exits
        vcpu, calls, asked = self._vcpu, sum(taken.calls), False
        for key, times in zip(self._calls.values(), taken.calls, strict=True):
            vcpu.sbi_calls[key] += times
            asked = asked or (key[0] == _PMU and times > 0)
        if calls:
            vcpu.exits[_ECALL.name] += calls
        if taken.exits > calls:
            vcpu.exits[_VIRTUAL.name] += taken.exits - calls
        if asked or taken.exits > calls:
            vcpu.pmu.undetermined, vcpu.pmu.last_refusal = False, None
        for index, counter in self._totals.items():
            counter.value = self._table.total(index)

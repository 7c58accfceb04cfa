"""What a target is asked to do, and what it answers: the operations of the table format, in memory.

A *call* is one operation. A *batch* is a list of calls that a target does one after the other without telling
in between; a call may use the value of an earlier one of its batch (`Ref`), as a guest would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..spec.sbi import U64, Eid, error_name

OPERATIONS = {
    "e": "ecall: EID, FID, a0 to a5",
    "c": "read CSR 0xC00 + I (32 scountovf, 33 sip, 34 sie, 35 scounteren)",
    "w": "loop of 2 N instructions",
    "l": "load the doubleword at ADDRESS",
    "s": "store VALUE at ADDRESS",
    "f": "fill N doublewords at ADDRESS with VALUE",
    "k": "count the doublewords of N at ADDRESS that differ from VALUE",
    "t": "sfence.vma, then load from N pages at ADDRESS",
    "u": "read CSR 0xC00 + I in U mode with scounteren = VALUE",
    "W": "CSR write form K",
    "C": "K = 0: sie := V, 1: clear the bits V of sip, 2: set them",
    "i": "with sie = V and interrupts on, loop of 2 N instructions: the causes of the interrupts taken",
    "R": "reset the vCPU",
    "G": "the vCPU's sip, as KVM_GET_ONE_REG shows it",
    "S": "KVM_SET_ONE_REG of sip := V",
    "P": "the page at ADDRESS becomes a read-only memory slot",
    "M": "kB of memory that the host's kernel cannot give back (SUnreclaim)",
}
"""Letters as in recorded tables; `i` is ours alone, and those of OF_THE_HOST."""
OF_THE_HOST = frozenset("GSPM")
"""What user space or the host's kernel does, between two runs of the guest."""


@dataclass(frozen=True, slots=True)
class Ref:
    """The value of the batch's call number `index`, shifted left: `1 << value` is `Ref(i, bit=True)`."""

    index: int
    bit: bool = False


Operand = int | Ref


@dataclass(frozen=True, slots=True)
class Call:
    """One operation with its operands (register values, unsigned 64 bits)."""

    op: str
    operands: tuple[Operand, ...] = ()

    def resolve(self, results: Sequence[Result]) -> tuple[int, ...]:
        """The operands as numbers, given the results of the calls before this one."""
        return tuple(resolve(operand, results) for operand in self.operands)

    def script(self, results: Sequence[Result] = ()) -> str:
        """The call as a script line of a table; references that `results` does not reach are shown as
        `$n`.
        """
        return " ".join([self.op, *(_shown(operand, results) for operand in self.operands)])


@dataclass(frozen=True, slots=True)
class Result:
    """What a call gave: of an ecall a0 (`error`, signed) and a1 (`value`); of the others a value, `error`
    None.

    `trap` is the scause of an exception that the operation ended in, None where there was none; `errno` that
    with which KVM_RUN ended instead of an answer; `lost` the commit that mends what brought the
    host down here.
    """

    value: int = 0
    error: int | None = None
    trap: int | None = None
    errno: int | None = None
    lost: str = ""

    def __str__(self) -> str:
        if self.lost:
            return f"host lost, fixed by {self.lost}"
        if self.errno is not None:
            return f"KVM_RUN failed with errno {self.errno}"
        if self.trap is not None:
            return f"trap {self.trap}"
        if self.error is None:
            return hex(self.value)
        return f"{error_name(self.error)} {self.value:#x}"


def ecall(eid: int, fid: int, *args: Operand) -> Call:
    """An SBI call."""
    return Call("e", (eid, fid, *args))


def pmu(fid: int, *args: Operand) -> Call:
    """A call of the PMU extension."""
    return Call("e", (int(Eid.PMU), fid, *args))


def resolve(operand: Operand, results: Sequence[Result]) -> int:
    """The operand as a number, given the results of the calls before."""
    if isinstance(operand, int):
        return operand & U64
    value = results[operand.index].value
    return 1 << (value & 63) if operand.bit else value


def _shown(operand: Operand, results: Sequence[Result]) -> str:
    if isinstance(operand, int):
        return f"{operand & U64:#x}"
    if operand.index < len(results):
        return f"{resolve(operand, results):#x}"
    return f"1<<${operand.index}" if operand.bit else f"${operand.index}"


def as_table(calls: Sequence[Call], results: Sequence[Result]) -> list[str]:
    """The calls and what came of them as lines of a table that `vpmu replay` takes."""
    lines = []
    for call, result in zip(calls, results, strict=False):
        script = call.script(results)
        trapped = " TRAPPED" if result.trap is not None else ""
        if result.trap is not None:
            lines.append(f"  trap scause={result.trap:x} sepc=0 stval=0")
        if result.error is not None:
            answer = f"a0={result.error} ({error_name(result.error)}) a1={_sharp(result.value)}{trapped}"
        else:
            answer = f"{_sharp(result.value)} ({result.value}) 0{trapped}"
        lines.append(f"{script:<60} => {answer}")
    return lines


def _sharp(value: int) -> str:
    return hex(value) if value else "0"

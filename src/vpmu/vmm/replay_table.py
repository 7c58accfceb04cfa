"""Recorded tables of the mailbox protocol: `SCRIPT LINE => RESULT`, read into runs of steps.

A table holds one or more *runs*, each on a machine of its own ("# ######## title" opens one). A *step* is
one script line with every line that the monitor printed for it, in order: traps, failing KVM_RUNs, the
result.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import FileError, UnknownNameError
from ..files import read_text
from ..spec.sbi import SbiError

U64 = (1 << 64) - 1
OPERATIONS = {
    "e": "ecall",
    "E": "ecall, and check that the other registers are preserved",
    "c": "read a counter CSR",
    "w": "loop of 2N instructions",
    "b": "N times config_matching, start and stop",
    "l": "load a doubleword",
    "s": "store a doubleword",
    "f": "fill doublewords",
    "k": "count the doublewords that differ",
    "u": "read a counter CSR in U mode",
    "W": "CSR write form",
    "C": "write sie or sip",
    "t": "sfence.vma, then touch pages",
    "m": "change a memory slot",
    "v": "memory as the monitor sees it",
    "G": "ONE_REG list",
    "R": "reset of VCPU 0",
}
"""Script operations by letter; `m v G R` are the monitor's, the others the payload's."""

KVM_SBI_EXTENSIONS = (
    "V01", "TIME", "IPI", "RFENCE", "SRST", "HSM", "PMU", "EXPERIMENTAL", "VENDOR", "DBCN", "STA", "SUSP",
)  # fmt: skip
"""KVM_RISCV_SBI_EXT_* in order: `# set SBI ext 6=0` names PMU."""


class TableError(FileError):
    """A table file that cannot be read or does not follow the format; the message names the file and the
    line."""

    layer = "table"


@dataclass(frozen=True, slots=True)
class Line:
    """One recorded line of output: its number in the file (from 1) and its text without the newline."""

    number: int
    text: str


@dataclass(slots=True)
class Step:
    """One script line, as written, and the recorded lines that it gave."""

    number: int
    script: str
    lines: list[Line] = field(default_factory=list)

    @property
    def operation(self) -> str:
        """The letter of the operation."""
        return self.script.lstrip(" ")[:1]

    @property
    def operands(self) -> tuple[int, ...]:
        """Up to eight operands as the monitor's strtoull reads them, unsigned 64 bit; eight are always
        given."""
        return parse_operands(self.script.lstrip(" ")[1:])


@dataclass(slots=True)
class Run:
    """The steps that ran on one machine, with what the comments above them say of that machine. `legacy`: it
    has the v0.1 calls.
    """

    title: str
    number: int
    payload_size: int | None = None
    sbi_extensions: dict[str, bool] = field(default_factory=dict)
    isa_extensions: frozenset[int] | None = None
    sscofpmf: bool = True
    unmodified: bool = False
    legacy: bool = True
    native_base: int | None = None
    steps: list[Step] = field(default_factory=list)

    @property
    def lines(self) -> int:
        """How many recorded lines there are to agree with."""
        return sum(len(step.lines) for step in self.steps)


@dataclass(slots=True)
class Table:
    """One table file: its runs in order."""

    path: str
    runs: list[Run]

    @property
    def lines(self) -> int:
        """How many recorded lines there are to agree with."""
        return sum(run.lines for run in self.runs)


def parse_operands(text: str) -> tuple[int, ...]:
    """Eight operands from `text`, zero where absent, in C's notation (0x hexadecimal, leading 0 octal, `-1`
    wraps to 64 bits).

    A `#` ends them. Raises ValueError for anything else, naming the token, or for a ninth.
    """
    tokens = text.split("#", 1)[0].split()
    if len(tokens) > 8:
        raise ValueError(f"at most 8 operands, got {len(tokens)}")
    values = [_strtoull(token) for token in tokens]
    return tuple(values + [0] * (8 - len(values)))


def _strtoull(token: str) -> int:
    digits = token.lstrip("+-")
    sign = token[: len(token) - len(digits)]
    base = 16 if digits[:2].lower() == "0x" else 8 if digits.startswith("0") and digits != "0" else 10
    try:
        value = int(digits, base)
    except ValueError:
        raise ValueError(f"expected a number, got {token[:60]!r}") from None
    if len(sign) > 1 or "_" in digits:
        raise ValueError(f"expected a number, got {token[:60]!r}")
    value = min(value, U64)
    return -value & U64 if sign == "-" else value


_SECTION = re.compile(r"# ?#{3,}\s*(.*)")
_PAYLOAD = re.compile(r"# payload (\d{1,9}) bytes\b")
_SET_SBI = re.compile(r"# set SBI ext (\d{1,9})=(\d+)")
_SBI_EXTENSIONS = re.compile(r"# SBI exts:((?: \w+=\S+)*)")
_ISA = re.compile(r"# ISA exts enabled:((?: \d{1,9}\b)*)")
_NATIVE = re.compile(r"S-mode payload at (0x[0-9a-fA-F]{1,16})\b")
_NO_SSCOFPMF = re.compile(r"sscofpmf\s*=\s*(?:false|off)|without\s+sscofpmf", re.IGNORECASE)
_DEBIAN = re.compile(r"^# KVM = Debian")  # whose kernels are built without RISCV_SBI_V01
_UNMODIFIED = re.compile(r"\bunmodified\b", re.IGNORECASE)
_TRAP = re.compile(r"  trap scause=[0-9a-f]+ sepc=[0-9a-f]+ stval=[0-9a-f]+$")
_PC = re.compile(r"    instruction at pc = ")
_NOTE = re.compile(r"(?:mmio write [0-9a-f]+=|VCPU1 (?:run errno|exit) \d)")
_END = re.compile(r"(?:SYSTEM_EVENT type \d|exit_reason \d|\?\? )")
_OPEN_RESULT = re.compile(r"KVM_RUN (?:FAILED|AGAIN)|EXIT_RISCV_SBI ")
"""Results after which the same script line goes on."""


def read_table(path: str | Path) -> Table:
    """The table in the file `path`. Raises TableError naming file and line for what is not in the format."""
    text = read_text(path, "table", kind=TableError)
    return parse_table(text.split("\n"), str(path))


def parse_table(lines: Iterable[str], path: str = "<table>") -> Table:
    """The table in `lines`. Raises TableError naming `path` and the line for what is not in the format."""
    parser = _Parser(path)
    for number, text in enumerate(lines, 1):
        parser.line(number, text.rstrip("\r\n"))
    return parser.finish()


class _Parser:
    def __init__(self, path: str) -> None:
        self.path = path
        self.runs: list[Run] = []
        self.run: Run | None = None
        self.header = Run("", 1)
        self.step: Step | None = None
        self.before: list[Line] = []

    def error(self, number: int, what: str, *, expected: object = None, got: object = None) -> TableError:
        return TableError(self.path, what, line=number, expected=expected, got=got)

    def line(self, number: int, text: str) -> None:
        if not text.strip():
            return
        if text.startswith("#"):
            self.comment(number, text)
        elif _TRAP.match(text) or _NOTE.match(text):
            self.before.append(Line(number, text))
        elif _PC.match(text):
            if self.step is None:
                raise self.error(number, "'instruction at pc' without a failing KVM_RUN before it")
            self.step.lines.append(Line(number, text))
        elif _END.match(text):
            self.close(number)
        elif " => " in text:
            self.result(number, text)
        else:
            raise self.error(
                number, "not a recorded line", expected="'SCRIPT LINE => RESULT'", got=repr(text[:60])
            )

    def comment(self, number: int, text: str) -> None:
        section = _SECTION.match(text)
        if section:
            self.close(number)
            self.run = self.open(section.group(1), number)
            self.runs.append(self.run)
        where = self.run if self.run is not None else self.header
        self.describe(where, number, text)

    def open(self, title: str, number: int) -> Run:
        # What stands above the first section is said of every machine in the file.
        top = self.header
        return Run(title, number, sscofpmf=top.sscofpmf, native_base=top.native_base, legacy=top.legacy)

    def describe(self, run: Run, number: int, text: str) -> None:
        """What a comment in line `number` says of the machine of `run`."""
        if found := _PAYLOAD.match(text):
            run.payload_size = int(found.group(1))
        elif found := _SBI_EXTENSIONS.match(text):
            # `PMU=err-2` says that there is no such switch: nothing to set.
            switches = dict(item.split("=", 1) for item in found.group(1).split())
            for name in switches:
                if name not in KVM_SBI_EXTENSIONS:
                    hint = UnknownNameError("SBI extension", name[:60], KVM_SBI_EXTENSIONS).what
                    raise self.error(number, hint)
            run.sbi_extensions = {
                name: value == "1" for name, value in switches.items() if value in ("0", "1")
            }
        elif found := _SET_SBI.match(text):
            extension = int(found.group(1))
            if extension < len(KVM_SBI_EXTENSIONS):
                run.sbi_extensions[KVM_SBI_EXTENSIONS[extension]] = found.group(2) != "0"
        elif found := _ISA.match(text):
            run.isa_extensions = frozenset(map(int, found.group(1).split()))
        elif _SECTION.match(text) or not run.steps:
            if _NO_SSCOFPMF.search(text):
                run.sscofpmf = False
            if _DEBIAN.search(text):
                run.legacy = False
            if _UNMODIFIED.search(text) and _SECTION.match(text):
                run.unmodified = True
            if found := _NATIVE.search(text):
                run.native_base = int(found.group(1), 16)

    def result(self, number: int, text: str) -> None:
        script, _, result = text.rpartition(" => ")
        script = script.rstrip(" ")
        if self.step is not None and self.step.script != script:
            self.close(number)
        if self.step is None:
            if self.run is None:
                # A table of one run without a section line: what stood above describes that run.
                self.run = self.header
                self.runs.append(self.run)
            self.step = self.new_step(number, script)
            self.run.steps.append(self.step)
        self.step.lines += [*self.before, Line(number, text)]
        self.before = []
        if not _OPEN_RESULT.match(result):
            self.step = None

    def new_step(self, number: int, script: str) -> Step:
        step = Step(number, script)
        if step.operation not in OPERATIONS:
            raise self.error(
                number, "unknown operation", expected=f"one of {' '.join(OPERATIONS)}", got=step.operation
            )
        try:
            step.operands  # noqa: B018 - a malformed operand is an error of the table, not of the replay
        except ValueError as error:
            raise self.error(number, str(error)) from None
        return step

    def close(self, number: int) -> None:
        if self.before:
            raise self.error(self.before[0].number, "a trap without the line that trapped")
        self.step = None

    def finish(self) -> Table:
        self.close(0)
        if not any(run.steps for run in self.runs):
            raise TableError(self.path, "no recorded line ('SCRIPT LINE => RESULT') in it")
        return Table(self.path, [run for run in self.runs if run.steps])


def signed(value: int) -> int:
    """The 64-bit register value as C's `long`."""
    return value - (1 << 64) if value >> 63 else value


def sharp_hex(value: int) -> str:
    """C's `%#lx`: zero has no prefix."""
    return hex(value) if value else "0"


def error_name(value: int) -> str:
    """The name the monitor prints for a0, `?` for what is no SBI error."""
    try:
        return SbiError(signed(value)).name
    except ValueError:
        return "?"


def result_line(script: str, result: str) -> str:
    """A line as the monitor prints it."""
    return f"{script:<60} => {result}"


def split_result(text: str) -> tuple[str, str]:
    """Script part without padding, and result; a line without `=>` is all result."""
    script, arrow, result = text.rpartition(" => ")
    return (script.rstrip(" "), result.rstrip()) if arrow else ("", text.rstrip())

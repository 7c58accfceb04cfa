"""What a debugger's packets mean (gdb manual, E Remote Serial Protocol): each is answered, or makes the
guest go.

Whatever comes, a packet has an answer: an empty one for what is not known, E01 for what is no such packet,
E14 for memory that is not there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vpmu.errors import VpmuError
from vpmu.gdb import memory, registers
from vpmu.gdb.description import PC, Register, register_info, target_xml
from vpmu.gdb.description import registers as registers_of
from vpmu.gdb.framing import LONGEST
from vpmu.gdb.memory import Unmapped
from vpmu.gdb.points import ACCESS, Points
from vpmu.hart.memory import MemoryFault
from vpmu.spec.sbi import U64

if TYPE_CHECKING:
    from vpmu.see.guest_hart import GuestHart
    from vpmu.vmm.machine import Machine

OK, UNKNOWN, WRONG, NO_MEMORY = b"OK", b"", b"E01", b"E14"
_WRITING = (b"G", b"P", b"M", b"X")
_HEX = re.compile(rb"[0-9a-fA-F]{1,16}")
_LONG = re.compile(rb"(?:[0-9a-fA-F]{2})*")
_THREAD = re.compile(rb"(?:p(?:-1|[0-9a-fA-F]{1,8})\.)?(-1|[0-9a-fA-F]{1,8})")


@dataclass(frozen=True, slots=True)
class Go:
    """The guest shall go: `how` is "onwards", "back", "detach" or "kill". `step`: one instruction of
    `hart`.
    """

    how: str
    step: bool = False
    hart: int = 0


Answer = list[bytes] | Go
"""Packets to send, or what to do before one can be sent."""


class Malformed(Exception):
    """A packet that is none of its kind."""


class Session:
    """One debugger's view of a machine: which hart it looks at, what it has set. `monitor` answers a line
    that its user types; `reverses`: the run can go back; `writes`: its state may be changed.
    """

    def __init__(
        self, machine: Machine, points: Points, monitor: Callable[[str, GuestHart], str], *,
        reverses: bool, writes: bool = True,
    ) -> None:  # fmt: skip
        self.machine, self.points, self.reverses, self._writes = machine, points, reverses, writes
        self._monitor = monitor
        self.hart = machine.turns.current
        self.moving = self.hart
        """The hart that c, s, bs and bc are of."""
        self.stopped = b"S05"
        """What `?` answers."""
        self.changed = False
        """A register or memory was written since the guest last went."""
        self.acks = True
        self.says_swbreak = self.says_hwbreak = False
        self.hardware: set[int] = set()
        self._by_physical = False
        self._ids: dict[bytes, Callable[[bytes], Answer | bytes]] = {
            b"?": lambda rest: self.stopped, b"g": self._read_all, b"G": self._write_all,
            b"p": self._read_one, b"P": self._write_one, b"m": self._read_memory, b"M": self._write_hex,
            b"X": self._write_binary, b"c": self._continue, b"s": self._step, b"C": self._continue_signal,
            b"S": self._step_signal, b"b": self._reverse, b"Z": self._set, b"z": self._unset,
            b"H": self._choose, b"T": self._alive, b"q": self._query, b"Q": self._setting, b"v":
            self._verbose, b"D": lambda rest: Go("detach"), b"k": lambda rest: Go("kill"),
        }  # fmt: skip

    def handle(self, data: bytes) -> Answer:
        """Answer a packet. Whatever it holds, this raises nothing."""
        handler = self._ids.get(data[:1])
        if handler is None:
            return [UNKNOWN]
        if not self._writes and data[:1] in _WRITING:
            return [WRONG]
        try:
            answer = handler(data[1:])
        except Malformed:
            answer = WRONG
        except (Unmapped, MemoryFault):
            answer = NO_MEMORY
        return [answer] if isinstance(answer, bytes) else answer

    @property
    def vcpu(self) -> GuestHart:
        """The hart that is looked at."""
        return self.machine.vcpus[self.hart]

    def looks_at(self, hart: int) -> None:
        """Something happened on a hart: the debugger will look there."""
        self.hart = self.moving = hart

    # --- registers

    def _register(self, number: int) -> Register:
        found = next((one for one in registers_of(self.vcpu.hart) if one.number == number), None)
        if found is None:
            raise Malformed
        return found

    def shown(self, number: int) -> bytes:
        """A register as it is sent."""
        size = self._register(number).size
        value = registers.read(self.vcpu, number)
        if value is None:
            return b"xx" * size
        return (value & (1 << 8 * size) - 1).to_bytes(size, "little").hex().encode()

    def _read_all(self, rest: bytes) -> bytes:
        return b"".join(self.shown(number) for number in range(PC + 1))

    def _write_all(self, rest: bytes) -> bytes:
        data = _bytes(rest)
        if len(data) < 8 * (PC + 1):
            return WRONG
        self.changed = True
        for number in range(PC + 1):
            registers.write(self.vcpu, number, int.from_bytes(data[8 * number : 8 * number + 8], "little"))
        return OK

    def _read_one(self, rest: bytes) -> bytes:
        return self.shown(_number(rest))

    def _write_one(self, rest: bytes) -> bytes:
        number, _, value = rest.partition(b"=")
        register = self._register(_number(number))
        data = _bytes(value)
        if len(data) != register.size:
            return WRONG
        if not registers.write(self.vcpu, register.number, int.from_bytes(data, "little")):
            return WRONG
        self.changed = True
        return OK

    # --- memory

    def _read_memory(self, rest: bytes) -> bytes:
        address, size = _two(rest)
        size = min(size, LONGEST // 2 - 8)
        if self._by_physical:
            return self.machine.memory.read(address, size).hex().encode()
        return memory.read(self.vcpu.hart, address, size).hex().encode()

    def _write_hex(self, rest: bytes) -> bytes:
        where, _, data = rest.partition(b":")
        return self._write_memory(where, _bytes(data))

    def _write_binary(self, rest: bytes) -> bytes:
        where, _, data = rest.partition(b":")
        return self._write_memory(where, data)

    def _write_memory(self, where: bytes, data: bytes) -> bytes:
        address, size = _two(where)
        if size != len(data):
            return WRONG
        if data:
            if self._by_physical:
                self.machine.memory.read(address, size)
                self.machine.memory.write_through(address, data)
            else:
                memory.write(self.vcpu.hart, address, data)
            self.changed = True
        return OK

    # --- going

    def _continue(self, rest: bytes) -> Answer:
        return self._from(rest, Go("onwards"))

    def _step(self, rest: bytes) -> Answer:
        return self._from(rest, Go("onwards", True, self.moving))

    def _continue_signal(self, rest: bytes) -> Answer:
        return self._from(rest.partition(b";")[2], Go("onwards"))

    def _step_signal(self, rest: bytes) -> Answer:
        return self._from(rest.partition(b";")[2], Go("onwards", True, self.moving))

    def _from(self, address: bytes, go: Go) -> Answer:
        if address and not self._writes:
            return [WRONG]
        if address:
            self.machine.vcpus[self.moving].hart.pc = _number(address)
            self.changed = True
        return go

    def _reverse(self, rest: bytes) -> Answer | bytes:
        if not self.reverses:
            return UNKNOWN
        match rest:
            case b"c":
                return Go("back")
            case b"s":
                return Go("back", True, self.moving)
        return UNKNOWN

    def _verbose(self, rest: bytes) -> Answer | bytes:
        if rest == b"Cont?":
            return b"vCont;c;C;s;S"
        if rest.startswith(b"Cont;"):
            return self._cont(rest[5:])
        return Go("kill") if rest.startswith(b"Kill") else UNKNOWN

    def _cont(self, actions: bytes) -> Answer | bytes:
        """Harts share one time: if one shall step the others go on until it has."""
        continues = False
        for action in actions.split(b";"):
            what, colon, thread = action.partition(b":")
            if what[:1] not in (b"c", b"C", b"s", b"S") or (what[1:] and not _HEX.fullmatch(what[1:])):
                return WRONG
            hart = self._thread(thread) if colon else None
            if what[:1] in (b"s", b"S"):
                return Go("onwards", True, self.moving if hart is None else hart)
            continues = True
        return Go("onwards") if continues else WRONG

    # --- points

    def _set(self, rest: bytes) -> bytes:
        kind, address, size = self._point(rest)
        if kind in (0, 1):
            done = self.points.add_breakpoint(address)
            (self.hardware.add if kind else self.hardware.discard)(address)
        elif kind in ACCESS:
            done = self.points.add_watchpoint(address, size, ACCESS[kind])
        else:
            return UNKNOWN
        return OK if done else NO_MEMORY

    def _unset(self, rest: bytes) -> bytes:
        kind, address, size = self._point(rest)
        if kind in (0, 1):
            self.points.remove_breakpoint(address)
        elif kind in ACCESS:
            self.points.remove_watchpoint(address, size, ACCESS[kind])
        else:
            return UNKNOWN
        return OK

    @staticmethod
    def _point(rest: bytes) -> tuple[int, int, int]:
        words = rest.partition(b";")[0].split(b",")
        if len(words) != 3:
            raise Malformed
        kind, address, size = map(_number, words)
        return kind, address, size

    # --- harts

    def _thread(self, text: bytes) -> int | None:
        """A hart; None for all, or for any."""
        found = _THREAD.fullmatch(text)
        if found is None:
            raise Malformed
        number = -1 if found[1] == b"-1" else int(found[1], 16)
        if number <= 0:
            return None
        if number > len(self.machine.vcpus):
            raise Malformed
        return number - 1

    def _choose(self, rest: bytes) -> bytes:
        hart = self._thread(rest[1:])
        match rest[:1]:
            case b"g":
                self.hart = self.hart if hart is None else hart
            case b"c":
                self.moving = self.moving if hart is None else hart
            case _:
                return WRONG
        return OK

    def _alive(self, rest: bytes) -> bytes:
        self._thread(rest)
        return OK

    # --- questions

    def _query(self, rest: bytes) -> Answer | bytes:
        by = b"," if rest.startswith((b"Rcmd", b"ThreadExtraInfo")) else b":"
        name, _, more = rest.partition(by)
        if name.startswith(b"RegisterInfo"):
            return register_info(self.vcpu.hart, _number(name[12:])) or b"E45"
        match name:
            case b"Supported":
                return self._supported(more)
            case b"C":
                return b"QC%x" % (self.hart + 1)
            case b"fThreadInfo":
                return b"m" + b",".join(b"%x" % (vcpu.id + 1) for vcpu in self.machine.vcpus)
            case b"sThreadInfo":
                return b"l"
            case b"ThreadExtraInfo":
                return self._about(self._thread(more)).encode().hex().encode()
            case b"Attached":
                return b"1"
            case b"Symbol":
                return OK
            case b"Xfer":
                return self._transfer(more)
            case b"Rcmd":
                return self._typed(more)
            case b"HostInfo" | b"ProcessInfo":  # lldb's
                return (
                    b"pid:1;triple:%s;endian:little;ptrsize:8;" % b"riscv64-unknown-none-elf".hex().encode()
                )
            case b"qemu.PhyMemMode":
                return b"1" if self._by_physical else b"0"
        return UNKNOWN

    def _supported(self, theirs: bytes) -> bytes:
        known = theirs.split(b";")
        self.says_swbreak, self.says_hwbreak = b"swbreak+" in known, b"hwbreak+" in known
        ours = [b"PacketSize=%x" % LONGEST, b"qXfer:features:read+", b"QStartNoAckMode+", b"vContSupported+",
                b"swbreak+", b"hwbreak+"]  # fmt: skip
        if self.reverses:
            ours += [b"ReverseStep+", b"ReverseContinue+"]
        return b";".join(ours)

    def _about(self, hart: int | None) -> str:
        vcpu = self.machine.vcpus[self.hart if hart is None else hart]
        return f"hart {vcpu.id}, {registers.mode_name(vcpu.hart)} mode"

    def _transfer(self, rest: bytes) -> bytes:
        found = re.fullmatch(rb"features:read:target\.xml:([0-9a-f]{1,8}),([0-9a-f]{1,8})", rest)
        if found is None:
            return b"E00" if rest.startswith(b"features:read:") else UNKNOWN
        at, size = int(found[1], 16), min(int(found[2], 16), LONGEST - 16)
        part = target_xml(self.vcpu.hart)[at : at + size]
        return (b"m" if len(part) == size else b"l") + part

    def _typed(self, rest: bytes) -> list[bytes]:
        line = _bytes(rest).decode("utf-8", "replace")
        try:
            text = self._monitor(line, self.vcpu)
        except VpmuError as error:
            text = str(error)
        data = (text + "\n").encode() if text else b""
        part = LONGEST // 2 - 8
        return [*(b"O" + data[at : at + part].hex().encode() for at in range(0, len(data), part)), OK]

    def _setting(self, rest: bytes) -> bytes:
        match rest:
            case b"StartNoAckMode":
                self.acks = False
                return OK
            case b"qemu.PhyMemMode:1" | b"qemu.PhyMemMode:0":
                self._by_physical = rest.endswith(b"1")
                return OK
        return UNKNOWN


def _number(text: bytes) -> int:
    if not _HEX.fullmatch(text):
        raise Malformed
    return int(text, 16) & U64


def _two(text: bytes) -> tuple[int, int]:
    first, _, second = text.partition(b",")
    return _number(first), _number(second)


def _bytes(text: bytes) -> bytes:
    if not _LONG.fullmatch(text):
        raise Malformed
    return bytes.fromhex(text.decode("ascii"))

"""Packets as no debugger would send them: damaged, cut, made of parts of real ones, and random bytes.

By hand: python tests/gdb/hostile.py 100000
"""

from __future__ import annotations

import random
import select
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from tests.gdb.client import serving

from vpmu.gdb.framing import checksum, packet
from vpmu.vmm.machine import Machine

REAL = b"""
? g p20 p1000 Pa=0000000000000080 P20=0000208000000000 m80200000,40 M80200000,4:13000000 c s vCont;c
vCont;s:1;c vCont? bc bs Z0,80200010,4 z0,80200010,4 Z1,80200020,2 Z2,80201000,8 z2,80201000,8 Z3,80201000,8
Z4,80200000,1000 Hg1 Hc-1 Hgp1.1 T1 qSupported:swbreak+;hwbreak+ qC qfThreadInfo qsThreadInfo
qThreadExtraInfo,1 qAttached qSymbol:: qXfer:features:read:target.xml:0,ffb
qXfer:features:read:target.xml:ffffffff,1 vMustReplyEmpty Qqemu.PhyMemMode:1 Qqemu.PhyMemMode:0
qqemu.PhyMemMode vKill qOffsets R00 ! C05 S05;80200000 c80200000 qHostInfo qRcmd, qRcmd,6 qRcmd,zz D1 vRun;a
j{} """.split()
REAL += [b"X80200000,4:\x13\x00\x00\x00", b"G" + b"00" * 264]
MONITOR = [
    *("help", "where", "mode", "counters", "sbi", "sbi 3", "trace 100", "profile", "faults", "catch"),
    *("catch overflow", "catch sbi PMU", "catch csr 0xc00", "catch nonsense", "uncatch", "position"),
    *("goto 100", "goto 99999999999999999999", "goto -1", "phys 0x80200000 16", "phys 0 16", "phys"),
    *("\0", "\xff" * 500),
]
LETTERS = b"?gGpPmMXcsCSbzZHTqQvDkR!0123456789abcdef,;:.-+$#}*\x03\x00\xff"


def hostile(chosen: random.Random) -> bytes:
    """Bytes that come down the line."""
    kind = chosen.randrange(10)
    if kind == 0:
        return bytes(chosen.choices(LETTERS, k=chosen.randrange(40)))
    if kind == 1:
        return chosen.randbytes(chosen.randrange(60))
    if kind == 2:
        data = b"qRcmd," + chosen.choice(MONITOR).encode("utf-8", "replace").hex().encode()
    else:
        data = chosen.choice(REAL)
    data = bytearray(data)
    for _ in range(chosen.choice((0, 0, 1, 1, 2, 8))):
        where = chosen.randrange(len(data) + 1)
        match chosen.randrange(4):
            case 0:
                data[where:where] = bytes(chosen.choices(LETTERS, k=chosen.choice((1, 2, 20))))
            case 1:
                del data[where : where + chosen.randrange(6)]
            case 2:
                data[where : where + 1] = chosen.randbytes(1)
            case _:
                data[where:where] = chosen.choice(
                    (b"ffffffffffffffff", b"-1", b"0" * 40, b"80200000", b"," * 9)
                )
    if data[:1] in (b"k", b"D") or data[:5] == b"vKill":
        data[:1] = b"x"  # those end the session: others ask them
    if kind == 3:
        return b"$" + bytes(data) + b"#" + chosen.choice((b"00", b"zz", b"0", b""))
    if kind == 4:
        sent = packet(bytes(data))
        return sent[: chosen.randrange(len(sent) + 1)]
    if kind == 5:
        return b"$" + bytes(data) + b"#" + checksum(bytes(data))  # not escaped
    return packet(bytes(data))


class Over(Exception):
    """The guest ran to its end, and the server has said so."""


def attack(count: int, seed: int, build: Callable[[], Machine], *, told: bool = False) -> tuple[int, int]:
    """Send so many to a server, to a new one when a guest has come to its end; (answers that came, guests).
    The server has to answer a plain question in between. What it raises is raised.
    """
    chosen = random.Random(seed)
    came, guests, number = [0], 0, 0
    while number < count:
        guests += 1
        with serving(build()) as (served, client), suppress(Over):
            client.socket.settimeout(60)
            while number < count:
                sent(client.socket, hostile(chosen))
                number += 1
                if number % 50 == 0:
                    plain(client.socket, came)
                while select.select([client.socket], [], [], 0)[0]:
                    came[0] += received(client.socket).count(b"$")
                if told and number % 10_000 == 0:
                    print(f"{number:,} sent, {came[0]:,} answers, {guests} guests", flush=True)
            plain(client.socket, came)
        if served.error is not None:
            raise served.error
    return came[0], guests


def sent(line: socket.socket, data: bytes) -> None:
    """Send it. Over where the run is."""
    try:
        line.sendall(data)
    except ConnectionError:
        raise Over from None


def received(line: socket.socket) -> bytes:
    """What has come. Over where the run is."""
    try:
        data = line.recv(1 << 16)
    except ConnectionError:
        data = b""
    if not data or b"$W" in data:
        raise Over
    return data


def plain(line: socket.socket, came: list[int]) -> None:
    """After whatever was sent: the guest stops, and a question is answered, within seconds."""
    sent(line, b"#00\x03" + packet(b"qThreadExtraInfo,1"))
    held = b""
    while b"$" + b"hart 0".hex().encode() not in held:
        data = received(line)
        came[0] += data.count(b"$")
        held = (held + data)[-4096:]


def counting() -> Machine:
    """A guest that ends after 2 million instructions."""
    machine = Machine()
    machine.load("counting")
    return machine


if __name__ == "__main__":
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    begin = time.monotonic()
    answers, ended = attack(total, int(sys.argv[2]) if len(sys.argv) > 2 else 1, counting, told=True)
    print(f"{total:,} packets to {ended} guests, {answers:,} answers, {time.monotonic() - begin:.0f} s")

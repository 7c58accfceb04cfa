"""Damaged and hostile packets: no traceback, no hang (100,000 by hand: tests/gdb/hostile.py)."""

from __future__ import annotations

import random

import pytest

from vpmu.gdb.framing import LONGEST, Mark, Reader, escaped, packet, unescaped
from vpmu.vmm.machine import Machine

from .hostile import attack, counting, hostile


def _three() -> Machine:
    machine = Machine(harts=3)
    machine.load("hello")
    return machine


def _whole() -> Machine:
    machine = Machine("opensbi-1.6", isa=("h", "sstc", "sscofpmf"))
    machine.load("hello")
    return machine


@pytest.mark.parametrize("build", [counting, _three, _whole])
def test_hostile_packets_end_in_answers(build: object) -> None:
    answers, _ = attack(1500, 3, build)  # type: ignore[arg-type]
    assert answers > 300


def test_packets_come_in_whatever_pieces() -> None:
    chosen = random.Random(5)
    for _ in range(200):
        sent = [chosen.randbytes(chosen.randrange(30)) for _ in range(5)]
        stream = b"+".join(map(packet, sent))
        reader, got = Reader(), []
        while stream:
            size = chosen.randrange(1, 9)
            got += reader.feed(stream[:size])
            stream = stream[size:]
        assert [one for one in got if one is not Mark.ACK] == sent
        assert not reader.nonsense


def test_nothing_that_comes_is_kept_for_ever() -> None:
    reader, chosen = Reader(), random.Random(6)
    for _ in range(2000):
        list(reader.feed(hostile(chosen)))
    for _ in range(50):
        list(reader.feed(b"$" + b"a" * LONGEST))
    assert len(reader._held) <= 3 * LONGEST + 8
    assert len(reader.nonsense) <= 64


def test_escaped_data_is_what_it_was() -> None:
    assert unescaped(escaped(bytes(range(256)))) == bytes(range(256))
    assert not set(b"$#") & set(escaped(bytes(range(256))))

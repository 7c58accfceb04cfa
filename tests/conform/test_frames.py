"""The serial protocol on a line that loses, doubles and flips bytes."""

from __future__ import annotations

import random

import pytest

from vpmu.conform.agent import AgentTarget
from vpmu.conform.calls import Call, Ref, ecall, pmu
from vpmu.conform.frames import MAX_PAYLOAD, Frame, FrameReader
from vpmu.conform.machine_link import MachineLink
from vpmu.conform.target import TargetLost


class FaultyLink:
    """A line over another one on which every byte may be dropped, doubled or flipped with a probability."""

    def __init__(self, link: MachineLink, rate: float, seed: int) -> None:
        self._link, self._rate, self._random = link, rate, random.Random(seed)
        self.faults = 0

    def _spoil(self, data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            if self._random.random() >= self._rate:
                out.append(byte)
                continue
            self.faults += 1
            kind = self._random.choice(("drop", "double", "flip"))
            if kind == "double":
                out += bytes([byte, byte])
            elif kind == "flip":
                out.append(byte ^ 1 << self._random.randrange(8))
        return bytes(out)

    def send(self, data: bytes) -> None:
        self._link.send(self._spoil(data))

    def receive(self, patience: float) -> bytes:
        return self._spoil(self._link.receive(patience / 4))

    def close(self) -> None:
        self._link.close()


@pytest.mark.parametrize("seed", range(3))
def test_the_agent_over_a_faulty_pipe_gives_the_right_results(seed: int) -> None:
    clean = AgentTarget(MachineLink("spec-3.0", "qemu-virt"), "agent", "clean", profile="spec-3.0")
    faulty_link = FaultyLink(MachineLink("spec-3.0", "qemu-virt"), 0.001, seed)
    faulty = AgentTarget(faulty_link, "agent", "faulty", profile="spec-3.0")
    batches = [
        [pmu(1, index) for index in range(12)],
        [
            pmu(2, 0, 1 << 19, 2, 0xF0005, 0),
            pmu(3, Ref(0), 1, 1, 40),
            ecall(0x54494D45, 0, -1),
            pmu(5, Ref(0)),
            pmu(4, 0, Ref(0, bit=True), 1),
        ],
        [
            Call("f", (clean.scratch, 64, 7)),
            Call("k", (clean.scratch, 64, 7)),
            Call("l", (clean.scratch + 8,)),
            Call("W", (0,)),
        ],
    ]
    for _ in range(12):
        for batch in batches:
            clean.reset()
            faulty.reset()
            assert faulty.run(batch) == clean.run(batch)
    assert faulty_link.faults
    assert faulty.repeated


def test_a_request_is_done_once_however_often_its_answer_is_lost() -> None:
    link = FaultyLink(MachineLink("spec-3.0", "qemu-virt"), 0.0, 0)
    target = AgentTarget(link, "agent", "one way", profile="spec-3.0")
    target.run([pmu(2, 0, 1 << 19, 2, 0xF0005, 0), pmu(3, 19, 1, 1, 0)])
    receive, lost = link.receive, []

    def deaf(patience: float) -> bytes:
        data = receive(patience)
        if data and len(lost) < 2:
            lost.append(data)
            return b""
        return data

    link.receive = deaf  # type: ignore[method-assign]
    assert target.run([ecall(0x54494D45, 0, -1), pmu(5, 19)])[1].value == 1
    assert len(lost) == 2


def test_a_dead_line_is_a_lost_target() -> None:
    link = FaultyLink(MachineLink("spec-3.0", "qemu-virt"), 0.0, 0)
    target = AgentTarget(link, "agent", "dead", profile="spec-3.0")
    link._rate = 1.0
    link._random = random.Random(1)
    link.send = lambda data: None  # type: ignore[method-assign]
    link.receive = lambda patience: b""  # type: ignore[method-assign]
    with pytest.raises(TargetLost, match="no answer"):
        target.run([pmu(0)])


@pytest.mark.parametrize("size", [0, 1, 2, 90, 90 * 256 + 165 & 0x3FFF, MAX_PAYLOAD])
def test_frames_are_found_in_noise(size: int) -> None:
    payload = bytes((i * 7 + 0xA5) & 0xFF for i in range(size))
    frame = Frame(200, payload)
    reader = FrameReader()
    stream = b"\xa5\x5a\xa5\x5anoise" + frame.pack() + b"\xa5" + frame.pack()
    found = [one for at in range(0, len(stream), 13) for one in reader.feed(stream[at : at + 13])]
    assert found == [frame, frame]


def test_a_changed_byte_never_gives_another_frame() -> None:
    frame = Frame(3, bytes(range(40)))
    packed = frame.pack()
    for place in range(len(packed)):
        for bit in range(8):
            spoilt = bytearray(packed)
            spoilt[place] ^= 1 << bit
            assert FrameReader().feed(bytes(spoilt)) == []
        assert FrameReader().feed(packed[:place] + packed[place + 1 :]) == []
        doubled = FrameReader().feed(packed[: place + 1] + packed[place:])
        assert all(found == frame for found in doubled)


def test_a_payload_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="at most"):
        Frame(0, bytes(MAX_PAYLOAD + 1)).pack()

"""The KVM monitor against a made-up /dev/kvm: descriptors are files in memory, the guest is Python."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from vpmu.conform.frames import Frame, FrameReader
from vpmu.peers import monitor
from vpmu.peers.kvm_host import monitor_path
from vpmu.peers.monitor import DEVICE_BASE, MEMORY_BASE, Machine, MachineLost, Port, Server

PAGE = 4096
BOX, REQUEST, ANSWER = MEMORY_BASE + 0x1000, MEMORY_BASE + 0x2000, MEMORY_BASE + 0x8000
Guest = Callable[["FakeKvm"], None]


class FakeKvm:
    """Takes the monitor's ioctls; every KVM_RUN calls `guest`."""

    def __init__(self, guest: Guest) -> None:
        self.fd = 1000
        self.guest = guest
        self.registers: list[dict[int, int]] = []
        self.states: list[tuple[int, int]] = []
        self.switched: list[tuple[int, int]] = []
        self.vms = 0
        self.memory = 0
        self.vcpus: dict[int, int] = {}
        self.running = -1
        self.slots: dict[int, tuple[int, int, int]] = {}

    def ioctl(self, fd: int, request: int, argument: int = 0) -> int:
        if request == monitor.KVM_CREATE_VM:
            self.vms += 1
            self.vcpus, self.registers, self.slots = {}, [], {}
            return os.memfd_create("vm")
        if request == monitor.KVM_CREATE_VCPU:
            made = os.memfd_create("vcpu")
            os.truncate(made, PAGE)
            self.vcpus[made] = argument
            self.registers.append({})
            return made
        if request == monitor.KVM_GET_VCPU_MMAP_SIZE:
            return PAGE
        assert request == monitor.KVM_RUN
        self.running = fd
        self.guest(self)
        return 0

    def pack(self, fd: int, request: int, layout: str, *values: int) -> None:
        if request == monitor.KVM_SET_USER_MEMORY_REGION:
            if not self.slots:
                self.memory = values[4]
                assert values[:4] == (0, 0, MEMORY_BASE, monitor.MEMORY_SIZE)
            assert not values[3] or values[4] - self.memory == values[2] - MEMORY_BASE
            self.slots[values[0]] = (values[1], values[2] - MEMORY_BASE, values[3])
        elif request == monitor.KVM_SET_ONE_REG:
            value = ctypes.c_uint64.from_address(values[1]).value
            if values[0] == monitor.REG_SBI_PMU:
                self.switched.append((self.vms, value))
                return
            self.registers[self.vcpus[fd]][values[0] - monitor.REG_CORE] = value
        elif request == monitor.KVM_GET_ONE_REG:
            ctypes.c_uint64.from_address(values[1]).value = self.registers[self.vcpus[fd]].get(
                values[0] - monitor.REG_CORE, 0
            )
        elif request == monitor.KVM_SET_MP_STATE:
            self.states.append((self.vcpus[fd], values[0]))

    # What guests do.

    def exit(self, reason: int, union: bytes) -> None:
        os.pwrite(self.running, struct.pack("<I", reason), monitor.RUN_EXIT_REASON)
        os.pwrite(self.running, union, monitor.RUN_UNION)

    def store(self, address: int, value: int) -> None:
        self.exit(monitor.EXIT_MMIO, struct.pack("<QQIB", address, value, 8, 1))

    def write(self, address: int, data: bytes) -> None:
        ctypes.memmove(self.memory + address - MEMORY_BASE, data, len(data))

    def read(self, address: int, length: int) -> bytes:
        return ctypes.string_at(self.memory + address - MEMORY_BASE, length)


def echo(kvm: FakeKvm) -> None:
    """An agent whose answers are `R`, the number of its VM, and the request."""
    length = struct.unpack("<Q", kvm.read(BOX + 16, 8))[0]
    request = kvm.read(REQUEST, length)
    answer = b"R%d" % kvm.vms + request if request else b""
    kvm.write(ANSWER, answer)
    kvm.write(BOX, struct.pack("<5Q", REQUEST, 0x4000, 0, ANSWER, len(answer)))
    kvm.store(DEVICE_BASE, BOX)


def machine(guest: Guest) -> tuple[Machine, FakeKvm]:
    kvm: Any = FakeKvm(guest)
    return Machine(kvm, b"agent"), kvm


def scripted(*steps: Guest) -> Guest:
    todo = iter(steps)
    return lambda kvm: next(todo)(kvm)


@pytest.fixture
def line() -> Iterator[tuple[int, int, Callable[[Guest], FakeKvm]]]:
    """Our ends of a line, and what starts a server at the other ends of it."""
    here_in, there_out = os.pipe()
    there_in, here_out = os.pipe()
    threads: list[threading.Thread] = []

    def start(guest: Guest) -> FakeKvm:
        kvm: Any = FakeKvm(guest)
        server = Server(Port(there_in, there_out), kvm, b"agent")
        threads.append(threading.Thread(target=server.serve))
        threads[0].start()
        made: FakeKvm = kvm
        return made

    yield here_in, here_out, start
    os.close(here_out)
    for thread in threads:
        thread.join(timeout=20)
        assert not thread.is_alive()
    for descriptor in (here_in, there_in, there_out):
        os.close(descriptor)


def answers(source: int, count: int) -> list[Frame]:
    reader, frames = FrameReader(), []
    while len(frames) < count:
        frames += reader.feed(os.read(source, 65536))
    return frames


def test_a_machine_starts_the_agent_at_its_memory() -> None:
    made, kvm = machine(echo)
    assert kvm.registers == [{monitor.PC: MEMORY_BASE, monitor.A0: 0, monitor.A1: 0}]
    assert kvm.read(MEMORY_BASE, 5) == b"agent"
    assert made.run_to_mailbox() == BOX
    made.put_request(BOX, b"Rabc")
    assert made.take_answer(made.run_to_mailbox()) == b"R1Rabc"
    made.close()


def operation(letter: str, value: int = 0) -> bytes:
    return b"O".ljust(8, b"\0") + struct.pack("<QQ", ord(letter), value)


def test_what_the_host_does_between_two_runs() -> None:
    made, kvm = machine(echo)
    for letter, value, expected in (("S", 0x2000, 0), ("G", 0, 0x2000), ("P", MEMORY_BASE + 5 * PAGE, 0)):
        answer = monitor.host_answer(made, operation(letter, value))
        assert answer == b"R".ljust(8, b"\0") + struct.pack("<QQQ", expected, 0, 0)
    end = 6 * PAGE
    assert kvm.slots == {
        0: (0, 0, 5 * PAGE),
        1: (monitor.READONLY, 5 * PAGE, PAGE),
        2: (0, end, monitor.MEMORY_SIZE - end),
    }
    (kilobytes,) = struct.unpack_from("<Q", monitor.host_answer(made, operation("M")), 8)
    assert kilobytes > 1000
    assert struct.unpack("<QQQ", monitor.host_answer(made, operation("?"))[8:]) == (0, 0, 1 + errno.EINVAL)
    for bad in (b"O", operation("G")[:-1]):
        with pytest.raises(MachineLost, match="24"):
            monitor.host_answer(made, bad)
    with pytest.raises(MachineLost, match="no memory"):
        monitor.host_answer(made, operation("P", 0x1000))
    made.close()


def test_an_operation_of_the_host_is_for_the_machine_that_is_there(line: Any) -> None:
    source, sink, start = line
    start(echo)
    for number, request in enumerate(
        (b"Fxxx", operation("S", 0x2000), operation("G"), b"Rb", b"Fy", operation("G"))
    ):
        os.write(sink, Frame(number + 1, request).pack())
    said = [frame.payload for frame in answers(source, 7)[1:]]
    assert said[0] == b"R1Rxxx"
    assert struct.unpack_from("<Q", said[2], 8) == (0x2000,)
    assert said[3:5] == [b"R1Rb", b"R2Ry"]
    assert struct.unpack_from("<Q", said[5], 8) == (0,)


def test_a_failing_kvm_run_is_stepped_over() -> None:
    def fail(kvm: FakeKvm) -> None:
        kvm.registers[0][monitor.PC] = MEMORY_BASE + 0x40
        raise OSError(2, "No such file or directory")

    made, kvm = machine(scripted(fail, echo))
    made.run_to_mailbox()
    assert kvm.registers[0][monitor.PC] == MEMORY_BASE + 0x44
    assert kvm.registers[0][monitor.A0] == (1 << 64) - 1002
    made.close()


def test_an_interrupted_kvm_run_is_repeated() -> None:
    def interrupt(kvm: FakeKvm) -> None:
        raise InterruptedError(4, "Interrupted system call")

    made, _ = machine(scripted(interrupt, echo))
    assert made.run_to_mailbox() == BOX
    made.close()


def test_an_sbi_call_that_nobody_has_is_not_supported() -> None:
    def call(kvm: FakeKvm) -> None:
        kvm.exit(monitor.EXIT_RISCV_SBI, struct.pack("<8Q2q", 0x4442434E, 0, 0, 0, 0, 0, 0, 0, 7, 7))

    def look(kvm: FakeKvm) -> None:
        assert struct.unpack("<2q", os.pread(kvm.running, 16, monitor.RUN_UNION + 64)) == (-2, 0)
        echo(kvm)

    made, _ = machine(scripted(call, look))
    made.run_to_mailbox()
    made.close()


def test_a_load_where_nothing_is_reads_0() -> None:
    def load(kvm: FakeKvm) -> None:
        kvm.exit(monitor.EXIT_MMIO, struct.pack("<QQIB", 1 << 38, 77, 8, 0))

    def look(kvm: FakeKvm) -> None:
        assert os.pread(kvm.running, 8, monitor.RUN_UNION + 8) == bytes(8)
        echo(kvm)

    made, _ = machine(scripted(load, look))
    made.run_to_mailbox()
    made.close()


def test_a_reset_stops_the_vcpu_and_lets_another_one_start_it() -> None:
    def starter(kvm: FakeKvm) -> None:
        kvm.registers[0][monitor.A1] = 0x5000
        kvm.store(DEVICE_BASE + 8, MEMORY_BASE + 0x300)

    def second(kvm: FakeKvm) -> None:
        assert kvm.vcpus[kvm.running] == 1
        assert kvm.registers[1] == {
            monitor.PC: MEMORY_BASE + 0x300, monitor.A1: MEMORY_BASE + 0x200, monitor.A2: 0x5000
        }  # fmt: skip
        kvm.store(DEVICE_BASE + 24, 0)

    made, kvm = machine(
        scripted(starter, lambda kvm: kvm.store(DEVICE_BASE + 16, MEMORY_BASE + 0x200), second, echo)
    )
    made.run_to_mailbox()
    assert kvm.states == [(0, monitor.MP_STATE_STOPPED), (1, monitor.MP_STATE_RUNNABLE)]
    made.close()


@pytest.mark.parametrize(
    ("guest", "reason"),
    [
        (lambda kvm: kvm.exit(monitor.EXIT_SYSTEM_EVENT, struct.pack("<I", 1)), "system event 1"),
        (lambda kvm: kvm.exit(17, b""), "KVM exit 17"),
    ],
)
def test_a_machine_that_cannot_go_on_is_lost(guest: Guest, reason: str) -> None:
    made, _ = machine(guest)
    with pytest.raises(MachineLost, match=reason):
        made.run_to_mailbox()
    made.close()


def test_a_mailbox_outside_the_memory_is_refused() -> None:
    made, _ = machine(echo)
    for address in (0, MEMORY_BASE - 8, MEMORY_BASE + monitor.MEMORY_SIZE - 8):
        with pytest.raises(MachineLost):
            made.take_answer(address)
    made.close()


def test_the_server_says_what_the_host_is_then_serves(line: Any) -> None:
    source, sink, start = line
    kvm = start(echo)
    first = answers(source, 1)[0]
    assert first.payload.startswith(b"Ikernel: Linux ")
    os.write(sink, b"noise" + Frame(1, b"H").pack() + Frame(2, b"Rxy").pack())
    assert [frame.payload for frame in answers(source, 2)] == [b"R1H", b"R1Rxy"]
    assert kvm.vms == 1


def test_fresh_machines_and_repeated_requests(line: Any) -> None:
    source, sink, start = line
    kvm = start(echo)
    answers(source, 1)
    os.write(sink, Frame(1, b"Fab").pack() + Frame(1, b"Fab").pack() + Frame(2, b"Fcd").pack())
    assert [(frame.sequence, frame.payload) for frame in answers(source, 3)] == [
        (1, b"R1Rab"), (1, b"R1Rab"), (2, b"R2Rcd"),
    ]  # fmt: skip
    assert kvm.vms == 2


def test_a_fresh_machine_without_the_pmu_extension(line: Any) -> None:
    source, sink, start = line
    kvm = start(echo)
    answers(source, 1)
    off, on = b"F\1\0\1\0\0\0\0", b"F\1\0\0\0\0\0\0"
    os.write(sink, Frame(1, off).pack() + Frame(2, on).pack())
    assert [frame.sequence for frame in answers(source, 2)] == [1, 2]
    assert kvm.switched == [(1, 0)]


def test_a_lost_machine_is_reported_and_the_next_one_works(line: Any) -> None:
    source, sink, start = line

    def guest(kvm: FakeKvm) -> None:
        length = struct.unpack("<Q", kvm.read(BOX + 16, 8))[0]
        if kvm.read(REQUEST, length) == b"Rdie":
            kvm.exit(monitor.EXIT_SYSTEM_EVENT, struct.pack("<I", 2))
        else:
            echo(kvm)

    start(guest)
    answers(source, 1)
    os.write(sink, Frame(1, b"Fdie").pack() + Frame(2, b"Fgo").pack())
    lost, fine = answers(source, 2)
    assert lost.payload == b"Xthe guest ended with system event 2"
    assert fine.payload == b"R2Rgo"


def test_the_monitor_runs_alone_and_says_what_is_missing() -> None:
    """As a guest has it: one file, only the standard library, here without /dev/kvm's API or without it."""
    alone = [sys.executable, "-I", "-S", str(monitor_path())]
    usage = subprocess.run(alone, capture_output=True, text=True, check=False)
    assert (usage.returncode, usage.stderr) == (2, "usage: monitor.py AGENT [DEVICE]\n")
    missing = subprocess.run([*alone, "/nonexistent"], capture_output=True, text=True, check=False)
    assert (missing.returncode, missing.stderr) == (1, "monitor: /nonexistent: No such file or directory\n")

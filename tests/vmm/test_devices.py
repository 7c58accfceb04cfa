"""Devices, as their drivers use them: the register sequences are those of Linux and of OpenSBI."""

from __future__ import annotations

import pytest

from vpmu import Machine
from vpmu.errors import MachineError
from vpmu.vmm.devices import Bus, EventKind, MachineEvent, Ns16550a, Plic, SifiveTest

RBR = THR = DLL = 0
IER = DLM = 1
IIR = FCR = 2
LCR, MCR, LSR, MSR, SCR = 3, 4, 5, 6, 7


class Console:
    """A serial port with what it sent and the history of its interrupt line."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.levels: list[bool] = []
        self.uart = Ns16550a(self.sent.extend, self.levels.append)

    def text(self) -> bytes:
        """What a polling driver reads until there is nothing more."""
        got = bytearray()
        while self.uart.read(LSR) & 1:
            got.append(self.uart.read(RBR))
        return bytes(got)


@pytest.fixture
def console() -> Console:
    return Console()


def test_output_is_sent_at_once_and_the_transmitter_is_always_empty(console: Console) -> None:
    for byte in b"hello":
        assert console.uart.read(LSR) & 0x60 == 0x60
        console.uart.write(THR, byte)
    assert bytes(console.sent) == b"hello"


def test_input_arrives_in_order_and_ends(console: Console) -> None:
    assert console.uart.read(LSR) & 1 == 0
    assert console.uart.read(RBR) == 0
    console.uart.feed(b"ls\n")
    console.uart.feed(b"x")
    assert console.uart.waiting == 4
    assert console.text() == b"ls\nx"
    assert console.uart.waiting == 0


def test_clearing_the_fifo_loses_no_input(console: Console) -> None:
    console.uart.feed(b"typed before the driver came")
    console.uart.write(FCR, 0x07)
    assert console.text() == b"typed before the driver came"
    console.uart.feed(b"abc")
    assert console.uart.read(LSR) & 1
    console.uart.write(FCR, 0x07)
    assert console.text() == b"abc"


def test_input_on_hold_waits_for_a_driver(console: Console) -> None:
    console.uart.hold()
    console.uart.feed(b"abc")
    assert console.text() == b""
    console.uart.write(IER, 0x0F)  # Linux's probe
    assert console.text() == b""
    console.uart.write(IER, 0x05)
    assert console.text() == b"abc"


def test_divisor_latch_hides_the_data_and_enable_registers(console: Console) -> None:
    console.uart.write(IER, 0x05)
    console.uart.write(LCR, 0x80)
    console.uart.write(DLL, 0x34)
    console.uart.write(DLM, 0x12)
    assert (console.uart.read(DLL), console.uart.read(DLM)) == (0x34, 0x12)
    console.uart.write(LCR, 0x03)
    assert console.uart.read(IER) == 0x05
    assert console.uart.read(LCR) == 0x03
    assert not console.sent


def test_linux_detects_a_16550a(console: Console) -> None:
    """The steps of autoconfig() in drivers/tty/serial/8250/8250_port.c (Linux 6.12)."""
    uart = console.uart
    uart.write(IER, 0)
    assert uart.read(IER) & 0x0F == 0
    uart.write(IER, 0x0F)
    assert uart.read(IER) & 0x0F == 0x0F
    uart.write(IER, 0)
    uart.write(MCR, 0x10 | 0x0A)  # loopback: RTS and OUT2 come back as CTS and DCD
    assert uart.read(MSR) & 0xF0 == 0x90
    uart.write(MCR, 0)
    uart.write(LCR, 0xBF)
    uart.write(2, 0)  # EFR of other chips
    uart.write(LCR, 0)
    uart.write(FCR, 0x01)
    assert uart.read(IIR) >> 6 == 3  # 16550A
    uart.write(LCR, 0x80)
    assert uart.read(IIR) != 0  # no EFR: not a 16650
    uart.write(LCR, 0)
    uart.write(IER, 0x40)  # UUE: an XScale would keep it
    assert uart.read(IER) & 0x40 == 0
    uart.write(SCR, 0xA5)
    assert uart.read(SCR) == 0xA5


def test_loopback_receives_what_is_sent(console: Console) -> None:
    console.uart.feed(b"outside")
    console.uart.write(MCR, 0x10)
    assert console.uart.read(LSR) & 1 == 0
    console.uart.write(THR, 0x55)
    assert console.uart.read(LSR) & 1
    assert console.uart.read(RBR) == 0x55
    assert not console.sent
    console.uart.write(MCR, 0)
    assert console.text() == b"outside"


def test_receive_interrupt_follows_the_input(console: Console) -> None:
    console.uart.write(IER, 0x01)
    assert console.levels == []
    console.uart.feed(b"ab")
    assert console.levels == [True]
    assert console.uart.read(IIR) & 0x0F == 0x04
    console.uart.read(RBR)
    assert console.levels == [True]
    console.uart.read(RBR)
    assert console.levels == [True, False]
    assert console.uart.read(IIR) & 0x0F == 0x01


def test_transmit_interrupt_comes_when_enabled_and_goes_when_read(console: Console) -> None:
    console.uart.write(IER, 0x02)
    assert console.levels == [True]
    assert console.uart.read(IIR) & 0x0F == 0x02
    assert console.levels == [True, False]
    console.uart.write(THR, 0x41)
    assert console.levels == [True, False, True]
    console.uart.write(IER, 0)
    assert console.levels == [True, False, True, False]


def test_input_goes_before_output_among_interrupts(console: Console) -> None:
    console.uart.write(IER, 0x03)
    console.uart.feed(b"a")
    assert console.uart.read(IIR) & 0x0F == 0x04
    console.uart.read(RBR)
    assert console.uart.read(IIR) & 0x0F == 0x02


def test_modem_interrupt_on_a_changed_line(console: Console) -> None:
    console.uart.write(MCR, 0x10)
    console.uart.read(MSR)
    console.uart.write(IER, 0x08)
    assert console.levels == []
    console.uart.write(MCR, 0x12)  # RTS -> CTS
    assert console.levels == [True]
    assert console.uart.read(IIR) & 0x0F == 0x00
    assert console.uart.read(MSR) & 0x1F == 0x11
    assert console.levels == [True, False]


def test_reset_lowers_the_line_and_keeps_the_input(console: Console) -> None:
    console.uart.write(IER, 0x01)
    console.uart.feed(b"a")
    console.uart.reset()
    assert console.levels == [True, False]
    assert console.text() == b"a"


def test_wide_accesses_are_those_of_one_byte(console: Console) -> None:
    bus = Bus()
    bus.attach(0x10000000, 0x100, console.uart)
    bus.write(0x10000000, 0x1122334455667741, 8)
    bus.write(0x10000000, 0x42, 4)
    assert bytes(console.sent) == b"AB"
    assert bus.read(0x10000005, 8) == 0x60
    assert bus.read(0x10000020, 1) == 0


def test_bus_finds_devices_and_gives_zero_elsewhere() -> None:
    bus = Bus()
    console = Console()
    bus.attach(0x10000000, 0x100, console.uart)
    bus.attach(0x100000, 0x1000, SifiveTest())
    assert bus.find(0x10000007) == (console.uart, 7)
    for gpa in (0, 0xFFFFF, 0x101000, 0xFFFFFFF, 0x10000100, (1 << 56) - 8):
        assert bus.find(gpa) is None
        assert bus.read(gpa, 8) == 0
        assert bus.write(gpa, 0x5555, 4) is None


@pytest.mark.parametrize("base", [0x10000000, 0x0FFFFF01, 0x100000FF])
def test_devices_may_not_overlap(base: int) -> None:
    bus = Bus()
    bus.attach(0x10000000, 0x100, SifiveTest())
    with pytest.raises(MachineError, match="devices overlap"):
        bus.attach(base, 0x100, SifiveTest())


@pytest.mark.parametrize(
    ("value", "event"),
    [
        (0x5555, MachineEvent(EventKind.POWEROFF)),
        (0x2A3333, MachineEvent(EventKind.FAIL, 42)),
        (0x7777, MachineEvent(EventKind.RESET)),
        (0, None),
        (0x1234, None),
    ],
)
def test_test_finisher(value: int, event: MachineEvent | None) -> None:
    bus = Bus()
    bus.attach(0x100000, 0x1000, SifiveTest())
    assert bus.write(0x100000, value, 4) == event
    assert bus.write(0x100004, value, 4) is None
    assert bus.read(0x100000, 4) == 0


class Wires:
    """A PLIC for two harts, and the last level of each hart's external interrupt line."""

    def __init__(self) -> None:
        self.level: dict[int, bool] = {}
        self.plic = Plic(2, self.level.__setitem__)

    def enable(self, context: int, *sources: int, priority: int = 1) -> None:
        for source in sources:
            self.plic.write(4 * source, priority)
        for word in range(4):
            bits = sum(1 << source % 32 for source in sources if source // 32 == word)
            self.plic.write(0x2000 + 0x80 * context + 4 * word, bits)


@pytest.fixture
def wires() -> Wires:
    return Wires()


def claim_register(context: int) -> int:
    return 0x200000 + 0x1000 * context + 4


def test_plic_signals_claims_and_completes(wires: Wires) -> None:
    wires.enable(3, 10)
    wires.plic.set_line(10, True)
    assert wires.level == {1: True}
    assert wires.plic.read(0x1000) == 1 << 10
    assert wires.plic.read(claim_register(3)) == 10
    assert wires.level == {1: False}
    assert wires.plic.read(claim_register(3)) == 0
    wires.plic.write(claim_register(3), 10)  # the line is still high
    assert wires.level == {1: True}
    assert wires.plic.read(claim_register(3)) == 10
    wires.plic.set_line(10, False)
    wires.plic.write(claim_register(3), 10)
    assert wires.level == {1: False}


def test_plic_keeps_a_request_whose_line_went_away(wires: Wires) -> None:
    wires.enable(1, 10)
    wires.plic.set_line(10, True)
    wires.plic.set_line(10, False)
    assert wires.level == {0: True}
    assert wires.plic.read(claim_register(1)) == 10


def test_plic_needs_enable_and_a_priority_above_the_threshold(wires: Wires) -> None:
    wires.plic.set_line(10, True)
    assert wires.level == {}
    wires.enable(1, 10, priority=0)
    assert wires.level == {}
    wires.enable(1, 10, priority=3)
    assert wires.level == {0: True}
    wires.plic.write(0x201000, 3)
    assert wires.plic.read(0x201000) == 3
    assert wires.level == {0: False}
    assert wires.plic.read(claim_register(1)) == 0
    wires.plic.write(0x201000, 2)
    assert wires.level == {0: True}


def test_plic_gives_the_highest_priority_then_the_lowest_number(wires: Wires) -> None:
    wires.enable(1, 10, 40, 96)
    wires.plic.write(4 * 96, 7)
    for source in (96, 40, 10):
        wires.plic.set_line(source, True)
    assert [wires.plic.read(claim_register(1)) for _ in range(4)] == [96, 10, 40, 0]


def test_plic_contexts_of_machine_mode_signal_no_guest(wires: Wires) -> None:
    wires.enable(0, 10)
    wires.plic.set_line(10, True)
    assert wires.level == {}
    assert wires.plic.read(claim_register(0)) == 10


def test_plic_registers_read_back_and_the_rest_is_zero(wires: Wires) -> None:
    wires.enable(1, 0, 33, 96)
    assert wires.plic.read(0x2080) == 0  # source 0 does not exist
    assert wires.plic.read(0x2084) == 1 << 1
    assert wires.plic.read(0x208C) == 1
    wires.plic.write(4 * 33, 0xFF)
    assert wires.plic.read(4 * 33) == 7
    for offset in (0, 4 * 97, 0x2000 + 0x80 * 4, claim_register(4), 0x201008, 0x5FFFFC):
        wires.plic.write(offset, 0xFFFFFFFF)
        assert wires.plic.read(offset) == 0


@pytest.mark.parametrize("source", [0, 97, -1])
def test_plic_refuses_sources_that_do_not_exist(wires: Wires, source: int) -> None:
    with pytest.raises(MachineError, match="no such interrupt source"):
        wires.plic.set_line(source, True)


def test_serial_port_behind_the_plic(wires: Wires) -> None:
    uart = Ns16550a(lambda data: None, lambda level: wires.plic.set_line(10, level))
    wires.enable(1, 10)
    uart.write(IER, 0x01)
    uart.feed(b"k")
    assert wires.plic.read(claim_register(1)) == 10
    assert uart.read(RBR) == ord("k")
    wires.plic.write(claim_register(1), 10)
    assert wires.level == {0: False}
    uart.feed(b"l")
    assert wires.level == {0: True}


def test_a_second_serial_port_has_a_sink_of_its_own_and_is_kept_in_snapshots() -> None:
    out, err = bytearray(), bytearray()
    machine = Machine(memory=1 << 20, console_out=out.extend, second_serial=True)
    machine.console.hand_errors_to(err.extend)
    second = machine.board.second_serial
    assert second is not None
    machine.serial.write(0, ord("o"))
    second.write(0, ord("e"))
    second.write(7, 0x5A)
    assert (bytes(out), bytes(err), machine.console.output) == (b"o", b"e", b"oe")
    fork = machine.fork()
    assert fork.board.second_serial is not None
    assert fork.board.second_serial.read(7) == 0x5A
    assert Machine(memory=1 << 20).board.second_serial is None

"""The serial port of the machine: ns16550a at 0x10000000, as on QEMU's ``virt``.

Complete enough for the drivers that meet it: OpenSBI, kvm-unit-tests, and Linux's 8250 with its detection
of the chip (loopback, scratch register, FIFO bits), polled or with an interrupt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

# Names and values as in Linux's include/uapi/linux/serial_reg.h.
IER_RDI, IER_THRI, IER_MSI = 0x01, 0x02, 0x08
IER_MASK = 0x0F
IIR_MSI, IIR_NO_INT, IIR_THRI, IIR_RDI = 0x00, 0x01, 0x02, 0x04
IIR_ID = 0x0F
IIR_FIFO_ENABLED = 0xC0
FCR_ENABLE_FIFO, FCR_CLEAR_RCVR, FCR_MASK = 0x01, 0x02, 0xC9
LCR_WLEN8, LCR_DLAB = 0x03, 0x80
MCR_DTR, MCR_RTS, MCR_OUT1, MCR_OUT2, MCR_LOOP = 0x01, 0x02, 0x04, 0x08, 0x10
MCR_MASK = 0x1F
LSR = 5
LSR_DR, LSR_THRE, LSR_TEMT = 0x01, 0x20, 0x40
MSR_CTS, MSR_DSR, MSR_RI, MSR_DCD = 0x10, 0x20, 0x40, 0x80

_LOOPBACK = ((MCR_RTS, MSR_CTS), (MCR_DTR, MSR_DSR), (MCR_OUT1, MSR_RI), (MCR_OUT2, MSR_DCD))


class Ns16550a:
    """A serial port (16550A, registers one byte apart) that sends at once and receives from a queue.

    Input waits outside the FIFO until the guest looks for it, so what was typed before the guest set up its
    driver is not lost with the FIFO; `hold` keeps it back even from the reads by which Linux's driver empties
    the chip.

    :param sink: gets what the guest sends, as it sends it.
    :param interrupt: called with the level of the interrupt line when it changes.
    """

    def __init__(
        self, sink: Callable[[bytes], None], interrupt: Callable[[bool], None] | None = None
    ) -> None:
        self._sink = sink
        self._interrupt = interrupt
        self._input: deque[int] = deque()
        self._level = False
        self._rx: int | None = None
        self._held = False
        self.reset()

    def redirect(self, sink: Callable[[bytes], None]) -> None:
        """Send what the guest transmits somewhere else from now on."""
        self._sink = sink

    def reset(self) -> None:
        """Registers as after power-on. Input that waits stays."""
        self._mcr = 0
        self._put_back()
        self._ier = 0
        self._fcr = 0
        self._lcr = LCR_WLEN8
        self._msr_delta = 0
        self._scr = 0
        self._divisor = 1
        self._thri_pending = False
        self._update()

    def feed(self, data: bytes) -> None:
        """Bytes for the guest to receive, after those that wait already."""
        self._input.extend(data)
        self._update()

    def hold(self) -> None:
        """Keep input back until a driver has enabled the receive interrupt (and not all four, as in Linux's
        probe).
        """
        self._held = True

    @property
    def waiting(self) -> int:
        """Bytes that the guest has not read yet."""
        return len(self._input) + (self._rx is not None)

    def read(self, offset: int, size: int = 1) -> int:
        """One register; wider accesses see it zero-extended. Offsets 0 to 7."""
        if offset == LSR:  # half of all accesses; what it may take from the queue changes no interrupt
            return LSR_THRE | LSR_TEMT | LSR_DR if self._pull() else LSR_THRE | LSR_TEMT
        dlab = self._lcr & LCR_DLAB
        value = 0
        match offset:
            case 0:
                value = self._divisor & 0xFF if dlab else self._receive()
            case 1:
                value = self._divisor >> 8 if dlab else self._ier
            case 2:
                value = self._iir()
                if value & IIR_ID == IIR_THRI:
                    self._thri_pending = False
                if self._fcr & FCR_ENABLE_FIFO:
                    value |= IIR_FIFO_ENABLED
            case 3:
                value = self._lcr
            case 4:
                value = self._mcr
            case 6:
                value = self._msr() | self._msr_delta
                self._msr_delta = 0
            case 7:
                value = self._scr
        self._update()
        return value

    def write(self, offset: int, value: int, size: int = 1) -> None:
        """One register: the low byte of the value."""
        value &= 0xFF
        dlab = self._lcr & LCR_DLAB
        match offset:
            case 0 if dlab:
                self._divisor = self._divisor & 0xFF00 | value
            case 0:
                self._send(value)
            case 1 if dlab:
                self._divisor = self._divisor & 0x00FF | value << 8
            case 1:
                # Enabling the interrupt while the transmitter is empty, which it always is, raises it.
                if value & IER_THRI and not self._ier & IER_THRI:
                    self._thri_pending = True
                self._ier = value & IER_MASK
                if self._ier & IER_RDI and self._ier != IER_MASK:
                    self._held = False
            case 2:
                # Switching the FIFO on or off empties it as the clear bit does.
                if value & FCR_CLEAR_RCVR or (value ^ self._fcr) & FCR_ENABLE_FIFO:
                    self._put_back()
                self._fcr = value & FCR_MASK
            case 3:
                self._lcr = value
            case 4:
                before = self._msr()
                self._mcr = value & MCR_MASK
                self._note_modem_change(before)
            case 7:
                self._scr = value
            case _:
                pass  # LSR and MSR are for reading
        self._update()

    def _send(self, byte: int) -> None:
        if self._mcr & MCR_LOOP:
            self._rx = byte
        else:
            self._sink(bytes((byte,)))
        self._thri_pending = True

    def _put_back(self) -> None:
        """Empty the receiver. What came from outside waits again; what was looped back is gone."""
        if self._rx is not None and not self._mcr & MCR_LOOP:
            self._input.appendleft(self._rx)
        self._rx = None

    def _pull(self) -> bool:
        """Whether there is a byte to receive; takes one from the queue if the register is empty."""
        if self._rx is None and self._input and not self._held and not self._mcr & MCR_LOOP:
            self._rx = self._input.popleft()
        return self._rx is not None

    def _receive(self) -> int:
        byte = self._rx if self._pull() else None
        self._rx = None
        return byte or 0

    def _msr(self) -> int:
        if not self._mcr & MCR_LOOP:
            return MSR_CTS | MSR_DSR | MSR_DCD  # somebody is there
        return sum(line for control, line in _LOOPBACK if self._mcr & control)

    def _note_modem_change(self, before: int) -> None:
        after = self._msr()
        changed = before ^ after
        if not before & MSR_RI or after & MSR_RI:
            changed &= ~MSR_RI  # TERI is for the trailing edge only
        self._msr_delta |= changed >> 4

    def _iir(self) -> int:
        """The interrupt of highest priority that is pending and enabled."""
        if self._ier & IER_RDI and self._pull():
            return IIR_RDI
        if self._ier & IER_THRI and self._thri_pending:
            return IIR_THRI
        if self._ier & IER_MSI and self._msr_delta:
            return IIR_MSI
        return IIR_NO_INT

    def _update(self) -> None:
        level = self._iir() != IIR_NO_INT
        if level != self._level:
            self._level = level
            if self._interrupt is not None:
                self._interrupt(level)

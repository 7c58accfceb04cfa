"""A small KVM monitor for riscv64 Linux: one VM, one vCPU, and the conformance agent in it.

One file that needs nothing but Python's standard library, so that it runs where nothing else of vpmu is:
`python3 monitor.py AGENT [DEVICE]` bridges the agent to the device (default: standard input and output).

On the line are the agent's frames (guests/agent.c). The guest exchanges them whole: it stores the address of
its mailbox at DEVICE_BASE, one exit to user space per batch. Requests beside the agent's own:
    'F' + the rest of an 'R': on a fresh machine, without the PMU extension where byte 3 is 1. Its vCPU runs
        on a thread of its own: what the host's kernel leaks (perf events are the thread's) ends with it
    'O': seven zeros, an operation of the host and a value, eight bytes each (HOST_OPERATIONS); the answer is
        that of a batch of one call
    'I': `name: value` lines about the host, also sent unasked when the monitor is ready
An answer 'X' + text says that the machine of this request is lost; 'F' makes a new one.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
import sys
import threading
import zlib

MEMORY_BASE, MEMORY_SIZE = 0x8000_0000, 4 << 20
DEVICE_BASE = 0x1000_0000
KVM_RUN_FAILED = -1000
"""a0 of an ecall that ended KVM_RUN: this minus the errno."""
MAX_FAILURES = 5000
"""KVM_RUN failures in one batch after which the machine is given up: more than a batch has calls."""
MAX_PAYLOAD = 16384

# Linux, include/uapi/linux/kvm.h and arch/riscv/include/uapi/asm/kvm.h.
KVM_API_VERSION = 12
KVM_GET_API_VERSION, KVM_CREATE_VM, KVM_GET_VCPU_MMAP_SIZE = 0xAE00, 0xAE01, 0xAE04
KVM_CREATE_VCPU, KVM_RUN = 0xAE41, 0xAE80
KVM_SET_USER_MEMORY_REGION = 0x4020_AE46
KVM_GET_ONE_REG, KVM_SET_ONE_REG = 0x4010_AEAB, 0x4010_AEAC
KVM_SET_MP_STATE, MP_STATE_RUNNABLE, MP_STATE_STOPPED = 0x4004_AE99, 0, 5
EXIT_MMIO, EXIT_SYSTEM_EVENT, EXIT_RISCV_SBI = 6, 24, 35
RUN_EXIT_REASON, RUN_UNION = 8, 32
SBI_ERR_NOT_SUPPORTED = -2
REG_CORE = 0x8030_0000_0200_0000
"""KVM_REG_RISCV | KVM_REG_SIZE_U64 | KVM_REG_RISCV_CORE."""
REG_SBI_PMU = 0x8030_0000_0800_0006
"""KVM_REG_RISCV_SBI_EXT: whether the extension KVM_RISCV_SBI_EXT_PMU is on."""
REG_SIP = 0x8030_0000_0300_0007
"""KVM_REG_RISCV_CSR: sip."""
PC, A0, A1, A2 = 0, 10, 11, 12
MAILBOX, STARTER, RESET = 0, 8, 16
"""Registers of the device (guests/agent.c, agent_calls.S)."""
U64 = (1 << 64) - 1
PAGE, READONLY = 4096, 2  # KVM_MEM_READONLY


class MachineLost(Exception):
    """The VM cannot go on; the text says why."""


class Kvm:
    """The ioctls of /dev/kvm. Raises OSError."""

    def __init__(self, device: str = "/dev/kvm") -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
        version = self.ioctl(self.fd, KVM_GET_API_VERSION)
        if version != KVM_API_VERSION:
            raise OSError(errno.ENOTSUP, f"KVM API version {version}, not {KVM_API_VERSION}", device)

    def ioctl(self, fd: int, request: int, argument: int = 0) -> int:
        """One ioctl; `argument` is a number or an address."""
        done: int = self._libc.ioctl(fd, ctypes.c_ulong(request), ctypes.c_ulong(argument))
        if done < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return done

    def pack(self, fd: int, request: int, layout: str, *values: int) -> None:
        """An ioctl whose argument is a structure."""
        data = struct.pack(layout, *values)
        buffer = ctypes.create_string_buffer(data, len(data))
        self.ioctl(fd, request, ctypes.addressof(buffer))


class Vcpu:
    """A vCPU: its registers, its page of `struct kvm_run`. Raises OSError."""

    def __init__(self, kvm: Kvm, vm: int, number: int) -> None:
        self._kvm = kvm
        self._fd = kvm.ioctl(vm, KVM_CREATE_VCPU, number)
        self.page = mmap.mmap(self._fd, kvm.ioctl(kvm.fd, KVM_GET_VCPU_MMAP_SIZE))

    def run(self) -> int:
        """KVM_RUN until it returns to user space; why."""
        while True:
            try:
                self._kvm.ioctl(self._fd, KVM_RUN)
            except InterruptedError:
                continue
            (reason,) = struct.unpack_from("<I", self.page, RUN_EXIT_REASON)
            return int(reason)

    def __getitem__(self, register: int) -> int:
        return self.register(REG_CORE | register)

    def register(self, register: int) -> int:
        """KVM_GET_ONE_REG."""
        cell = ctypes.c_uint64()
        self._kvm.pack(self._fd, KVM_GET_ONE_REG, "<QQ", register, ctypes.addressof(cell))
        return cell.value

    def __setitem__(self, register: int, value: int) -> None:
        self.set_register(REG_CORE | register, value)

    def set_register(self, register: int, value: int) -> None:
        """KVM_SET_ONE_REG."""
        cell = ctypes.c_uint64(value & U64)
        self._kvm.pack(self._fd, KVM_SET_ONE_REG, "<QQ", register, ctypes.addressof(cell))

    def set_state(self, state: int) -> None:
        """KVM_SET_MP_STATE."""
        self._kvm.pack(self._fd, KVM_SET_MP_STATE, "<I", state)

    def close(self) -> None:
        """Let go of it; it goes with the VM."""
        self.page.close()
        os.close(self._fd)


class Machine:
    """A VM with MEMORY_SIZE of RAM and a vCPU that starts the agent at MEMORY_BASE. Raises OSError."""

    def __init__(self, kvm: Kvm, agent: bytes, *, pmu: bool = True) -> None:
        self._kvm = kvm
        self.memory = mmap.mmap(-1, MEMORY_SIZE)
        self.memory[: len(agent)] = agent
        self._handle = ctypes.c_char.from_buffer(self.memory)
        self._vm = kvm.ioctl(kvm.fd, KVM_CREATE_VM)
        region = (0, 0, MEMORY_BASE, MEMORY_SIZE, ctypes.addressof(self._handle))
        kvm.pack(self._vm, KVM_SET_USER_MEMORY_REGION, "<IIQQQ", *region)
        self.vcpus = [Vcpu(kvm, self._vm, 0)]
        for register, value in ((PC, MEMORY_BASE), (A0, 0), (A1, 0)):
            self.vcpus[0][register] = value
        if not pmu:
            self.vcpus[0].set_register(REG_SBI_PMU, 0)
        self._starter = 0

    def run_to_mailbox(self) -> int:
        """Run until the guest exchanges messages: the address of its mailbox. Raises MachineLost."""
        vcpu, failures = self.vcpus[0], 0
        while True:
            try:
                reason = vcpu.run()
            except OSError as error:
                # Go on behind the ECALL that ended KVM_RUN, as user space may; the agent passes the errno on.
                failures += 1
                if failures > MAX_FAILURES:
                    raise MachineLost(f"KVM_RUN fails without end: {error.strerror}") from None
                vcpu[PC] = vcpu[PC] + 4
                vcpu[A0] = KVM_RUN_FAILED - (error.errno or 0)
                continue
            store = self._serve(vcpu, reason)
            if store is None:
                continue
            register, value = store
            if register == MAILBOX:
                return value
            if register == STARTER:
                self._starter = value
            elif register == RESET:
                self._reset(value)

    def _serve(self, vcpu: Vcpu, reason: int) -> tuple[int, int] | None:
        """Answer an exit to user space; a store to our device is (register, value)."""
        if reason == EXIT_MMIO:
            # phys_addr, data, len, is_write
            address, data, _, write = struct.unpack_from("<QQIB", vcpu.page, RUN_UNION)
            if write and DEVICE_BASE <= address < DEVICE_BASE + 32:
                return address - DEVICE_BASE, data
            if not write:  # there is nothing: an empty bus reads 0
                struct.pack_into("<Q", vcpu.page, RUN_UNION + 8, 0)
        elif reason == EXIT_RISCV_SBI:
            # extension_id, function_id, args[6], ret[2]: this user space offers nothing
            struct.pack_into("<qQ", vcpu.page, RUN_UNION + 64, SBI_ERR_NOT_SUPPORTED, 0)
        elif reason == EXIT_SYSTEM_EVENT:
            (kind,) = struct.unpack_from("<I", vcpu.page, RUN_UNION)
            raise MachineLost(f"the guest ended with system event {kind}")
        else:
            raise MachineLost(f"KVM exit {reason}")
        return None

    def _reset(self, resume: int) -> None:
        """Reset vCPU 0 as a guest's reset does it: stopped, then started by another one's hart_start."""
        if len(self.vcpus) == 1:
            self.vcpus.append(Vcpu(self._kvm, self._vm, 1))
        first, second = self.vcpus
        second[PC], second[A1], second[A2] = self._starter, resume, first[A1]
        first.set_state(MP_STATE_STOPPED)
        second.set_state(MP_STATE_RUNNABLE)
        while self._serve(second, second.run()) is None:
            pass

    def operate(self, operation: str, value: int) -> int:
        """One of HOST_OPERATIONS, between two runs of the guest. Raises OSError, MachineLost."""
        if operation == "G":
            return self.vcpus[0].register(REG_SIP)
        if operation == "S":
            self.vcpus[0].set_register(REG_SIP, value)
        elif operation == "P":
            self._protect(value)
        elif operation == "M":
            return unreclaimable()
        else:
            raise OSError(errno.EINVAL, f"operation {operation!r}")
        return 0

    def _protect(self, address: int) -> None:
        """The page becomes a slot of its own that the guest, and KVM for it, can only read."""
        offset, start = self._offset(address, PAGE), ctypes.addressof(self._handle)
        end = offset + PAGE
        for slot, flags, at, size in (
            (0, 0, 0, 0), (0, 0, 0, offset), (1, READONLY, offset, PAGE), (2, 0, end, MEMORY_SIZE - end)
        ):  # fmt: skip
            region = (slot, flags, MEMORY_BASE + at, size, start + at)
            self._kvm.pack(self._vm, KVM_SET_USER_MEMORY_REGION, "<IIQQQ", *region)

    def take_answer(self, mailbox: int) -> bytes:
        """The answer that lies in the guest's memory; empty before the first request."""
        address, length = struct.unpack_from("<QQ", self.memory, self._offset(mailbox, 40) + 24)
        at = self._offset(address, length)
        return self.memory[at : at + length]

    def put_request(self, mailbox: int, request: bytes) -> None:
        """Put a request into the guest's memory."""
        box = self._offset(mailbox, 40)
        address, capacity = struct.unpack_from("<QQ", self.memory, box)
        if len(request) > capacity:
            raise MachineLost(f"a request of {len(request)} bytes for a mailbox of {capacity}")
        at = self._offset(address, len(request))
        self.memory[at : at + len(request)] = request
        struct.pack_into("<Q", self.memory, box + 16, len(request))

    def _offset(self, address: int, length: int) -> int:
        offset = address - MEMORY_BASE
        if not 0 <= offset <= MEMORY_SIZE - length:
            raise MachineLost(f"the mailbox points to {address:#x}, where no memory is")
        return offset

    def close(self) -> None:
        """Destroy the VM: it goes when the last of its descriptors and mappings does."""
        for vcpu in self.vcpus:
            vcpu.close()
        os.close(self._vm)
        del self._handle
        self.memory.close()


class Port:
    """Frames over two file descriptors."""

    def __init__(self, source: int, sink: int) -> None:
        self._source, self._sink = source, sink
        self._buffer = b""

    def receive(self) -> tuple[int, bytes] | None:
        """(sequence, payload) of the next frame whose CRC is right; None where the line has ended."""
        while True:
            frame = self._next()
            if frame is not None:
                return frame
            data = os.read(self._source, 65536)
            if not data:
                return None
            self._buffer += data

    def _next(self) -> tuple[int, bytes] | None:
        while True:
            start = self._buffer.find(b"\xa5\x5a")
            if start < 0:
                self._buffer = self._buffer[-1:]
                return None
            self._buffer = self._buffer[start:]
            if len(self._buffer) < 6:
                return None
            sequence, length, check = struct.unpack_from("<BHB", self._buffer, 2)
            if check != header_check(sequence, length) or length > MAX_PAYLOAD:
                self._buffer = self._buffer[2:]
                continue
            end = 6 + length + 4
            if len(self._buffer) < end:
                return None
            payload = self._buffer[6 : 6 + length]
            if int.from_bytes(self._buffer[end - 4 : end], "little") != frame_crc(sequence, payload):
                self._buffer = self._buffer[2:]
                continue
            self._buffer = self._buffer[end:]
            return sequence, payload

    def send(self, sequence: int, payload: bytes) -> None:
        """One frame."""
        head = struct.pack("<BHB", sequence, len(payload), header_check(sequence, len(payload)))
        data = b"\xa5\x5a" + head + payload + frame_crc(sequence, payload).to_bytes(4, "little")
        while data:
            data = data[os.write(self._sink, data) :]


def header_check(sequence: int, length: int) -> int:
    """As in guests/agent.c."""
    return (0x5F ^ sequence * 31 ^ (length & 0xFF) * 7 ^ (length >> 8) * 13) & 0xFF


def frame_crc(sequence: int, payload: bytes) -> int:
    """CRC-32 of sequence, length and payload."""
    return zlib.crc32(payload, zlib.crc32(struct.pack("<BH", sequence, len(payload))))


class Server:
    """Answers requests until the line ends."""

    def __init__(self, port: Port, kvm: Kvm, agent: bytes) -> None:
        self._port, self._kvm, self._agent = port, kvm, agent
        self._pending: tuple[int, bytes] | None = None
        self._last: tuple[int, bytes] | None = None
        """Sequence number and answer of the last request, for one that is repeated."""

    def serve(self) -> None:
        """Each machine's vCPU on a thread of its own."""
        self._port.send(0, host_facts())
        self._pending = self._next()
        while self._pending is not None:
            thread = threading.Thread(target=self._one_machine)
            thread.start()
            thread.join()

    def _next(self) -> tuple[int, bytes] | None:
        """The next request that is for a machine."""
        while (frame := self._port.receive()) is not None:
            sequence, request = frame
            if self._last is not None and sequence == self._last[0] and request[:1] not in (b"H", b"I"):
                self._port.send(*self._last)
            elif request[:1] == b"I":
                self._port.send(sequence, host_facts())
            elif request[:1] in (b"H", b"R", b"F", b"O"):
                return frame
        return None

    def _one_machine(self) -> None:
        """Serve the pending request, and those after it until one needs a fresh machine."""
        machine = None
        try:
            machine = Machine(self._kvm, self._agent, pmu=not self._without_pmu())
            mailbox = machine.run_to_mailbox()
            first = True
            while self._pending is not None and (first or self._pending[1][:1] != b"F"):
                sequence, request = self._pending
                first = False
                if request[:1] == b"O":
                    self._answer(sequence, host_answer(machine, request))
                    self._pending = self._next()
                    continue
                machine.put_request(mailbox, b"R" + request[1:] if request[:1] == b"F" else request)
                mailbox = machine.run_to_mailbox()
                self._answer(sequence, machine.take_answer(mailbox))
                self._pending = self._next()
        except (MachineLost, OSError) as error:
            if self._pending is not None:
                self._answer(self._pending[0], b"X" + str(error).encode())
                self._pending = self._next()
        finally:
            if machine is not None:
                machine.close()

    def _without_pmu(self) -> bool:
        request = self._pending[1] if self._pending is not None else b""
        return request[:1] == b"F" and bool(request[3:4] > b"\0")

    def _answer(self, sequence: int, answer: bytes) -> None:
        self._last = (sequence, answer)
        self._port.send(sequence, answer)


HOST_OPERATIONS = "GSPM"
"""Get sip, set it to the value, make the page at the value read-only, kB of SUnreclaim."""


def host_answer(machine: Machine, request: bytes) -> bytes:
    """The answer to 'O': that of a batch of one call, whose trap is 1 + the errno where it failed."""
    if len(request) != 24:
        raise MachineLost(f"an operation of {len(request)} bytes, not 24")
    operation, value = struct.unpack_from("<QQ", request, 8)
    try:
        numbers = (machine.operate(chr(operation & 0x7F), value), 0, 0)
    except OSError as error:
        numbers = (0, 0, 1 + (error.errno or 0))
    return b"R".ljust(8, b"\0") + struct.pack("<QQQ", *numbers)


def unreclaimable() -> int:
    """SUnreclaim of /proc/meminfo in kB: what the kernel has allocated in small pieces and still holds."""
    with open("/proc/meminfo", encoding="ascii") as stream:  # noqa: PTH123 (pathlib costs start-up)
        for line in stream:
            if line.startswith("SUnreclaim:"):
                return int(line.split()[1])
    raise OSError(errno.ENOENT, "no SUnreclaim in /proc/meminfo")


def host_facts() -> bytes:
    """'I' and what this host is, one `name: value` a line: kernel, ISA, and what its log says of SBI and
    PMU.
    """
    system = os.uname()
    facts = [("kernel", f"{system.sysname} {system.release} {system.version}"), ("machine", system.machine)]
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as stream:  # noqa: PTH123 (pathlib costs start-up)
            facts += [("isa", line.split(":", 1)[1].strip()) for line in stream if line.startswith("isa")][:1]
    except OSError:
        pass
    facts += [("log", line) for line in kernel_log()]
    return b"I" + "\n".join(f"{name}: {value}" for name, value in facts).encode()[: MAX_PAYLOAD - 1]


def kernel_log() -> list[str]:
    """The lines of the kernel's log about SBI, its PMU and KVM; none where this user may not read it."""
    lines = []
    try:
        log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return []
    try:
        while True:
            text = os.read(log, 8192).decode("utf-8", "replace").partition(";")[2].partition("\n")[0]
            if text.startswith(("SBI ", "riscv-pmu", "kvm ")):
                lines.append(text)
    except OSError:  # EAGAIN: that was all of it
        return lines[:40]
    finally:
        os.close(log)


def main(arguments: list[str]) -> int:
    """`AGENT [DEVICE]`; the exit status."""
    if not 1 <= len(arguments) <= 2:
        print("usage: monitor.py AGENT [DEVICE]", file=sys.stderr)
        return 2
    try:
        with open(arguments[0], "rb") as stream:  # noqa: PTH123
            agent = stream.read()
        kvm = Kvm()
        source, sink = 0, 1
        if len(arguments) > 1:
            source = sink = os.open(arguments[1], os.O_RDWR | os.O_NOCTTY)
            if os.isatty(source):
                import tty

                tty.setraw(source)
        Server(Port(source, sink), kvm, agent).serve()
    except OSError as error:
        print(f"monitor: {error.filename or 'line'}: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

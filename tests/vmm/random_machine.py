"""Random programs for whole machines: harts that edit page tables in RAM and fence them in every form, split
and join superpages, write code and call it, drop to user mode, take interrupts, use devices, make SBI calls.

A program keeps the contract of the architecture: an access that could use an entry that was edited comes
after a fence that covers it. So every engine must do the same, whatever it caches. What several harts share
is edited by one of them while the others wait at a barrier, and fenced by RFENCE.

Registers: x1 return address, x5 to x7 of a step, x10 to x17 of calls, x18 to x27 data, x28 to x31 the trap
handler's.
"""

from __future__ import annotations

import random

from vpmu import Machine
from vpmu.spec.csr import Csr
from vpmu.spec.sbi import Eid, PmuFid

from ..hart.assemble import ECALL, SRET, WFI, code, csr, encode
from ..hart.test_engines_agree import COMPARED
from .random_code import (
    ARITHMETIC,
    ATOMICS,
    DATA,
    DATA_SIZE,
    DEVICE,
    FENCE_I,
    FLAGS,
    GIANT,
    GIGA,
    HANDLER,
    LARGE,
    LARGE_PAGES,
    LOADS,
    MEGA,
    MEMORY,
    NOTHING,
    PAGE,
    RAM,
    RETURN,
    SFENCE,
    SHARED,
    SHARED_LEAVES,
    SHARED_MIDDLE,
    SHARED_PAGES,
    SMALL,
    SMALL_PAGES,
    STORES,
    TABLES,
    TABLES_OF_A_HART,
    UART,
    USER,
    USER_CODE,
    WRITTEN_CODE,
    A,
    Code,
    D,
    G,
    R,
    U,
    V,
    W,
    X,
    handler,
    leaf,
    user_code,
)


class Program:
    """The steps of one hart."""

    def __init__(self, rng: random.Random, hart: int, harts: int) -> None:
        self.rng, self.hart, self.harts = rng, hart, harts
        self.code = Code(RAM + 0x10000 * hart)
        self.tables = TABLES + TABLES_OF_A_HART * hart  # root A, root B, then middle and leaves of A and of B
        self.active = 0

    # --- page tables: (root number, virtual address of the leaf) -> address of its entry

    def root(self, which: int) -> int:
        return self.tables + PAGE * which

    def satp(self, which: int) -> int:
        return 8 << 60 | (which + 1) << 44 | self.root(which) >> 12

    def entry(self, which: int, virtual: int) -> int:
        middle, leaves = self.tables + PAGE * (2 + 2 * which), self.tables + PAGE * (3 + 2 * which)
        match virtual >> 30:
            case 64:
                return leaves + 8 * (virtual >> 12 & 511)
            case 65:
                return middle + 8 * (virtual >> 21 & 511)
            case 68:
                if virtual >> 21 & 511:
                    return SHARED_MIDDLE + 8 * (virtual >> 21 & 511)
                return SHARED_LEAVES + 8 * (virtual >> 12 & 511)
        return self.root(which) + 8 * (virtual >> 30 & 511)

    def random_entry(self, virtual: int) -> int:
        rng = self.rng
        flags = rng.choice((R, R | W, R | W, R | W, R | W | X, R | X, X, W, 0)) | V
        flags |= rng.choice((A | D, A | D, A | D, A, 0)) | rng.choice((0, 0, U))
        if rng.random() < 0.08:
            flags &= ~V
        size = self.size(virtual)
        if size > PAGE and not flags & (R | X):  # would be a table
            flags |= R
        if size == GIGA:
            if rng.random() < 0.75:
                return leaf(RAM, flags)
            return leaf(NOTHING, flags & ~X | R)  # nobody can fetch there: KVM_RUN would fail
        if size == MEGA:
            return leaf(rng.choice((RAM, RAM + MEGA, RAM + MEGA, RAM + PAGE)), flags)
        if rng.random() < 0.7 or virtual >> 30 == 68:  # data is not executed
            return leaf(
                DATA + PAGE * rng.randrange(32), flags & ~X | (0 if flags & R else R * bool(flags & X))
            )
        return leaf(WRITTEN_CODE + PAGE * self.hart, flags & ~W)

    @staticmethod
    def size(virtual: int) -> int:
        area = virtual >> 30
        if area == 66:
            return GIGA
        return MEGA if area == 65 or (area == 68 and virtual >> 21 & 511) else PAGE

    def random_leaf(self) -> int:
        rng = self.rng
        small = SMALL + PAGE * rng.randrange(SMALL_PAGES)
        return rng.choice((small, LARGE + MEGA * rng.randrange(LARGE_PAGES), GIANT))

    def random_address(self, virtual: int | None = None, *, aligned: int = 1) -> int:
        """Inside a window, where whatever its leaf points to is data."""
        rng = self.rng
        virtual = self.random_leaf() if virtual is None else virtual
        shared = virtual >> 30 == SHARED >> 30
        if self.size(virtual) == PAGE:
            offset = rng.choice(
                (rng.randrange(PAGE - 8), rng.randrange(PAGE - 8), PAGE - rng.randrange(1, 8))
            )
            if virtual & 0xFFFFF == PAGE * (SMALL_PAGES - 1) or shared:
                offset = min(offset, PAGE - 8)
        else:
            offset = 0x80000 + rng.randrange(DATA_SIZE - 8)
        if virtual == GIANT:
            aligned = 8
        return virtual + (offset & -aligned)

    # --- steps

    def access(self, address: int | None = None) -> None:
        rng, code = self.rng, self.code
        name = rng.choice((rng.choice(LOADS), rng.choice(STORES), rng.choice(ATOMICS), "ld", "sd"))
        atomic = name in ATOMICS and rng.random() < 0.9
        if address is None:
            address = self.random_address(aligned=8 if atomic else 1)
        code.constant(5, address & -8 if atomic else address)
        data = rng.randrange(18, 28)
        if name in STORES:
            code.add(encode(name, rs1=5, rs2=data))
        else:
            code.add(encode(name, rd=data, rs1=5, rs2=0 if name[:2] == "lr" else data))
        if name[:2] == "lr" and rng.random() < 0.7:
            code.add(encode("sc" + name[2:], rd=rng.randrange(18, 28), rs1=5, rs2=data))

    def fence(self, which: int, virtual: int) -> None:
        """One that covers a leaf that has been edited."""
        rng, code = self.rng, self.code
        inside = virtual + rng.randrange(self.size(virtual))
        match rng.randrange(6):
            case 0:
                code.add(SFENCE)
            case 1 | 2:
                code.constant(6, inside)
                code.add(SFENCE | 6 << 15)
            case 3:
                code.constant(6, inside)
                code.constant(7, which + 1)
                code.add(SFENCE | 6 << 15 | 7 << 20)
            case 4:
                code.constant(7, which + 1)
                code.add(SFENCE | 7 << 20)
            case 5:
                self.remote_fence(1 << self.hart, virtual, asid=rng.choice((None, which + 1)))

    def remote_fence(self, mask: int, virtual: int, asid: int | None) -> None:
        size = self.size(virtual)
        start, length = self.rng.choice(((virtual, size), (virtual, size), (0, 0), (virtual, (1 << 64) - 1)))
        if asid is None:
            self.code.call(Eid.RFENCE, 1, mask, 0, start, length)
        else:
            self.code.call(Eid.RFENCE, 2, mask, 0, start, length, asid)

    def edit(self) -> None:
        """Exchange a leaf, fence it; what has been accessed in it before is accessed again."""
        which = self.active if self.rng.random() < 0.8 else 1 - self.active
        virtual = self.random_leaf()
        if virtual == LARGE:  # may be a table: see split_or_join
            virtual += MEGA
        touched = [self.random_address(virtual) for _ in range(self.rng.randrange(4))]
        for address in touched:
            self.access(address)
        self.code.constant(5, self.entry(which, virtual))
        self.code.constant(6, self.random_entry(virtual))
        self.code.add(encode("sd", rs1=5, rs2=6))
        self.fence(which, virtual)
        for address in touched:
            self.access(address)

    def split_or_join(self) -> None:
        """The entry of 2 MiB becomes a table, or a leaf again: not of one leaf, so all is fenced."""
        which, virtual = self.active, LARGE
        table = self.tables + PAGE * (3 + 2 * which)
        value = self.rng.choice((leaf(table, V), self.random_entry(virtual)))
        self.code.constant(5, self.entry(which, virtual))
        self.code.constant(6, value)
        self.code.add(encode("sd", rs1=5, rs2=6), SFENCE)

    def switch(self) -> None:
        self.active = 1 - self.active
        self.code.constant(5, self.satp(self.active))
        self.code.add(csr("csrrw", 0, Csr.SATP, 5))

    def write_code(self) -> None:
        rng, code = self.rng, self.code
        page = WRITTEN_CODE + PAGE * self.hart
        offset = 4 * rng.randrange(1000)
        word = rng.choice((encode("addi", rd=18, rs1=18, imm=rng.randrange(-99, 99)), RETURN,
                           encode("xor", rd=19, rs1=19, rs2=18), encode("ld", rd=20, rs1=2)))  # fmt: skip
        code.constant(5, page + offset)
        code.constant(6, word)
        code.add(encode("sw", rs1=5, rs2=6), FENCE_I)
        self.call(page + 4 * rng.randrange(max(offset // 4 - 3, 0), offset // 4 + 1))

    def call(self, address: int) -> None:
        self.code.constant(5, address)
        self.code.add(encode("jalr", rd=1, rs1=5))

    def call_window(self) -> None:
        offset = WRITTEN_CODE - RAM + PAGE * self.hart + 4 * self.rng.randrange(1000)
        virtual = self.random_leaf()
        self.call(virtual + (offset if self.size(virtual) != PAGE else offset & 0xFFF))

    def user(self) -> None:
        """To user mode and back by its ECALL."""
        code, rng = self.code, self.rng
        code.constant(5, USER + 64 * rng.randrange(64))
        code.constant(6, 1 << 8)
        code.constant(7, self.random_address())
        code.add(csr("csrrw", 0, Csr.SEPC, 5), csr("csrrc", 0, Csr.SSTATUS, 6))
        code.add(encode("auipc", rd=1), encode("addi", rd=1, rs1=1, imm=12), SRET)

    def csrs(self) -> None:
        rng, code = self.rng, self.code
        match rng.randrange(4):
            case 0:
                code.add(
                    csr(
                        "csrrs",
                        rng.randrange(18, 28),
                        rng.choice((0xC00, 0xC02, 0xC03, 0xC05, 0xC01, 0x100, 0x140)),
                    )
                )
            case 1:
                code.constant(5, rng.choice((1 << 18, 1 << 19, 1 << 18 | 1 << 19, 1 << 1)))
                code.add(
                    csr(rng.choice(("csrrs", "csrrc")), 0, Csr.SSTATUS, 5), csr("csrrsi", 0, Csr.SSTATUS, 2)
                )
            case 2:
                code.add(csr("csrrw", rng.randrange(18, 28), Csr.SSCRATCH, rng.randrange(18, 28)))
            case 3:
                code.constant(5, 1 << 1 | 1 << 5 | 1 << 9 | 1 << 13)
                code.add(csr("csrrs", 0, Csr.SIE, 5))

    def sbi(self) -> None:
        rng, code = self.rng, self.code
        counters = rng.choice((1, 4, 8, 0x18, 0xFF))
        near = rng.choice((0, (1 << 64) - rng.randrange(1, 300), (1 << 63) - 5))
        calls: list[tuple[int, ...]] = [
            (Eid.BASE, rng.randrange(8), Eid.PMU), (Eid.HSM, 2, rng.randrange(6)),
            (Eid.IPI, 0, 1 << rng.randrange(self.harts), 0), (rng.getrandbits(24), 0),
            (Eid.DBCN, 0, rng.randrange(64), DATA + rng.randrange(PAGE), 0),
            (Eid.DBCN, 2, 65 + rng.randrange(26)),
            (Eid.PMU, PmuFid.COUNTER_CONFIG_MATCHING, 0, counters, rng.choice((0, 2, 6, 8)),
             rng.choice((1, 2, 5, 0x10009)), 0),
            (Eid.PMU, PmuFid.COUNTER_START, 0, counters, rng.randrange(2), near),
            (Eid.PMU, PmuFid.COUNTER_STOP, 0, counters, rng.randrange(2)),
            (Eid.PMU, PmuFid.COUNTER_FW_READ, rng.randrange(64)), (Eid.RFENCE, 0, (1 << self.harts) - 1, 0),
        ]  # fmt: skip
        code.call(*rng.choice(calls))

    def wait(self) -> None:
        """A timer soon, and sometimes a wait for it."""
        code, rng = self.code, self.rng
        waits = rng.random() < 0.3
        if waits:  # or else the interrupt comes before the wait
            code.add(csr("csrrci", 0, Csr.SSTATUS, 2))
        code.add(csr("csrrs", 18, Csr.TIME))
        code.constant(17, Eid.TIME)
        code.add(encode("addi", rd=16), encode("addi", rd=10, rs1=18, imm=rng.randrange(6)), ECALL)
        if waits:
            code.constant(5, 1 << 5)
            code.add(csr("csrrs", 0, Csr.SIE, 5), WFI, csr("csrrsi", 0, Csr.SSTATUS, 2))

    def device(self) -> None:
        code, rng = self.code, self.rng
        code.constant(5, rng.choice((UART, DEVICE, UART)) + rng.choice((0, 0, 1, 3, 5, 7)))
        code.add(rng.choice((encode("sb", rs1=5, rs2=rng.randrange(18, 28)), encode("lbu", rd=20, rs1=5))))

    def compute(self) -> None:
        rng = self.rng
        for _ in range(rng.randrange(1, 5)):
            a, b, c = (rng.randrange(18, 28) for _ in range(3))
            self.code.add(encode(rng.choice(ARITHMETIC), rd=a, rs1=b, rs2=c))

    def barrier(self, number: int) -> None:
        code = self.code
        code.constant(5, FLAGS + 8 * number)
        code.add(
            encode("addi", rd=6, imm=1),
            encode("amoadd.d", rd=7, rs1=5, rs2=6),
            encode("addi", rd=6, imm=self.harts),
        )
        code.add(encode("ld", rd=7, rs1=5), encode("blt", rs1=7, rs2=6, imm=-4))

    def shared_edit(self, number: int) -> None:
        """One hart edits a leaf that all see, between two barriers; all access it before and after."""
        common = random.Random(number)  # the same on every hart
        virtual = SHARED + common.choice((PAGE * common.randrange(SHARED_PAGES), MEGA, 2 * MEGA))
        touched = [self.random_address(virtual) for _ in range(3)]
        for address in touched:
            self.access(address)
        self.barrier(2 * number)
        if number % self.harts == self.hart:
            self.code.constant(5, self.entry(0, virtual))
            self.code.constant(6, self.random_entry(virtual))
            self.code.add(encode("sd", rs1=5, rs2=6))
            self.remote_fence((1 << self.harts) - 1, virtual, None)
        self.barrier(2 * number + 1)
        for address in touched:
            self.access(address)

    def begin(self) -> None:
        code = self.code
        for register, value in ((5, HANDLER), (6, self.satp(0)), (7, 3 << 13 | 1 << 18)):
            code.constant(register, value)
        code.constant(2, DATA)
        code.add(
            csr("csrrw", 0, Csr.STVEC, 5),
            csr("csrrw", 0, Csr.SATP, 6),
            SFENCE,
            csr("csrrs", 0, Csr.SSTATUS, 7),
        )
        code.constant(5, 1 << 1 | 1 << 5 | 1 << 13)
        code.add(csr("csrrs", 0, Csr.SIE, 5), csr("csrrsi", 0, Csr.SSTATUS, 2))
        for register in range(18, 28):
            code.constant(register, self.rng.choice((self.rng.getrandbits(64), self.rng.getrandbits(8))))
        if self.hart == 0:
            for other in range(1, self.harts):
                code.call(Eid.HSM, 0, other, RAM + 0x10000 * other, 0)

    def write(self, steps: int, edits: int) -> bytes:
        """The whole program."""
        kinds = [self.access] * 10 + [self.edit] * 8 + [self.compute] * 3 + [self.write_code] * 2
        kinds += [self.call_window, self.user, self.csrs, self.sbi, self.wait, self.switch, self.device] * 2
        kinds += [self.split_or_join]
        self.begin()
        for number in range(edits):
            for _ in range(steps):
                self.rng.choice(kinds)()
            self.shared_edit(number)
        if self.hart == 0:
            self.code.call(Eid.SRST, 0, 0, 0)
        self.code.add(encode("jal", rd=0))
        image = self.code.image()
        assert len(image) <= 0x10000, len(image)
        return image

    def page_tables(self) -> dict[int, int]:
        """Entries by address."""
        found = {}
        for which in (0, 1):
            root, middle, leaves = (
                self.root(which),
                self.tables + PAGE * (2 + 2 * which),
                self.tables + PAGE * (3 + 2 * which),
            )
            identity = self.tables + PAGE * 6
            found[root + 8 * (RAM >> 30)] = leaf(identity, V)
            for part in (0, 1):
                found[identity + 8 * part] = leaf(RAM + MEGA * part, V | R | W | X | A | D | G)
            found[root + 8 * (UART >> 30)] = leaf(0, V | R | W | A | D)
            found[root + 8 * (SMALL >> 30)] = leaf(middle, V)
            found[middle] = leaf(leaves, V)
            found[root + 8 * (LARGE >> 30)] = leaf(middle, V)
            found[root + 8 * (SHARED >> 30)] = leaf(SHARED_MIDDLE, V)
            found[SHARED_MIDDLE] = leaf(SHARED_LEAVES, V)
            found[root + 8 * (USER >> 30)] = leaf(self.tables + PAGE * 7, V)
            found[self.tables + PAGE * 7] = leaf(self.tables + PAGE * 7, V)  # middle and leaves in one
            found[self.tables + PAGE * 7 + 8] = leaf(USER_CODE, V | R | X | U | A)
            found[root + 8 * (DEVICE >> 30)] = leaf(0, V | R | W | A | D)
            for page in range(SMALL_PAGES):
                found[self.entry(which, SMALL + PAGE * page)] = self.random_entry(SMALL)
            for page in range(LARGE_PAGES):
                found[self.entry(which, LARGE + MEGA * page)] = self.random_entry(LARGE)
            for page in range(DATA_SIZE // PAGE):  # seen where LARGE is split
                found[leaves + 8 * (0x80000 // PAGE + page)] = leaf(DATA + PAGE * page, V | R | W | A | D)
            found[self.entry(which, GIANT)] = leaf(RAM, V | R | W | A | D)
        return found


def machine(seed: int, harts: int, **options: object) -> Machine:
    """A machine with the program of a seed; the same whatever the engine."""
    rng = random.Random(seed)
    made = Machine(memory=MEMORY, harts=harts, host_pmu="full", plic=True, **options)  # type: ignore[arg-type]
    memory = made.memory
    memory.write(HANDLER, code(handler()))
    memory.write(USER_CODE, code(user_code(rng)))
    memory.write(DATA, rng.randbytes(DATA_SIZE))
    memory.write(DATA + MEGA, rng.randbytes(DATA_SIZE))
    for half in (0, MEGA):
        memory.write(WRITTEN_CODE + half, code([RETURN] * (4 * PAGE // 4)))
    for hart in range(harts):
        program = Program(rng, hart, harts)
        memory.write(program.code.base, program.write(steps=24, edits=12))
        for address, value in program.page_tables().items():
            memory.write(address, value.to_bytes(8, "little"))
    made.vcpu(0).pc = RAM
    return made


def picture(machine: Machine) -> dict[str, object]:
    """Everything of a machine that its guest can see."""
    found: dict[str, object] = {}
    for vcpu in machine.vcpus:
        hart = vcpu.hart
        found |= {f"{name} of hart {vcpu.id}": hart.get(name) for name in COMPARED}
        found |= {f"x{i} of hart {vcpu.id}": hart.x(i) for i in range(32)}
    found["memory"] = machine.memory.read(RAM, MEMORY)
    return found


def differences(one: dict[str, object], other: dict[str, object]) -> dict[str, object]:
    """What two pictures do not share, with the first byte of memory."""
    wrong = {key: (one[key], other[key]) for key in one if one[key] != other[key] and key != "memory"}
    if one["memory"] != other["memory"]:
        left, right = one["memory"], other["memory"]
        assert isinstance(left, bytes)
        assert isinstance(right, bytes)
        at = next(i for i, (a, b) in enumerate(zip(left, right, strict=True)) if a != b)
        wrong["memory"] = hex(RAM + at), left[at : at + 8], right[at : at + 8]
    return wrong

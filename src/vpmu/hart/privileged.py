"""Address translation, memory access, traps, CSRs and atomics of a hart, written in the semantics language.

This module is data: its functions are never called as they stand. `native.py` compiles them to machine code
and `reference.py` to masked plain Python (see `semantics.py` for the rules). Every value is an unsigned
64-bit number.

Conventions. On entry of an instruction's function `s.pc` is its address, `s.n` the instructions left
*including it*, and `s.length` its size. It answers CONTINUE (retire it, go on behind it), RESUME (`s.pc`
and `s.n` are final, go on there) or EXIT (return to Python, `s.exit` says why). Helpers that can fault set
`s.fault` to 0, RESUME or EXIT.
"""
# ruff: noqa: F821 - names of constants, words and intrinsics are bound when the module is compiled
# mypy: ignore-errors

# ---------------------------------------------------------------- traps and interrupts (privileged ISA, 12.1)

from __future__ import annotations


def update_context():
    """Choose the translation context: VU, VS, or VS with SUM."""
    if s.mode == VU:
        s.ctx = s.contexts
    elif s.sstatus & SSTATUS_SUM:
        s.ctx = s.contexts + 2 * CONTEXT_SIZE
    else:
        s.ctx = s.contexts + CONTEXT_SIZE
    return 0


def fold_counts():
    """Credit the instructions since the last fold to the mode that retired them."""
    if s.mode == VU:
        s.count_vu += s.n_fold - s.n
    else:
        s.count_vs += s.n_fold - s.n
    s.n_fold = s.n
    return 0


def begin_run(budget):
    """Grant `budget` instructions. Answers EXIT where the hart stops before the first of them."""
    s.n = budget
    s.n_fold = budget
    s.n_start = budget
    s.trap_n = NEVER
    s.exit = 0
    synchronise()
    update_context()
    return check_interrupts()


def end_run():
    """Credit what was retired to the counts and the clock; the reason of the stop. `s.n` are left."""
    fold_counts()
    s.time_ns += s.n_start - s.n
    s.n_start = s.n
    return s.exit


def set_mode(mode):
    fold_counts()
    s.mode = mode
    return update_context()


def enter_trap(cause, value):
    """Take a trap to the guest's own handler; cause has bit 63 set for an interrupt."""
    if s.n == s.trap_n:  # nothing retired since the last trap: a guest whose handler itself faults
        s.trap_fuel -= 1
        if s.trap_fuel == 0:
            s.exit = STOP_TRAP_STORM
            return EXIT
    else:
        s.trap_n = s.n
        s.trap_fuel = TRAP_FUEL
    if s.mode == VU:
        s.traps_vu += 1
    else:
        s.traps_vs += 1
    s.sepc = s.pc
    s.scause = cause
    s.stval = value
    status = s.sstatus & ~(SSTATUS_SIE | SSTATUS_SPIE | SSTATUS_SPP)
    if s.sstatus & SSTATUS_SIE:
        status = status | SSTATUS_SPIE
    if s.mode == VS:
        status = status | SSTATUS_SPP
    s.sstatus = status
    set_mode(VS)
    s.pc = s.stvec & ~3
    if s.stvec & 1 and cause >> 63:
        s.pc = s.pc + ((cause & 63) << 2)
    return RESUME


def raise_exception(cause, value):
    """An exception at `s.pc`: to the guest if KVM delegates it (hedeleg), else out to KVM."""
    if (s.hedeleg >> cause) & 1:
        return enter_trap(cause, value)
    s.exit = STOP_EXCEPTION
    s.exit_a = cause
    s.exit_b = value
    return EXIT


def check_interrupts():
    """Take the pending interrupt of highest priority, if one is enabled."""
    pending = s.sip & s.sie
    if pending == 0:
        return RESUME
    if s.mode == VS and (s.sstatus & SSTATUS_SIE) == 0:
        return RESUME
    if pending & (1 << IRQ_EXTERNAL):
        return enter_trap((1 << 63) | IRQ_EXTERNAL, 0)
    if pending & (1 << IRQ_SOFTWARE):
        return enter_trap((1 << 63) | IRQ_SOFTWARE, 0)
    if pending & (1 << IRQ_TIMER):
        return enter_trap((1 << 63) | IRQ_TIMER, 0)
    return enter_trap((1 << 63) | IRQ_LCOFI, 0)


def illegal_instruction(rd, rs1, rs2, imm, size):
    """An unknown encoding: out to KVM, which counts it and sends it back (facts 3.10)."""
    s.n -= s.traps_retire
    s.exit = STOP_ILLEGAL
    return EXIT


def leave_illegal():
    s.exit = STOP_ILLEGAL
    return EXIT


def leave_virtual():
    s.exit = STOP_VIRTUAL
    return EXIT


# ---------------------------------------------------------------- translation (privileged ISA, 12.3 to 12.5)


def find_region(address):
    """Address of the region entry that holds a guest physical address, or 0."""
    region = s.shared + REGIONS
    end = region + m.region_count * REGION_BYTES
    while region < end:
        if address - load64(region) < load64(region + 8):
            return region
        region += REGION_BYTES
    return 0


def page_fault(address, access):
    """Page fault of an access (0 load, 1 store, 2 fetch) at a virtual address."""
    if access == LOAD:
        s.fault = raise_exception(CAUSE_LOAD_PAGE_FAULT, address)
        t.dtlb_read_miss += 1
    elif access == STORE:
        s.fault = raise_exception(CAUSE_STORE_PAGE_FAULT, address)
        t.dtlb_write_miss += 1
    else:
        s.fault = raise_exception(CAUSE_FETCH_PAGE_FAULT, address)
        t.itlb_miss += 1
    return 0


def translate(address, access):
    """Guest physical address of a virtual one; on a fault `s.fault` is set. An entry whose accessed or dirty
    bit is missing faults, or gets it where `s.adue` is not 0 (Svade and Svadu, 12.3.1).
    """
    s.fault = 0
    if s.satp >> 60 == 0:
        return address
    level = (s.satp >> 60) - 5  # 8 is Sv39: three levels; 9 is Sv48: four
    top = sar(address, 9 * level + 11)
    if top != 0 and ~top != 0:
        return page_fault(address, access)
    table = (s.satp & SATP_PPN) << 12
    while level != 0:
        level -= 1
        pointer = table + (((address >> (12 + 9 * level)) & 511) << 3)
        region = find_region(pointer)
        if region == 0:
            return page_fault(address, access)
        entry = load64(load64(region + 16) + pointer - load64(region))
        if (entry & PTE_V) == 0 or (entry & (PTE_R | PTE_W)) == PTE_W or entry >> 54 != 0:
            return page_fault(address, access)
        if entry & (PTE_R | PTE_X):
            return translate_leaf(address, access, entry, level, pointer)
        if entry & (PTE_U | PTE_A | PTE_D):
            return page_fault(address, access)
        table = (entry >> 10) << 12
    return page_fault(address, access)


def translate_leaf(address, access, entry, level, pointer):
    """Permission checks of the leaf entry at guest physical `pointer`, and the physical address."""
    readable = entry & PTE_R
    if s.sstatus & SSTATUS_MXR:
        readable = entry & (PTE_R | PTE_X)
    if access == LOAD and readable == 0:
        return page_fault(address, access)
    if access == STORE and (entry & PTE_W) == 0:
        return page_fault(address, access)
    if access == FETCH and (entry & PTE_X) == 0:
        return page_fault(address, access)
    if entry & PTE_U:
        if s.mode == VS and (access == FETCH or (s.sstatus & SSTATUS_SUM) == 0):
            return page_fault(address, access)
    elif s.mode == VU:
        return page_fault(address, access)
    span = (1 << (12 + 9 * level)) - 1
    base = (entry >> 10) << 12
    if base & span:
        return page_fault(address, access)
    missing = PTE_A
    if access == STORE:
        missing = PTE_A | PTE_D
    missing = missing & ~entry
    if missing:
        if s.adue == 0:
            return page_fault(address, access)
        if update_entry(pointer, entry | missing) == 0:
            return page_fault(address, access)
    return base | (address & span)


def update_entry(pointer, entry):
    """Write a page-table entry back with its accessed and dirty bits; 0 where the memory is read-only."""
    region = find_region(pointer)
    if load64(region + 32) & REGION_READONLY:
        return 0
    offset = pointer - load64(region)
    page = load64(region + 24) + (offset >> 12)
    store8(m.page_flags + page, PAGE_TOUCHED | PAGE_DIRTY)
    store64(load64(region + 16) + offset, entry)
    decoded = load64(m.code_map + 8 * page)
    if decoded:
        code_written(decoded, page, pointer & 4095, 8)
    return 1


def flush_all():
    """Forget every cached and modelled translation of this hart."""
    context = s.contexts
    end = context + 3 * CONTEXT_SIZE
    while context < end:
        fill(
            context, 255, MODEL_L1D
        )  # no tag is all-ones: the byte fills the engine's three caches and the modelled TLBs
        context += CONTEXT_SIZE
    return 0


def flush_page(address):
    """Forget one page in every context."""
    context = s.contexts
    end = context + 3 * CONTEXT_SIZE
    while context < end:
        entry = context + ((address >> 8) & 4080)
        store64(entry + TLB_READ, INVALID)
        store64(entry + TLB_WRITE, INVALID)
        store64(entry + TLB_FETCH, INVALID)
        entry = context + ((address >> 9) & 2040)
        store64(entry + MODEL_DTLB_READ, INVALID)
        store64(entry + MODEL_DTLB_WRITE, INVALID)
        store64(entry + MODEL_ITLB, INVALID)
        context += CONTEXT_SIZE
    return 0


def flush_cache(offset):
    """Forget one kind of cached translation (TLB_READ, TLB_WRITE, TLB_FETCH) in every context."""
    context = s.contexts + offset
    end = context + 3 * CONTEXT_SIZE
    while context < end:
        fill(context, 255, 4096)
        context += CONTEXT_SIZE
    return 0


# ---------------------------------------------------------------- loads and stores that missed the cache


def load_sized(host, size):
    if size == 8:
        return load64(host)
    if size == 4:
        return load32(host)
    if size == 2:
        return load16(host)
    return load8(host)


def store_sized(host, size, value):
    if size == 8:
        return store64(host, value)
    if size == 4:
        return store32(host, value)
    if size == 2:
        return store16(host, value)
    return store8(host, value)


def slow_load(address, size):
    """A load of `size` bytes, zero-extended; fills the read cache. Faults and MMIO set `s.fault`."""
    if (address & 4095) + size > 4096:
        return load_across(address, size)
    physical = translate(address, LOAD)
    if s.fault:
        return 0
    region = find_region(physical)
    if region == 0:
        return leave_mmio(STOP_MMIO_LOAD, physical, size, address)
    offset = physical - load64(region)
    host = load64(region + 16) + offset
    flags = m.page_flags + load64(region + 24) + (offset >> 12)
    if load8(flags) == 0:  # the first touch of a page faults once more, in the G-stage
        store8(flags, PAGE_TOUCHED)
        t.dtlb_read_miss += 1
    entry = s.ctx + TLB_READ + ((address >> 8) & 4080)
    store64(entry, address & ~4095)
    store64(entry + 8, host - address)
    return load_sized(host, size)


def load_across(address, size):
    """A load that crosses a page, byte by byte."""
    value = 0
    i = 0
    while i < size:
        byte = slow_load(address + i, 1)
        if s.fault:
            return 0
        value = value | (byte << (8 * i))
        i += 1
    return value


def leave_mmio(stop, physical, size, address):
    """A G-stage fault where no memory is: KVM makes it an MMIO exit."""
    if stop == STOP_MMIO_LOAD:
        t.dtlb_read_miss += 1
    else:
        t.dtlb_write_miss += 1
    s.fault = EXIT
    s.exit = stop
    s.exit_a = physical
    s.exit_b = size
    s.exit_c = address
    return 0


def write_pointer(address, size):
    """Host address for a write of `size` bytes inside one page; fills the write cache. 0 when `s.fault` is
    set.
    """
    physical = translate(address, STORE)
    if s.fault:
        return 0
    region = find_region(physical)
    if region == 0:
        return leave_mmio(STOP_MMIO_STORE, physical, size, address)
    if load64(region + 32) & REGION_READONLY:
        return leave_mmio(STOP_MMIO_STORE, physical, size, address)
    offset = physical - load64(region)
    page = load64(region + 24) + (offset >> 12)
    flags = m.page_flags + page
    if load8(flags) == 0:
        t.dtlb_write_miss += 1
    store8(flags, PAGE_TOUCHED | PAGE_DIRTY)
    host = load64(region + 16) + offset
    decoded = load64(m.code_map + 8 * page)
    if decoded:
        code_written(decoded, page, address & 4095, size)
        return host
    entry = s.ctx + TLB_WRITE + ((address >> 8) & 4080)
    store64(entry, address & ~4095)
    store64(entry + 8, host - address)
    return host


def slow_store(address, size, value):
    """A store of the low `size` bytes of `value`. Faults and MMIO set `s.fault`."""
    if (address & 4095) + size > 4096:
        return store_across(address, size, value)
    host = write_pointer(address, size)
    if s.fault:
        return 0
    return store_sized(host, size, value)


def store_across(address, size, value):
    """A store that crosses a page: both pages are checked before a byte is written."""
    translate(address, STORE)
    if s.fault:
        return 0
    translate((address + size - 1) & ~4095, STORE)
    if s.fault:
        return 0
    i = 0
    while i < size:
        host = write_pointer(address + i, 1)
        if s.fault:
            return 0
        store8(host, value >> (8 * i))
        i += 1
    return 0


# ---------------------------------------------------------------- decoded pages (native engine)


def code_written(decoded, page, offset, size):
    """A store hits a page with decoded code: forget the records that cover it. Pages that are mostly data
    are given up.
    """
    first = offset & ~1
    if first >= 2:
        first -= 2
    last = offset + size
    if load64(decoded + DECODED_COMPILED):  # a region may hold any instruction of the page
        fill(decoded, 0, 8 * 2048)
        store64(decoded + DECODED_COMPILED, 0)
    while first < last:
        store64(decoded + first * 4, 0)
        first += 2
    stores = load64(decoded + DECODED_STORES) + 1
    store64(decoded + DECODED_STORES, stores)
    if stores == DECODED_STORES_MAX and decoded != s.dbase:
        store64(m.code_map + 8 * page, 0)
        flush_cache(TLB_FETCH)
        m.epoch += 1
        s.epoch = m.epoch
    return 0


def new_decoded_page(page, host):
    """An empty decoded page for a page of memory; stores to it leave the write caches from now on."""
    decoded = m.code_next
    if decoded + DECODED_SIZE > m.code_end:  # the pool is full: start again
        fill(m.code_map, 0, 8 * m.page_count)
        flush_cache(TLB_FETCH)
        decoded = m.code_pool
    m.code_next = decoded + DECODED_STRIDE
    fill(decoded, 0, DECODED_SIZE)
    store64(decoded + 8 * 2048, RECORD_PAGE_END)
    store64(decoded + 8 * 2049, RECORD_PAGE_END)
    store64(decoded + DECODED_HOST, host)
    store64(m.code_map + 8 * page, decoded)
    flush_cache(TLB_WRITE)
    m.epoch += 1
    s.epoch = m.epoch
    return decoded


def fetch_page(address):
    """The decoded page for an instruction address; fills the fetch cache. 0 when `s.fault` is set."""
    physical = translate(address, FETCH)
    if s.fault:
        return 0
    region = find_region(physical)
    if region == 0:
        s.fault = EXIT
        s.exit = STOP_FETCH_HOLE
        s.exit_a = physical
        return 0
    offset = physical - load64(region)
    page = load64(region + 24) + (offset >> 12)
    flags = m.page_flags + page
    if load8(flags) == 0:
        store8(flags, PAGE_TOUCHED)
        t.itlb_miss += 1
    decoded = load64(m.code_map + 8 * page)
    if decoded == 0:
        decoded = new_decoded_page(page, load64(region + 16) + (offset & ~4095))
    store64(decoded + DECODED_STORES, 0)
    entry = s.ctx + TLB_FETCH + ((address >> 8) & 4080)
    store64(entry, address & ~4095)
    store64(entry + 8, decoded)
    return decoded


def fetch_half(address):
    """The 16 bits of instruction memory at an address; `s.fault` on failure."""
    physical = translate(address, FETCH)
    if s.fault:
        return 0
    region = find_region(physical)
    if region == 0:
        s.fault = EXIT
        s.exit = STOP_FETCH_HOLE
        s.exit_a = physical
        return 0
    return load16(load64(region + 16) + physical - load64(region))


def synchronise():
    """Before a run: another hart may have decoded or given up pages since this one ran."""
    if s.epoch != m.epoch:
        flush_cache(TLB_WRITE)
        flush_cache(TLB_FETCH)
        s.epoch = m.epoch
    return 0


# ---------------------------------------------------------------- atomics


def amo_pointer(address, size):
    """Host address of an atomic's operand, checked for alignment and writing."""
    if address & (size - 1):
        s.fault = raise_exception(CAUSE_STORE_MISALIGNED, address)
        return 0
    host = write_pointer(address, size)
    if s.fault == EXIT and s.exit == STOP_MMIO_STORE:  # there are no atomics on devices
        s.fault = raise_exception(CAUSE_STORE_ACCESS, address)
    return host


def load_reserved(rd, rs1, rs2, imm, size):
    address = s.x[rs1]
    if address & (size - 1):
        return raise_exception(CAUSE_LOAD_MISALIGNED, address)
    entry = s.ctx + TLB_READ + ((address >> 8) & 4080)
    if load64(entry) == address & ~4095:
        value = load_sized(load64(entry + 8) + address, size)
    else:
        value = slow_load(address, size)
        if s.fault:
            if s.fault == EXIT and s.exit == STOP_MMIO_LOAD:
                return raise_exception(CAUSE_LOAD_ACCESS, address)
            return s.fault
    s.reservation = address
    s.reserved_value = value
    s.x[rd] = value if size == 8 else sext32(value)
    return CONTINUE


def store_conditional(rd, rs1, rs2, imm, size):
    """Succeeds when the reservation stands and the memory still holds what LR read."""
    address = s.x[rs1]
    if address & (size - 1):
        return raise_exception(CAUSE_STORE_MISALIGNED, address)
    value = s.x[rs2]
    result = 1
    if s.reservation == address:
        entry = s.ctx + TLB_WRITE + ((address >> 8) & 4080)
        if load64(entry) == address & ~4095:
            host = load64(entry + 8) + address
        else:
            host = amo_pointer(address, size)
            if s.fault:
                return s.fault
        if load_sized(host, size) == s.reserved_value:
            store_sized(host, size, value)
            result = 0
    s.reservation = NO_RESERVATION
    s.x[rd] = result
    return CONTINUE


# ---------------------------------------------------------------- CSRs (privileged ISA, 12.1; facts 1.14)


def now():
    """The `time` CSR: one instruction is one nanosecond, one tick is TICK_NS of them."""
    return udiv(s.time_ns + s.n_start - s.n, TICK_NS)


def status():
    if s.sstatus & SSTATUS_FS == SSTATUS_FS:
        return s.sstatus | SSTATUS_UXL | SSTATUS_SD
    return s.sstatus | SSTATUS_UXL


def csr_read(csr):
    """The value of a CSR that needs no help from KVM; `s.fault` is EXIT when it does."""
    s.fault = 0
    if csr == CSR_SSTATUS:
        return status()
    if csr == CSR_SSCRATCH:
        return s.sscratch
    if csr == CSR_SEPC:
        return s.sepc
    if csr == CSR_SCAUSE:
        return s.scause
    if csr == CSR_STVAL:
        return s.stval
    if csr == CSR_SATP:
        return s.satp
    if csr == CSR_SIE:
        return s.sie
    if csr == CSR_SIP:
        return s.sip
    if csr == CSR_STVEC:
        return s.stvec
    if csr == CSR_SCOUNTEREN:
        return s.scounteren
    if csr == CSR_SENVCFG:
        return s.senvcfg
    if csr == CSR_TIME:
        if s.mode == VU and (s.scounteren & 2) == 0:
            s.fault = leave_virtual()
        return now()
    if csr >= CSR_FFLAGS and csr <= CSR_FCSR and s.fp:
        if (s.sstatus & SSTATUS_FS) == 0:
            s.fault = leave_illegal()
            return 0
        if csr == CSR_FFLAGS:
            return s.fflags
        if csr == CSR_FRM:
            return s.frm
        return s.fflags | (s.frm << 5)
    if csr >> 8 == 12 or csr >> 8 == 13 or csr >> 8 == 2 or csr >> 8 == 6 or csr >> 8 == 10 or csr >> 8 == 14:
        s.fault = leave_virtual()  # counters and hypervisor CSRs: virtual-instruction exception
        return 0
    s.fault = leave_illegal()
    return 0


def csr_write(csr, value):
    """Write a CSR; answers CONTINUE, or RESUME when an interrupt or the translation may have changed."""
    if csr == CSR_SSTATUS:
        changed = s.sstatus ^ value
        s.sstatus = value & SSTATUS_WRITABLE
        if s.fp == 0:
            s.sstatus = s.sstatus & ~SSTATUS_FS
        if changed & SSTATUS_MXR:
            flush_all()
        update_context()
        if s.sip & s.sie:
            return RESUME
        return CONTINUE
    if csr == CSR_SSCRATCH:
        s.sscratch = value
    elif csr == CSR_SEPC:
        s.sepc = value & ~1
    elif csr == CSR_SCAUSE:
        s.scause = value
    elif csr == CSR_STVAL:
        s.stval = value
    elif csr == CSR_SATP:
        mode = value >> 60
        if mode == 0 or mode == 8 or mode == 9:  # another mode makes the write have no effect
            s.satp = value
            flush_all()
            return RESUME
    elif csr == CSR_SIE:
        s.sie = value & s.sie_mask
        return RESUME
    elif csr == CSR_SIP:
        s.sip = (s.sip & ~s.sip_mask) | (value & s.sip_mask)
        return RESUME
    elif csr == CSR_STVEC:
        s.stvec = value & ~2
    elif csr == CSR_SCOUNTEREN:
        s.scounteren = value & 0xFFFFFFFF
    elif csr == CSR_SENVCFG:
        s.senvcfg = value & 1
    elif csr == CSR_FFLAGS:
        s.fflags = value & 31
        s.sstatus = s.sstatus | SSTATUS_FS
    elif csr == CSR_FRM:
        s.frm = value & 7
        s.sstatus = s.sstatus | SSTATUS_FS
    elif csr == CSR_FCSR:
        s.fflags = value & 31
        s.frm = (value >> 5) & 7
        s.sstatus = s.sstatus | SSTATUS_FS
    return CONTINUE


def csr_access(rd, csr, operand, operation, writes):
    """One CSR instruction: operation 0 writes `operand`, 1 sets its bits, 2 clears them."""
    level = (csr >> 8) & 3
    if level == 3:
        return leave_illegal()
    if level == 2 or (level == 1 and s.mode == VU):
        return leave_virtual()
    if writes and csr >> 10 == 3:
        return leave_illegal()
    old = csr_read(csr)
    if s.fault:
        return s.fault
    action = CONTINUE
    if writes:
        value = operand
        if operation == 1:
            value = old | operand
        elif operation == 2:
            value = old & ~operand
        action = csr_write(csr, value)
    s.x[rd] = old
    if action == CONTINUE:
        return CONTINUE
    s.n -= 1
    s.pc += s.length
    return check_interrupts()


def csrrw(rd, rs1, rs2, imm, size):
    return csr_access(rd, imm, s.x[rs1], 0, 1)


def csrrs(rd, rs1, rs2, imm, size):
    return csr_access(rd, imm, s.x[rs1], 1, rs1 != 0)


def csrrc(rd, rs1, rs2, imm, size):
    return csr_access(rd, imm, s.x[rs1], 2, rs1 != 0)


def csrrwi(rd, rs1, rs2, imm, size):
    return csr_access(rd, imm, rs1, 0, 1)


def csrrsi(rd, rs1, rs2, imm, size):
    return csr_access(rd, imm, rs1, 1, rs1 != 0)


def csrrci(rd, rs1, rs2, imm, size):
    return csr_access(rd, imm, rs1, 2, rs1 != 0)


# ---------------------------------------------------------------- system instructions


def ecall(rd, rs1, rs2, imm, size):
    s.n -= s.traps_retire
    if s.mode == VU:
        return raise_exception(CAUSE_USER_ECALL, 0)
    s.exit = STOP_ECALL
    return EXIT


def ebreak(rd, rs1, rs2, imm, size):
    s.n -= s.traps_retire
    return raise_exception(CAUSE_BREAKPOINT, s.pc)


def sret(rd, rs1, rs2, imm, size):
    if s.mode == VU:
        return leave_virtual()
    status = s.sstatus
    mode = VU
    if status & SSTATUS_SPP:
        mode = VS
    s.sstatus = status & ~(SSTATUS_SPP | SSTATUS_SIE)
    if status & SSTATUS_SPIE:
        s.sstatus = s.sstatus | SSTATUS_SIE
    s.sstatus = s.sstatus | SSTATUS_SPIE
    s.n -= 1
    s.pc = s.sepc
    set_mode(mode)
    return check_interrupts()


def wfi(rd, rs1, rs2, imm, size):
    """KVM sets hstatus.VTW: WFI never waits on the hart, KVM blocks the vCPU and steps over it."""
    if s.mode == VU:
        return leave_virtual()
    s.exit = STOP_WFI
    return EXIT


def sfence_vma(rd, rs1, rs2, imm, size):
    if s.mode == VU:
        return leave_virtual()
    if rs1 == 0:
        flush_all()
    else:
        flush_page(s.x[rs1])
    s.n -= 1
    s.pc += s.length
    return RESUME

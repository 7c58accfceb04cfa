"""Access to CSRs: who may (privileged ISA, 2.1 and 21.6.1), and the instructions' own order of events."""
# ruff: noqa: F821 - written in the semantics language, see privileged/__init__.py
# mypy: ignore-errors

from __future__ import annotations


def absent():
    """There is no such CSR, or none for this mode."""
    s.fault = leave_illegal()
    return 0


def forbidden():
    """It exists, but the guest's hypervisor wants to answer."""
    s.fault = leave_virtual()
    return 0


def csr_denied(csr, writes):
    """0 where the mode may touch the CSR; else the answer of the trap."""
    level = (csr >> 8) & 3
    if writes and csr >> 10 == 3:
        return leave_illegal()
    if s.mode == MACHINE:
        return 0
    if level == 3:
        return leave_illegal()
    if level == 0 or (s.mode == SUPERVISOR and (level == 1 or s.virt == 0)):
        return 0
    if s.virt and csr_given(csr):
        return leave_virtual()
    return leave_illegal()


def csr_access(rd, csr, operand, operation, writes):
    """One CSR instruction: operation 0 writes `operand`, 1 sets its bits, 2 clears them."""
    denied = csr_denied(csr, writes)
    if denied:
        return denied
    old = csr_read(csr)
    if s.fault:
        return s.fault
    action = CONTINUE
    if writes:
        value = operand
        if operation:
            base = old
            if csr == 0x344:  # a device's SEIP is seen, but not written back
                base = (old & ~IP_SEI) | (s.sip & IP_SEI)
            value = base | operand
            if operation == 2:
                value = base & ~operand
        action = csr_write(csr, value)
        if s.fault:
            return s.fault
    s.x[rd] = old
    if action == CONTINUE:
        return CONTINUE
    s.n -= 1
    s.pc += s.length
    return check_interrupts()


def python_csr():
    """A CSR of the PMU, which Python keeps: the whole instruction is its business."""
    s.fault = EXIT
    s.exit = STOP_CSR
    return 0


def state_given(bit):
    """Whether M mode lets HS have what a bit of the state enables covers (Smstateen)."""
    return (s.isa & ISA_SMSTATEEN) == 0 or (s.mstateen0 & bit) != 0


def state_denied(bit):
    """0 where the state enables let the mode have it; else `s.fault` is set."""
    if s.mode == MACHINE or (s.isa & ISA_SMSTATEEN) == 0:
        return 0
    if (s.mstateen0 & bit) == 0:
        absent()
    elif s.virt and (s.hstateen0 & bit) == 0:
        forbidden()
    return s.fault


def state_enable(word, number):
    """mstateen or hstateen 1 to 3: there is bit 63 alone, which covers the CSRs one level lower."""
    return ((word >> number) & 1) << 63


def with_enable(word, number, value):
    return (word & ~(1 << number)) | ((value >> 63) << number)


def read_sstateen(number):
    """sstateen1 to 3, read-only zero."""
    if s.mode != MACHINE:
        if ((s.mstateen_more >> number) & 1) == 0:
            return absent()
        if s.virt and ((s.hstateen_more >> number) & 1) == 0:
            return forbidden()
    return 0


def read_hstateen(number):
    if s.mode != MACHINE and ((s.mstateen_more >> number) & 1) == 0:
        return absent()
    return state_enable(s.hstateen_more & s.mstateen_more, number)


def write_hstateen(number, value):
    if (s.mstateen_more >> number) & 1:
        s.hstateen_more = with_enable(s.hstateen_more, number, value)
    return CONTINUE


def write_mstateen(number, value):
    s.mstateen_more = with_enable(s.mstateen_more, number, value)
    return CONTINUE


def counter_denied(number):
    """0 where the hart has a counter and the counter enables give it to the mode; else `s.fault` is set."""
    if ((s.counters >> number) & 1) == 0:
        return absent_counter()
    if s.mode == MACHINE:
        return 0
    if ((s.mcounteren >> number) & 1) == 0:
        absent()
    elif s.virt:
        if ((s.hcounteren >> number) & 1) == 0 or (s.mode == USER and ((s.scounteren >> number) & 1) == 0):
            forbidden()
    elif s.mode == USER and ((s.scounteren >> number) & 1) == 0:
        absent()
    return s.fault


def write_mcounteren(value):
    """Only counters that the hart has can be enabled: so firmware knows which not to emulate."""
    s.mcounteren = value & s.counters
    return CONTINUE


def absent_counter():
    """The hart lacks the counter, which is illegal in every mode."""
    absent()
    return s.fault


def read_counter(number):
    """A counter below M mode. Where Python plays M mode, a read counts itself."""
    if counter_denied(number):
        return 0
    if answered(number) == 0:
        return python_csr()
    if s.python_m:
        return counter_value_after(number)
    return counter_value(number)


def read_machine_counter(number):
    if answered(number):
        return counter_value(number)
    return python_csr()


def read_time():
    if counter_denied(1):
        return 0
    if s.virt:
        return now() + s.htimedelta
    return now()


def timers_given():
    """Whether M mode gives the timers of Sstc to HS."""
    return (s.menvcfg & ENVCFG_STCE) != 0 and (s.mcounteren & 2) != 0


def timer_denied():
    """0 where stimecmp or vstimecmp may be touched (Sstc); else `s.fault` is set."""
    if s.mode == MACHINE:
        return 0
    if timers_given() == 0:
        absent()
    elif s.virt and ((s.henvcfg & ENVCFG_STCE) == 0 or (s.hcounteren & 2) == 0):
        forbidden()
    return s.fault


def read_stimecmp():
    if timer_denied():
        return 0
    if s.virt:
        return s.vstimecmp
    return s.stimecmp


def write_stimecmp(value):
    if s.virt:
        if injects():
            return forbidden()
        s.vstimecmp = value
    else:
        s.stimecmp = value
    limit_to_timers()
    return RESUME


def read_vstimecmp():
    if timer_denied():
        return 0
    return s.vstimecmp


def write_vstimecmp(value):
    s.vstimecmp = value
    limit_to_timers()
    return RESUME


def write_htimedelta(value):
    s.htimedelta = value
    limit_to_timers()
    return RESUME


def read_scountovf():
    """OF of the counters that the enables show (Sscofpmf); the hart's PMU knows them."""
    shown = ~7
    if s.mode != MACHINE:
        shown = s.mcounteren & ~7
        if s.virt:
            shown = shown & s.hcounteren
        if shown == 0:
            return 0
    if answered(SCOUNTOVF_ANSWERED):
        return load64(s.contexts + COUNTERS + 8) & shown
    s.exit_a = shown
    return python_csr()

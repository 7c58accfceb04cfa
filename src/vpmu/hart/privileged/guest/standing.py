"""Exits that are answered here in KVM's stead, as it would answer them (hart/standing.py): an emulated read
of a counter CSR, and an SBI call whose answer never changes.

What an exit and the next entry do to the hart happens here as well; what they do to the vCPU is made up for
when the hart stops. An exit is KVM's where the guest has changed `sip` since it was entered: KVM looks at it.
"""
# ruff: noqa: F821 - written in the semantics language, see __init__.py
# mypy: ignore-errors

from __future__ import annotations


def exits_stand(table):
    if s.sip != load64(table + STANDING_SIP) or load64(table + STANDING_TAKEN) == STANDING_TAKEN_MAX:
        return 0
    fold_counts()
    if load64(table + STANDING_RETIRED) != s.count_vu + s.count_vs:
        store64(table + STANDING_RETIRED, s.count_vu + s.count_vs)
        store64(table + STANDING_STREAK, 0)
    return load64(table + STANDING_STREAK) < STANDING_STREAK_MAX


def counter_stands(number):
    table = s.contexts + COUNTERS
    if (load64(table + STANDING_COUNTERS) >> number) & 1 == 0:
        return 0
    if s.mode == VU and (s.scounteren >> number) & 1 == 0:
        return 0
    return exits_stand(table)


def standing_counter(number):
    """The value of a counter, as KVM's model would read it; some of its releases add it up."""
    value = counter_value(number)
    table = s.contexts + COUNTERS
    if (load64(table + STANDING_TOTALS) >> number) & 1:
        total = table + 8 * COUNTER_ROW * (number + 1) + STANDING_TOTAL
        value = value + load64(total)
        store64(total, value)
    return value


def call_stands():
    """Whether a row has the answer of the call in the registers; it is in a0 and a1 then."""
    table = s.contexts + COUNTERS
    left = load64(table + STANDING_CALLS)
    row = table + CALLS_AT
    while left:
        if call_is(row):
            if exits_stand(table) == 0:
                return 0
            s.x[10] = load64(row + CALL_A0)
            s.x[11] = load64(row + CALL_A1)
            store64(row + CALL_TIMES, load64(row + CALL_TIMES) + 1)
            return 1
        row += CALL_ROW
        left -= 1
    return 0


def call_is(row):
    """Whether the registers name the call of a row."""
    if load64(row + CALL_EID) != s.x[17] or load64(row + CALL_FID) != s.x[16]:
        return 0
    return load64(row + CALL_ANY_ARGUMENT) or load64(row + CALL_ARGUMENT) == s.x[10]


def answered_exit():
    """On behind the instruction, which has not retired: the guest is entered again."""
    table = s.contexts + COUNTERS
    store64(table + STANDING_TAKEN, load64(table + STANDING_TAKEN) + 1)
    store64(table + STANDING_STREAK, load64(table + STANDING_STREAK) + 1)
    s.exit = 0
    s.trap_n = NEVER
    s.pc += s.length
    return RESUME

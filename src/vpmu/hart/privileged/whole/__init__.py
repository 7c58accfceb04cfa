"""A hart with all its modes: M, HS, U and, with the hypervisor extension, VS and VU.

The words of S mode (`sstatus`, `stvec`, ... `satp`) are those of the current V: a change of V exchanges them
with the `other_` words, so that a supervisor's own instructions need not ask in which V they run.
"""

"""The CSR instructions (unprivileged ISA, chapter 6)."""
# ruff: noqa: F821 - written in the semantics language, see privileged/__init__.py
# mypy: ignore-errors

from __future__ import annotations


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

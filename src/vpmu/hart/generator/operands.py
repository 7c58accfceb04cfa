"""How a handler reaches its operands: register numbers and the immediate are cut out of the record."""

from __future__ import annotations

import ast

from vpmu.hart.codegen_flags import Counting
from vpmu.hart.generator.convention import IMM, RD, RS1, RS2
from vpmu.hart.generator.language import Constants, Language
from vpmu.hart.semantics.syntax import parse_expression


class Operands(Language):
    """Emits code of a function with the arguments of a handler, of a variant of the engine."""

    def __init__(self, constants: Constants, counting: Counting) -> None:
        super().__init__(constants)
        self.counting = counting
        self.context_pointer = "%T"

    def field(self, shift: int, width: int = 8) -> str:
        """Bits of the record."""
        shifted = self.binary("lshr", "%r", shift) if shift else "%r"
        return self.binary("and", shifted, (1 << width) - 1)

    def register(self, shift: int) -> str:
        """A pointer to the register whose number is at `shift` in the record."""
        return self.word_pointer("s", self.field(shift))

    def read(self, shift: int) -> str:
        """The value of the register whose number is at `shift` in the record."""
        return self.load64(self.register(shift))

    def rs1(self) -> str:
        """The value of rs1."""
        return self.read(RS1)

    def rs2(self) -> str:
        """The value of rs2."""
        return self.read(RS2)

    def imm(self) -> str:
        """The immediate; its sign is that of the record."""
        return self.binary("ashr", "%r", IMM)

    def pc(self, ahead: int = 0) -> str:
        """The address of the instruction, or of what is `ahead` bytes on."""
        pointer = self.integer("%rp")
        pc = self.binary("add", self.binary("lshr", pointer, 2), "%bias")
        return self.binary("add", pc, ahead) if ahead else pc

    def write_rd(self, value: str) -> None:
        """Set rd; x0 as a destination is the number SINK, so there is nothing to ask."""
        self.emit(f"store i64 {value}, ptr {self.register(RD)}, align 8")

    def bind_operands(self, source: str) -> None:
        """Load the operands that the semantics name."""
        readers = {"rs1": self.rs1, "rs2": self.rs2, "imm": self.imm, "pc": self.pc}
        used = {node.id for node in ast.walk(parse_expression(source)) if isinstance(node, ast.Name)}
        for name in sorted(used & readers.keys() - self.values.keys()):
            self.values[name] = readers[name]()

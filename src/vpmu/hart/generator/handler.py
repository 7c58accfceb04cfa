"""What the templates of the handlers are written with: an instruction in one of its forms."""

from __future__ import annotations

from vpmu.hart.codegen_flags import Counting
from vpmu.hart.generator.convention import DISTANCE
from vpmu.hart.generator.dispatch import Dispatch
from vpmu.hart.generator.floating import Floating
from vpmu.hart.generator.language import Constants
from vpmu.hart.generator.operations import Operation


class Handler(Dispatch, Floating):
    """Emits one handler. `length` is that of the instruction's encoding, 2 or 4 bytes."""

    def __init__(self, operation: Operation, length: int, constants: Constants, counting: Counting) -> None:
        super().__init__(constants, counting)
        self.operation, self.row, self.length = operation, operation.row, length

    def symbol(self) -> str:
        """The handler's name in the IR, behind `op_` or `slow_`."""
        return f"{self.operation.name}_{self.length}"

    # -- going on

    def retire(self) -> str:
        """What is left of the budget behind this instruction."""
        return self.binary("sub", "%n", 1)

    def next(self, context: str = "%T") -> None:
        """Go on behind this instruction."""
        self.dispatch(self.offset("%rp", 4 * self.length), self.retire(), context)

    def jump_in_page(self) -> None:
        """An in-page branch holds the distance between the records, in records, above its immediate."""
        distance = self.binary("shl", self.binary("ashr", "%r", DISTANCE), 3)
        self.dispatch(self.offset("%rp", distance), self.retire())

    def save(self) -> None:
        """Make the state precise before code that may trap or leave."""
        self.store_word("s", "pc", self.pc())
        self.store_word("s", "n", "%n")
        self.store_word("s", "length", str(self.length))

    # -- counting

    def count_classes(self) -> None:
        """Count this instruction, which retires."""
        if Counting.CLASSES in self.counting:
            self.count_each("1")

    def count_each(self, times: str) -> None:
        """Count this instruction in each of its classes."""
        for event in (self.row.event, self.row.extra_event):
            if event:
                self.increment(event, times)

    # -- where a template's odd cases go

    def off_label(self) -> None:
        """An illegal instruction, as an encoding that nobody knows."""
        self.label("off")
        if Counting.CLASSES in self.counting:
            self.count_each(self.load_word("s", "traps_retire"))
        self.tail(f"@op_illegal_{self.length}")

    def slow_label(self) -> None:
        """The slow path is a function of its own, so that the fast path needs no stack frame."""
        self.label("slow")
        self.tail(f"@slow_{self.symbol()}")

"""Text of LLVM IR: fresh names, labels, arithmetic, words of the hart's state. Knows no instruction."""

from __future__ import annotations

from vpmu.hart import state
from vpmu.hart.semantics import BLOCKS, signed

LIKELY, UNLIKELY = "!prof !0", "!prof !1"
METADATA = '!0 = !{!"branch_weights", i32 2000, i32 1}\n!1 = !{!"branch_weights", i32 1, i32 2000}\n'
"""What LIKELY and UNLIKELY stand for; every module ends in it."""


class Emitter:
    """Writes one function. A method that emits an instruction answers with the name of its result."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._fresh = 0
        self.block = "entry"  # label of the block that is being written, for phi nodes
        # an SSA `ptr` to the translation context, where the caller has one
        self.context_pointer: str | None = None

    # -- plumbing

    def emit(self, line: str) -> None:
        """A line that has no result."""
        self.lines.append("  " + line)

    def value(self, line: str) -> str:
        """An instruction with a result; answers with its fresh name."""
        self._fresh += 1
        name = f"%v{self._fresh}"
        self.lines.append(f"  {name} = {line}")
        return name

    def binary(self, op: str, a: str | int, b: str | int) -> str:
        """An arithmetic instruction on 64 bits: `add`, `and`, `lshr`..."""
        return self.value(f"{op} i64 {a}, {b}")

    def compare(self, relation: str, a: str | int, b: str | int) -> str:
        """A comparison of 64 bits, as an i1: `eq`, `ult`, `slt`..."""
        return self.value(f"icmp {relation} i64 {a}, {b}")

    def select(self, condition: str, a: str | int, b: str | int) -> str:
        """`a` if the i1 `condition` holds, `b` otherwise; no branch."""
        return self.value(f"select i1 {condition}, i64 {a}, i64 {b}")

    def offset(self, pointer: str, distance: str | int) -> str:
        """A pointer `distance` bytes on."""
        return self.value(f"getelementptr i8, ptr {pointer}, i64 {distance}")

    def load64(self, pointer: str) -> str:
        """The word at a pointer, which is aligned."""
        return self.value(f"load i64, ptr {pointer}, align 8")

    def load_pointer(self, pointer: str) -> str:
        """The pointer at a pointer."""
        return self.value(f"load ptr, ptr {pointer}, align 8")

    def pointer(self, address: str) -> str:
        """An address as a pointer."""
        return self.value(f"inttoptr i64 {address} to ptr")

    def integer(self, pointer: str) -> str:
        """A pointer as an address."""
        return self.value(f"ptrtoint ptr {pointer} to i64")

    def fork(self, condition: str, yes: str, no: str, weights: str = "") -> None:
        """End the block: go to one of two labels. `weights`: LIKELY or UNLIKELY to go to `yes`."""
        self.emit(f"br i1 {condition}, label %{yes}, label %{no}{', ' + weights if weights else ''}")

    def new_label(self, hint: str) -> str:
        """A label that nothing else has; it stands where `label` puts it."""
        self._fresh += 1
        return f"{hint}{self._fresh}"

    def label(self, name: str) -> None:
        """Begin a block."""
        self.lines.append(f"{name}:")
        self.block = name

    # -- state words

    def word_pointer(self, block: str, index: int | str) -> str:
        """`ptr` to word `index` (a constant or an i64 value) of block s, t or m."""
        base = "%S"
        if block == "m":
            base = self.value(f"load ptr, ptr {self.word_pointer('s', state.STATE['shared'])}, align 8")
        elif block == "t":
            base = self.context_pointer or self.value(
                f"load ptr, ptr {self.word_pointer('s', state.STATE['ctx'])}, align 8"
            )
        return self.value(f"getelementptr i64, ptr {base}, i64 {index}")

    def load_word(self, block: str, name: str) -> str:
        """The value of a word of block s, t or m, by name (see `state.py`)."""
        return self.value(f"load i64, ptr {self.word_pointer(block, BLOCKS[block][name])}, align 8")

    def store_word(self, block: str, name: str, value: str) -> None:
        """Set a word of block s, t or m, by name."""
        self.emit(f"store i64 {value}, ptr {self.word_pointer(block, BLOCKS[block][name])}, align 8")

    def constant(self, value: int) -> str:
        """A number of 64 bits as LLVM writes it."""
        return str(signed(value))

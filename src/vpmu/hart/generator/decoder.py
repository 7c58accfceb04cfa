"""The decoder: from the encodings of the instruction table to a function that makes records."""

from __future__ import annotations

from collections.abc import Iterable

from vpmu.hart import state
from vpmu.hart.generator.convention import DISTANCE, IMM, RD, RS1, RS2
from vpmu.hart.generator.emitter import Emitter
from vpmu.hart.generator.operations import NUMBER, record_constant
from vpmu.hart.isa.instruction import Compressed, Field, Instruction, Kind
from vpmu.hart.isa.table import BY_NAME, COMPRESSED, INSTRUCTIONS, most_specific_first
from vpmu.spec import privileged

MAJOR, SHORT = 0x7F, 0xE003  # bits that tell groups of encodings apart, of 32 and of 16 bits


class Decoder(Emitter):
    """Emits `decode_word(state, word, offset in page) -> record` from the tables: a switch on the opcode,
    then a chain of matches. What the hart has not is no match.
    """

    def extract(self, source: Field) -> str:
        """An operand, put together from its pieces of the word."""
        if source.constant is not None:
            return str(source.constant)
        total = ""
        for high, low, target in source.pieces:
            part = self.binary("lshr", "%word", low) if low else "%word"
            part = self.binary("and", part, (1 << high - low + 1) - 1)
            part = self.binary("shl", part, target) if target else part
            total = self.binary("or", total, part) if total else part
        if source.is_signed:
            total = self.binary("shl", total, 64 - source.width)
            total = self.binary("ashr", total, 64 - source.width)
        return self.binary("add", total, source.offset) if source.offset else total

    def record(self, number: str, rd: str, rs1: str, rs2: str, imm: str) -> None:
        """Answer with a record of these fields."""
        rd = self.select(self.compare("eq", rd, 0), state.SINK, rd)
        total = number
        for part, shift in ((rd, RD), (rs1, RS1), (rs2, RS2), (imm, IMM)):
            total = self.binary("or", total, self.binary("shl", part, shift))
        self.emit(f"ret i64 {total}")

    def row(self, row: Instruction, operands: Instruction | Compressed, length: int) -> None:
        """Answer with the record of `row`, operands cut out as `operands` says."""
        source = operands.format if isinstance(operands, Instruction) else operands
        rd, rs1, rs2, imm = (self.extract(f) for f in (source.rd, source.rs1, source.rs2, source.imm))
        number = 2 * NUMBER[row.name] + (length == 4)
        if row.kind not in (Kind.BRANCH, Kind.JAL):
            self.record(str(number), rd, rs1, rs2, imm)
            return
        target = self.binary("add", "%offset", imm)
        inside = self.compare("ult", target, 4096)
        near = 2 * NUMBER[row.name + ".in"] + (length == 4)
        chosen = self.select(inside, near, number)
        distance = self.binary("shl", imm, DISTANCE - IMM - 1)
        self.record(chosen, rd, rs1, rs2, self.select(inside, distance, imm))

    def chain(self, rows: Iterable[Instruction | Compressed], length: int) -> None:
        """Try rows one after the other; illegal where none matches."""
        for row in rows:
            test = self.compare("eq", self.binary("and", "%word", row.mask), row.match)
            if isinstance(row, Compressed):
                for source in row.nonzero:
                    nonzero = self.compare("ne", self.extract(source), 0)
                    test = self.value(f"and i1 {test}, {nonzero}")
            yes, no = self.new_label("yes"), self.new_label("no")
            self.fork(test, yes, no)
            self.label(yes)
            if isinstance(row, Instruction) and row.needs:
                there = self.new_label("there")
                bit = self.binary("and", self.load_word("s", "isa"), getattr(privileged, row.needs))
                self.fork(self.compare("ne", bit, 0), there, no)
                self.label(there)
            self.row(BY_NAME[row.expands_to] if isinstance(row, Compressed) else row, row, length)
            self.label(no)
        self.emit(f"ret i64 {record_constant('illegal', length) | state.SINK << RD}")

    def groups(
        self, rows: Iterable[Instruction | Compressed], selector: str, length: int, key_mask: int
    ) -> None:
        """Rows that share the bits `key_mask` of the word, behind one switch."""
        by_key: dict[int, list[Instruction | Compressed]] = {}
        for row in rows:
            by_key.setdefault(row.match & key_mask, []).append(row)
        labels = {key: self.new_label("group") for key in by_key}
        other = self.new_label("other")
        cases = " ".join(f"i64 {key}, label %{label}" for key, label in labels.items())
        self.emit(f"switch i64 {selector}, label %{other} [ {cases} ]")
        self.label(other)
        self.emit(f"ret i64 {record_constant('illegal', length) | state.SINK << RD}")
        for key, label in labels.items():
            self.label(label)
            self.chain(by_key[key], length)

    def generate(self) -> str:
        """The text of the function: switches on the major opcode, and on quadrant and funct3 of short
        encodings.
        """
        self.lines.append("define internal fastcc i64 @decode_word(ptr %S, i64 %word, i64 %offset) {")
        self.label("entry")
        low = self.binary("and", "%word", 3)
        self.fork(self.compare("eq", low, 3), "full", "short")
        self.label("full")
        self.groups(most_specific_first(INSTRUCTIONS), self.binary("and", "%word", MAJOR), 4, MAJOR)
        self.label("short")
        self.groups(most_specific_first(COMPRESSED), self.binary("and", "%word", SHORT), 2, SHORT)
        self.lines.append("}")
        return "\n".join(self.lines)


def decode_at() -> str:
    """`decode_at(host page, offset)`: read the word at an offset of a page and decode it."""
    return f"""
define internal fastcc i64 @decode_at(ptr %S, i64 %host, i64 %offset) {{
entry:
  %address = add i64 %host, %offset
  %pointer = inttoptr i64 %address to ptr
  %half = load i16, ptr %pointer, align 1
  %short = zext i16 %half to i64
  %low = and i64 %short, 3
  %is_full = icmp eq i64 %low, 3
  br i1 %is_full, label %full, label %narrow
full:
  %at_end = icmp eq i64 %offset, 4094
  br i1 %at_end, label %last, label %wide
last:
  ret i64 {state.RECORD_STRADDLE}
wide:
  %half2 = load i32, ptr %pointer, align 1
  %word = zext i32 %half2 to i64
  %a = call fastcc i64 @decode_word(ptr %S, i64 %word, i64 %offset)
  ret i64 %a
narrow:
  %b = call fastcc i64 @decode_word(ptr %S, i64 %short, i64 %offset)
  ret i64 %b
}}"""

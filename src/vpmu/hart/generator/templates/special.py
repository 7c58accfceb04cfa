"""The operations that are not instructions (`state.SPECIAL_OPERATIONS`)."""

from __future__ import annotations

from vpmu.hart import state
from vpmu.hart.generator.convention import RD, RECORD_OFFSET
from vpmu.hart.generator.emitter import LIKELY
from vpmu.hart.generator.handler import Handler


def decode(h: Handler) -> None:
    """Fill in this record and execute it."""
    dbase = h.load_word("s", "dbase")
    host = h.load64(h.pointer(h.binary("add", dbase, h.constants["DECODED_HOST"])))
    distance = h.binary("sub", h.integer("%rp"), dbase)
    offset = h.binary("and", h.binary("lshr", distance, 2), RECORD_OFFSET)
    look, free, held = h.new_label("look"), h.new_label("free"), h.new_label("held")
    h.fork(h.compare("eq", h.load_word("m", "breakpoint_count"), 0), free, look, LIKELY)
    h.label(look)
    h.fork(h.compare("eq", h.call("is_breakpoint", [h.binary("add", host, offset)]), 0), free, held)
    h.label(held)
    h.emit(f"store i64 {state.RECORD_BREAKPOINT}, ptr %rp, align 8")
    h.tail("@op_breakpoint_4", r=str(state.RECORD_BREAKPOINT))
    h.label(free)
    record = h.value(f"call fastcc i64 @decode_at(ptr %S, i64 {host}, i64 {offset})")
    h.emit(f"store i64 {record}, ptr %rp, align 8")
    h.call("note_decoded", [dbase, h.binary("lshr", offset, 1)])
    h.tail(h.handler_of(record), r=record)


def breakpoint(h: Handler) -> None:
    """Stop before this instruction; a run that begins where the one before was stopped executes it."""
    dbase = h.load_word("s", "dbase")
    host = h.load64(h.pointer(h.binary("add", dbase, h.constants["DECODED_HOST"])))
    distance = h.binary("sub", h.integer("%rp"), dbase)
    offset = h.binary("and", h.binary("lshr", distance, 2), RECORD_OFFSET)
    stop, go = h.new_label("stop"), h.new_label("go")
    h.store_word("s", "pc", h.pc())
    h.store_word("s", "n", "%n")
    h.fork(h.compare("eq", h.call("stop_at", [h.binary("add", host, offset)]), 0), go, stop)
    h.label(stop)
    h.emit(f"ret i64 {h.constants['EXIT']}")
    h.label(go)
    record = h.value(f"call fastcc i64 @decode_at(ptr %S, i64 {host}, i64 {offset})")
    h.tail(h.handler_of(record), r=record)


def page_end(h: Handler) -> None:
    """Execution ran off the end of a decoded page."""
    h.jump_to(h.pc(), "%n")


def straddle(h: Handler) -> None:
    """A four-byte instruction on two pages: read the second half, decode, execute; never cached, the
    pages may part.
    """
    h.save()
    dbase = h.load_word("s", "dbase")
    host = h.load64(h.pointer(h.binary("add", dbase, h.constants["DECODED_HOST"])))
    low = h.call("load16", [h.binary("add", host, 4094)])
    high = h.call("fetch_half", [h.pc(2)])
    h.follow(h.load_word("s", "fault"))
    word = h.binary("or", low, h.binary("shl", high, 16))
    h.store_word("s", "insn", word)
    record = h.value(f"call fastcc i64 @decode_word(ptr %S, i64 {word}, i64 4094)")
    h.tail(h.handler_of(record), r=record)


def hot(h: Handler) -> None:
    """This record is an entry of a compiled region (regions/), the immediate its index there. One that
    is not is decoded. Visits are counted: from time to time somebody asks whether they are worth it.
    """
    known, unknown = h.new_label("known"), h.new_label("unknown")
    there, usual, judged = h.new_label("there"), h.new_label("usual"), h.new_label("judged")
    index = h.imm()
    h.fork(h.compare("ult", index, h.load_word("m", "hot_count")), known, unknown, LIKELY)
    h.label(known)
    row = h.binary("add", h.load_word("m", "hot_table"), h.binary("shl", index, state.HOT_ROW_BITS))
    function = h.load_pointer(h.pointer(row))
    h.fork(h.value(f"icmp ne ptr {function}, null"), there, unknown, LIKELY)
    h.label(there)
    h.store_word("m", "hot_row", row)
    counter = h.offset(h.pointer(row), state.HOT_VISITS)
    visits = h.binary("add", h.load64(counter), 1)
    h.emit(f"store i64 {visits}, ptr {counter}, align 8")
    h.fork(h.compare("ult", visits, state.HOT_JUDGED), usual, judged, LIKELY)
    h.label(usual)
    h.tail(function)
    h.label(judged)
    h.tail("@hot_judged", r=row)
    h.label(unknown)
    h.tail("@op_decode_4", r="0")


def stitched(h: Handler) -> None:
    """This record leads into a straight line of stencils (stencils/): instructions left in it 23:16, before
    it 31:24, its code 63:32. Where the budget ends in the line, handlers take it.
    """
    enough, short = h.new_label("enough"), h.new_label("short")
    h.fork(h.compare("uge", "%n", h.field(RD)), enough, short, LIKELY)
    h.label(short)
    h.tail("@stitched_original")
    h.label(enough)
    page = h.binary("add", h.binary("lshr", h.load_word("s", "dbase"), 2), "%bias")
    h.enter_line("%r", page, "%n")

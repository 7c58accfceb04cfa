"""The architectural state of a hart as one block of memory that both engines and Python share.

Three layouts, each a table of names: `STATE` (one per hart), `SHARED` (one per machine) and `CONTEXT`
(one for each way an address can be translated: VU, VS, and VS with `sstatus.SUM`; where a hart has all its
modes also U, S, S with SUM, M, and one that is never filled). A name
stands for one 64-bit word at a fixed index, so that generated code needs no pointer chasing and Python sees
each word through a memoryview.
"""

from __future__ import annotations

import ctypes
import os

# A record names a register by eight bits, so the words that it can reach are registers or nothing at all:
# whatever a record holds, it never names a CSR or one of the engine's pointers.
X = 0  # x0..x31; nothing ever writes word 0
SINK = 32  # where an instruction that names x0 as its destination writes
F = 64  # f0..f31, single precision NaN-boxed
REGISTER_WORDS = 256
MIDST = 8 * 16  # bytes: from there x0 to x31 lie within a byte with a sign (stencils/)
SUPERPAGES, SUPERPAGES_SIZE = 128, 512  # first word, bytes: see privileged.translation

_STATE_NAMES = """
pc n n_fold n_start mode ctx exit exit_a exit_b exit_c fault insn length dbase
sstatus stvec sscratch sepc scause stval satp sie sip scounteren senvcfg fflags frm
hedeleg sie_mask sip_mask traps_retire fp adue
time_ns reservation reserved_value trap_n trap_fuel shared contexts epoch hart_id
count_vu count_vs traps_vu traps_vs
across
isa counters python_m virt as_guest fp_on fp_other gva tval2 tinst guest_superpages pmp_count
other_sstatus other_stvec other_sscratch other_sepc other_scause other_stval other_satp
mstatus misa medeleg mideleg mie mtvec mcounteren menvcfg mstateen0 mscratch mepc mcause mtval mtinst mtval2
miselect medeleg_mask menvcfg_mask stateen_mask s_interrupts lines mtimecmp
hstatus hideleg htimedelta hcounteren henvcfg hstateen0 htval hvip htinst hgatp hvien hvictl
mstateen_more hstateen_more
stimecmp vstimecmp sstateen0 siselect vsiselect vsie_own
count_u count_s count_m traps_u traps_s traps_m
stip as_store
passing watched
host_ieee
more pmp_fine
stitched
""".split()  # noqa: SIM905 - rows of names

_REGIONS = 8
_SHARED_NAMES = [
    *("code_pool", "code_next", "code_new", "code_end", "code_map", "page_flags", "page_count", "epoch"),
    "hot_table",
    *("hot_count", "region_count", "breakpoints", "breakpoint_count"),
    *("watchpoints", "watchpoint_count"),
    *("stencils", "stitch_scratch", "stitched_base", "stitched_next", "stitched_end"),
    *("stitched_count", "stitch_slice", "stitch_shortest", "stitch_turn"),
    "stitch_entries",  # times until the next look that a handler comes to a page, or out of a line
    *("known", "known_mask", "known_rows"),  # pages of earlier runs (stencils/known.py): index, rows
    *("learned", "learned_count", "learned_of"),  # rows of this run, and how often pages were stitched
    "hot_row",  # of the region that was entered last
    "tables",  # writes to page tables that translations stand on (privileged/kernel_half.py)
    "given",  # memory is its caller's, who may write to it whenever he likes
    "stale",  # from each page to that of the snapshot (stale.py); 0: no page is stale or unsaved
    *(f"r{i}_{word}" for i in range(_REGIONS) for word in ("base", "size", "host", "first", "flags")),
]

# Per-mode event counters live in the context block, so that counting needs no test of the mode.
CLASS_COUNTERS = ("branch", "load", "store", "atomic", "muldiv", "fp", "csr", "system")
MISS_COUNTERS = ("dtlb_read_miss", "dtlb_write_miss", "itlb_miss", "l1d_read_miss", "l1d_write_miss")

STATE = {name: REGISTER_WORDS + i for i, name in enumerate(_STATE_NAMES)}
SHARED = {name: i for i, name in enumerate(_SHARED_NAMES)}
# What is known of a page, a byte each. Stale: a restore has not brought its contents yet, unsaved: the last
# snapshot has not taken them yet (stale.py). Base:
# it was touched in the state that the machine was last restored to. Hashed: written since the last snapshot,
# and not since the last hash of the state.
PAGE_TOUCHED, PAGE_DIRTY, PAGE_HASHED, PAGE_STALE, PAGE_BASE, PAGE_UNSAVED = 1, 2, 4, 8, 16, 32
REGION_WORDS = 5
REGION_READONLY = 1

# The engine's own translation caches: entries of (tag, host address - virtual address). They are not
# the guest's TLB and nothing counts them. The *modelled* TLB and cache (tags only) stand beside them and
# exist to be counted.
TLB_READ, READ_ENTRIES = 0, 4096  # byte offset in a context; a dynamic linker reads of twenty libraries
TLB_WRITE, WRITE_ENTRIES = 16 * READ_ENTRIES, 1024
TLB_FETCH, FETCH_ENTRIES = TLB_WRITE + 16 * WRITE_ENTRIES, 1024
TLB_ENTRIES = {TLB_READ: READ_ENTRIES, TLB_WRITE: WRITE_ENTRIES, TLB_FETCH: FETCH_ENTRIES}
MODEL_TLB_ENTRIES = 256  # tags of 8 bytes each
MODEL_DTLB_READ = TLB_FETCH + 16 * FETCH_ENTRIES
MODEL_DTLB_WRITE, MODEL_ITLB = (
    MODEL_DTLB_READ + 8 * MODEL_TLB_ENTRIES,
    MODEL_DTLB_READ + 16 * MODEL_TLB_ENTRIES,
)
MODEL_L1D = MODEL_DTLB_READ + 24 * MODEL_TLB_ENTRIES
MODEL_L1D_LINES = 512  # 32 KiB, direct mapped, 64-byte lines
COUNTERS = MODEL_L1D + MODEL_L1D_LINES * 8
CONTEXT = {name: COUNTERS // 8 + i for i, name in enumerate(CLASS_COUNTERS + MISS_COUNTERS)}
CONTEXT_SIZE = COUNTERS + 512
CONTEXT_VU, CONTEXT_VS, CONTEXT_VS_SUM = 0, 1, 2
CONTEXT_U, CONTEXT_S, CONTEXT_S_SUM, CONTEXT_M, CONTEXT_OTHER = 3, 4, 5, 6, 7  # of a hart with all its modes
CONTEXTS = 4096  # byte offset of the first context in the hart's block
GUEST_CONTEXTS, ALL_CONTEXTS = 3, 8
# Behind the contexts of a hart with all its modes, by byte offset from the first of them: marks of larger
# leaves of each half of V=1 and V=0 (2 MiB, then 1 GiB), marks of guest physical pages, and physical memory
# protection.
LEAVES, LEAVES_SIZE = ALL_CONTEXTS * CONTEXT_SIZE, 8192
GUEST_PAGES = LEAVES + 4 * LEAVES_SIZE
PMP = GUEST_PAGES + 0x10000
MAX_PMP = 64
PMP_SIZE = 64 + 8 * MAX_PMP
# Last of all what the PMU publishes of its counters (hart.published), by byte offset from the first context:
# a row for all, then one for each counter. It follows from the PMU, and no reset of the hart clears it.
GUEST_COUNTERS, WHOLE_COUNTERS = GUEST_CONTEXTS * CONTEXT_SIZE, PMP + PMP_SIZE
COUNTER_ROW = 32  # words
SCOUNTOVF_ANSWERED = 1  # the bit of scountovf among those of the counters: index 1 is `time`, no counter
# Words of the row for all, of a guest's hart: exits that the engine answers itself (hart.standing). The rows
# of calls stand behind those of the counters.
STANDING = ("counters", "totals", "calls", "sip", "taken", "retired", "streak")
STANDING_WORDS = {f"STANDING_{name.upper()}": 2 + number for number, name in enumerate(STANDING)}
STANDING_TOTAL = COUNTER_ROW - 1  # the word of a counter's row that holds what has been added up so far
STANDING_STREAK_MAX = 1000  # exits without one retired instruction in between
STANDING_TAKEN_MAX = 1 << 20  # exits until the next that is Python's, whoever wants to stop it
CALLS_AT = 8 * COUNTER_ROW * 33
CALL = ("eid", "fid", "argument", "any_argument", "a0", "a1", "times")
CALL_WORDS = {f"CALL_{name.upper()}": 8 * number for number, name in enumerate(CALL)}
CALL_ROW, MAX_CALLS = 8, 8  # words, rows
COUNTERS_SIZE = CALLS_AT + 8 * CALL_ROW * MAX_CALLS
# And what entries of the engine's caches have been filled since they were last emptied: how many, and where
# they are, for the lower halves of V=1 and V=0, M, and the upper halves of V=1 and V=0; of a guest's hart,
# for the lower and for the upper half of its address space.
MAX_FILLED = 1023
FILLED_SIZE = 8 * (1 + MAX_FILLED)
GUEST_FILLED = GUEST_COUNTERS + COUNTERS_SIZE
WHOLE_FILLED = WHOLE_COUNTERS + COUNTERS_SIZE
# And the extent (privileged/extent.py): its first address, up to where an access of WIDEST_ACCESS bytes may
# begin (0: there is no extent), the host's address minus the guest's, and how many misses it has seen.
EXTENT = ("base", "bound", "addend", "misses")
EXTENT_SIZE = 8 * len(EXTENT)
WIDEST_ACCESS = 256  # bytes that neighbours may ask for at once
# How far the ends of a run of pages are looked for at a miss, and at one in so many (a power of two).
EXTENT_NEAR, EXTENT_FAR, EXTENT_LOOKS = 16 << 12, 2048 << 12, 32
GUEST_FILLED_LISTS, WHOLE_FILLED_LISTS = 2, 5
GUEST_EXTENT = GUEST_FILLED + GUEST_FILLED_LISTS * FILLED_SIZE
WHOLE_EXTENT = WHOLE_FILLED + WHOLE_FILLED_LISTS * FILLED_SIZE
# And what translations of the upper half (of V=1, then of V=0) stand on: `tables` of the memory, the mode of
# satp, then how many entries of the root, and these: offset, value.
ROOTS_TABLES, ROOTS_MODE, ROOTS_COUNT, ROOTS_FIRST, MAX_ROOTS = 0, 8, 16, 32, 8
ROOTS_SIZE = ROOTS_FIRST + 16 * MAX_ROOTS
GUEST_ROOTS, WHOLE_ROOTS = GUEST_EXTENT + EXTENT_SIZE, WHOLE_EXTENT + EXTENT_SIZE
GUEST_STATE_SIZE = CONTEXTS + GUEST_ROOTS + ROOTS_SIZE
LONE_PAGE = WHOLE_ROOTS + 2 * ROOTS_SIZE
"""A decoded page for one instruction at a time (privileged.whole.pmp), by byte offset as well; no state."""
INVALID_TAG = 1  # never equal to a page address

assert max(STATE.values()) * 8 < CONTEXTS
assert max(CONTEXT.values()) * 8 < CONTEXT_SIZE

# Operations that are no instructions, by number; those of the instruction table come behind them
# (generator/operations.py). The low 16 bits of a record are twice its operation, plus one for an instruction
# of four bytes; of these only the lowest ten count, and the table of handlers is that long.
HANDLERS = 1024
SPECIAL_OPERATIONS = ("decode", "page_end", "straddle", "hot", "breakpoint", "stitched")
RECORD_PAGE_END, RECORD_STRADDLE, RECORD_HOT, RECORD_BREAKPOINT, RECORD_STITCHED = (
    2 * SPECIAL_OPERATIONS.index(name) + 1 for name in SPECIAL_OPERATIONS[1:]
)

# A row of the hot tier's table: address of a region (0: it was not worth its visits), visits since it was
# last asked, samples that fell in it in the same time, whether it stays whatever they say.
HOT_ROW_BITS, HOT_VISITS, HOT_SAMPLES, HOT_KEPT = 5, 8, 16, 24
HOT_JUDGED, HOT_STAY = 1 << 14, 128  # visits from one question to the next, instructions that one should have
IN_REGION = 1 << 14  # of a record: a region holds the instruction

# A decoded page: 2048 records, two sentinels, four words, then 2048 records that stencils stand for.
DECODED_HOST = 8 * 2050  # host address of the page of memory
DECODED_STORES = 8 * 2051  # stores that hit it since it was last entered
DECODED_COMPILED = 8 * 2052  # what records of this page lead to
# Bits of that: regions of the hot tier, lines of stencils; and that it is a page table.
COMPILED_REGIONS, COMPILED_STITCHED, COMPILED_TABLE = 1, 2, 4
DECODED_KEY = 8 * 2053  # of its contents when it was first entered or stitched (stencils/known.py)
DECODED_BITS = 8 * 2054  # a bit for each record: it has been decoded, once
DECODED_SIZE = DECODED_BITS + 2048 // 8
DECODED_ORIGINALS = DECODED_SIZE + 64 - DECODED_SIZE % 64  # what stitched records were
DECODED_STRIDE = DECODED_ORIGINALS + 8 * 2048
WHOLE_STATE_SIZE = CONTEXTS + LONE_PAGE + DECODED_STRIDE
POPULATE_WRITE = 23  # advice to the host: Linux 5.14; Python has no name for it
# Of memory from Linux: what is not used is not counted as promised. Python has no name for it before 3.13.
_HOST = os.uname()
NORESERVE = 0x4000 * (_HOST.sysname == "Linux" and _HOST.machine in ("x86_64", "aarch64", "riscv64"))
AHEAD = 128 << 10  # bytes of guest memory that are brought at once (privileged/ahead.py)
DECODED_STORES_MAX = 256  # stores into a page, without an entry, after which it is data

ASKED = 2  # in `watched`: all of the access has been compared; else the pc that was stopped at, plus one
NO_RESERVATION = (1 << 64) - 1
NEVER = (1 << 64) - 1  # no number of instructions left
TICK_NS = 100  # one tick of `time` (10 MHz) in nanoseconds of virtual time
VU, VS = 0, 1  # values of `mode`
USER, SUPERVISOR, MACHINE = 0, 1, 3  # the same, of a hart with all its modes


class Block:
    """A zeroed, 64-byte aligned block of memory; `words` views it as unsigned 64-bit words, `address` is
    its host address.
    """

    def __init__(self, size: int) -> None:
        self._raw = ctypes.create_string_buffer(size + 64)
        start = -ctypes.addressof(self._raw) % 64
        self.address = ctypes.addressof(self._raw) + start
        self.words = memoryview(self._raw).cast("B")[start : start + (size & ~7)].cast("Q")


def context_word(context: int, name: str) -> int:
    """Index in `Block.words` of the word `name` in translation context `context` (0..2)."""
    return (CONTEXTS + context * CONTEXT_SIZE) // 8 + CONTEXT[name]

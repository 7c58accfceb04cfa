"""The functions of `privileged/` and `soft.py` as source trees, with the constants that they name."""

from __future__ import annotations

import ast
from functools import lru_cache
from importlib import resources

from vpmu.hart import csr_table, exits, privileged, soft, state
from vpmu.hart.stencils import holes
from vpmu.spec import csr
from vpmu.spec import privileged as fields

TRAP_FUEL = 4096  # traps in a row, without one instruction retired, that count as a guest that hangs

CONTINUE, RESUME, EXIT = 0, 1, 2


def constants(whole: bool = False) -> dict[str, int]:
    """Every name that the semantics language may use as a number."""
    table = {
        "VU": state.VU, "VS": state.VS,
        "USER": state.USER, "SUPERVISOR": state.SUPERVISOR, "MACHINE": state.MACHINE,
        "LOAD": 0, "STORE": 1, "FETCH": 2,
        "CONTINUE": CONTINUE, "RESUME": RESUME, "EXIT": EXIT,
        "CONTEXT_SIZE": state.CONTEXT_SIZE,
        "CONTEXTS_SIZE": state.CONTEXT_SIZE * (state.ALL_CONTEXTS if whole else state.GUEST_CONTEXTS),
        "LEAVES": state.LEAVES, "LEAVES_SIZE": state.LEAVES_SIZE,
        "GUEST_PAGES": state.GUEST_PAGES, "PMP": state.PMP,
        "LONE_PAGE": state.LONE_PAGE,
        "TLB_READ": state.TLB_READ, "TLB_WRITE": state.TLB_WRITE, "TLB_FETCH": state.TLB_FETCH,
        "READ_SIZE": 16 * state.READ_ENTRIES, "WRITE_SIZE": 16 * state.WRITE_ENTRIES,
        "FETCH_SIZE": 16 * state.FETCH_ENTRIES, "CACHES_SIZE": state.MODEL_DTLB_READ,
        "MODEL_SIZE": state.MODEL_L1D - state.MODEL_DTLB_READ,
        "FILLED": state.WHOLE_FILLED if whole else state.GUEST_FILLED, "FILLED_SIZE": state.FILLED_SIZE,
        "FILLED_LISTS": state.WHOLE_FILLED_LISTS if whole else state.GUEST_FILLED_LISTS,
        "MAX_FILLED": state.MAX_FILLED,
        "EXTENT": state.WHOLE_EXTENT if whole else state.GUEST_EXTENT, "EXTENT_SIZE": state.EXTENT_SIZE,
        "EXTENT_NEAR": state.EXTENT_NEAR, "EXTENT_FAR": state.EXTENT_FAR, "EXTENT_LOOKS": state.EXTENT_LOOKS,
        "WIDEST_ACCESS": state.WIDEST_ACCESS,
        "ROOTS": state.WHOLE_ROOTS if whole else state.GUEST_ROOTS,
        "ROOTS_SIZE": state.ROOTS_SIZE, "ROOTS_TABLES": state.ROOTS_TABLES, "ROOTS_MODE": state.ROOTS_MODE,
        "ROOTS_COUNT": state.ROOTS_COUNT, "ROOTS_FIRST": state.ROOTS_FIRST, "MAX_ROOTS": state.MAX_ROOTS,
        "MODEL_DTLB_READ": state.MODEL_DTLB_READ, "MODEL_DTLB_WRITE": state.MODEL_DTLB_WRITE,
        "MODEL_ITLB": state.MODEL_ITLB,
        "INVALID": state.INVALID_TAG,
        "SUPERPAGES_BELOW": state.CONTEXTS - 8 * state.SUPERPAGES, "SUPERPAGES_SIZE": state.SUPERPAGES_SIZE,
        "REGIONS": 8 * state.SHARED["r0_base"], "REGION_BYTES": 8 * state.REGION_WORDS,
        "REGION_READONLY": state.REGION_READONLY,
        "PAGE_TOUCHED": state.PAGE_TOUCHED, "PAGE_DIRTY": state.PAGE_DIRTY,
        "PAGE_STALE": state.PAGE_STALE, "PAGE_UNSAVED": state.PAGE_UNSAVED,
        "AHEAD": state.AHEAD, "DECODED_BITS": state.DECODED_BITS,
        "DIRTY_8": int.from_bytes(8 * bytes([state.PAGE_DIRTY]), "little"),
        "NO_RESERVATION": state.NO_RESERVATION,
        "NEVER": state.NEVER, "ASKED": state.ASKED,
        "DECODED_HOST": state.DECODED_HOST, "DECODED_STORES": state.DECODED_STORES,
        "DECODED_SIZE": state.DECODED_SIZE, "DECODED_COMPILED": state.DECODED_COMPILED,
        "DECODED_STRIDE": state.DECODED_STRIDE, "DECODED_STORES_MAX": state.DECODED_STORES_MAX,
        "RECORD_PAGE_END": state.RECORD_PAGE_END, "RECORD_STITCHED": state.RECORD_STITCHED,
        "HOT_VISITS": state.HOT_VISITS, "HOT_SAMPLES": state.HOT_SAMPLES, "HOT_JUDGED": state.HOT_JUDGED,
        "HOT_STAY": state.HOT_STAY, "HOT_KEPT": state.HOT_KEPT, "IN_REGION": state.IN_REGION,
        "DECODED_ORIGINALS": state.DECODED_ORIGINALS, "COMPILED_STITCHED": state.COMPILED_STITCHED,
        "DECODED_KEY": state.DECODED_KEY, "COMPILED_TABLE": state.COMPILED_TABLE,
        "CONTEXTS": state.CONTEXTS, "MIDST": state.MIDST, "SINK": state.SINK,
        "COUNTERS": state.WHOLE_COUNTERS if whole else state.GUEST_COUNTERS, "COUNTER_ROW": state.COUNTER_ROW,
        "SCOUNTOVF_ANSWERED": state.SCOUNTOVF_ANSWERED,
        "TRAP_FUEL": TRAP_FUEL, "TICK_NS": state.TICK_NS, "SATP_PPN": csr.SATP_PPN,
        "PTE_V": 1, "PTE_R": 2, "PTE_W": 4, "PTE_X": 8, "PTE_U": 16, "PTE_A": 64, "PTE_D": 128,
    }  # fmt: skip
    table |= {name: 8 * word for name, word in state.STANDING_WORDS.items()}
    table |= {
        **state.CALL_WORDS, "CALLS_AT": state.CALLS_AT, "CALL_ROW": 8 * state.CALL_ROW,
        "STANDING_TAKEN_MAX": state.STANDING_TAKEN_MAX,
        "STANDING_TOTAL": 8 * state.STANDING_TOTAL, "STANDING_STREAK_MAX": state.STANDING_STREAK_MAX,
    }  # fmt: skip
    table |= {f"HOLE_{name.upper()}": number for name, number in holes.NUMBER.items()}
    table |= {
        **holes.ROW_WORDS,
        "STENCIL_ROW": holes.ROW_SIZE,
        "STUB_TAKEN": holes.TAKEN,
        "STENCIL_LEAVE": holes.LEAVE * holes.ROW_SIZE,
        "NOTES": 8 * len(holes.HOLES),
        "LINES": holes.LINES,
        "TARGETS": holes.TARGETS,
        "LISTED": holes.LISTED,
        "STITCHED_PAGES": holes.PAGES,
    }
    table |= {name: getattr(holes, name) for name in holes.NAMED}
    table |= {f"STOP_{stop.name}": int(stop) for stop in exits.Stop}
    table |= {f"CSR_{number.name}": int(number) for number in csr.Csr}
    table |= {f"CAUSE_{cause.name}": int(cause) for cause in csr.Cause}
    table |= {f"IRQ_{irq.name}": int(irq) for irq in csr.Irq}
    table |= {name: value for name, value in vars(csr).items() if name.startswith("SSTATUS_")}
    table |= {name: value for name, value in vars(fields).items() if isinstance(value, int)}
    table |= {name: value for name, value in vars(soft).items() if isinstance(value, int)}
    return table


@lru_cache(maxsize=16)
def _source(file: str) -> str:
    """The text of a module of hart/."""
    return resources.files("vpmu.hart").joinpath(file).read_text()


def _functions(file: str) -> list[ast.FunctionDef]:
    return [node for node in ast.parse(_source(file)).body if isinstance(node, ast.FunctionDef)]


def privileged_functions(whole: bool = False) -> list[ast.FunctionDef]:
    """The functions of the package `privileged`, fresh trees that a reader may rewrite. `whole`: of a hart
    with all its modes.
    """
    modules = (*privileged.COMMON, *(privileged.WHOLE if whole else privileged.GUEST))
    functions = [node for name in modules for node in _functions(f"privileged/{name}.py")]
    return functions + csr_table.functions() if whole else functions


def stitcher_functions() -> list[ast.FunctionDef]:
    """The functions of `stencils/` in the semantics language, which the native engine alone has."""
    modules = ("stitch", "known", "neighbours", "values", "lines")
    return [node for name in modules for node in _functions(f"stencils/{name}.py")]


def soft_functions(whole: bool = False) -> list[ast.FunctionDef]:
    """The functions of `soft.py`, fresh trees that a reader may rewrite. What they set of a status register
    is another's business in a hart with all its modes (`accrue` in whole/csr_status).
    """
    return [node for node in _functions("soft.py") if not (whole and node.name == "accrue")]

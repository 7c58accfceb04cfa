"""The reference engine: the same instruction table and privileged functions, read as plain Python.

Slow and simple: one instruction per turn, every access walks its page tables, no decoded pages. It is the
oracle of the native engine in tests, and runs where llvmlite does not.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import cache, lru_cache

from vpmu.hart import program, state
from vpmu.hart.exits import Stop
from vpmu.hart.isa.fd_rows import FdRow, execute
from vpmu.hart.isa.instruction import Instruction, Kind
from vpmu.hart.isa.rv64fd import FD_BY_NAME, RM_SHIFT
from vpmu.hart.isa.table import Decoded, decode, unknown
from vpmu.hart.program import CONTINUE, EXIT, RESUME
from vpmu.hart.semantics import MASK, signed
from vpmu.hart.semantics.intrinsics import INTRINSICS
from vpmu.hart.semantics.to_python import to_python
from vpmu.spec.csr import SSTATUS_FS

_PC, _N = state.STATE["pc"], state.STATE["n"]
_LENGTH, _INSN = state.STATE["length"], state.STATE["insn"]
_FAULT, _EXIT, _CTX = state.STATE["fault"], state.STATE["exit"], state.STATE["ctx"]
_SSTATUS, _FFLAGS, _FRM = state.STATE["sstatus"], state.STATE["fflags"], state.STATE["frm"]
_FP_ON, _FP_OTHER = state.STATE["fp_on"], state.STATE["fp_other"]
_OTHER_SSTATUS = state.STATE["other_sstatus"]
_PMP_FINE = state.STATE["pmp_fine"]
_ISA, _BREAKPOINTS = state.STATE["isa"], state.SHARED["breakpoint_count"]
_DYNAMIC, _LAST_MODE = 7, 4

Expression = Callable[..., int]


@lru_cache(maxsize=2)
def _program_code(whole: bool) -> object:
    """All privileged functions as one compiled module, their names of numbers replaced by a namespace."""
    body = [to_python(node) for node in program.privileged_functions(whole)]
    return compile(ast.Module(body=body, type_ignores=[]), "privileged", "exec")  # type: ignore[arg-type]


@cache
def _expression(source: str) -> Expression:
    """A row's semantics as a function of (rs1, rs2, imm, pc, old)."""
    tree = ast.parse(f"lambda rs1, rs2, imm, pc, old: {source}", mode="eval")
    tree.body.body = to_python(tree.body.body)  # type: ignore[attr-defined]
    names = {name: intrinsic.python for name, intrinsic in INTRINSICS.items()}
    function: Expression = eval(compile(ast.fix_missing_locations(tree), source, "eval"), names)
    return function


class ReferenceEngine:
    """Runs one hart's state block; `run(budget)` is the native engine's `run(state, budget)`."""

    def __init__(self, block: state.Block, shared: state.Block, whole: bool = False) -> None:
        self.words, self.whole, self._shared = block.words, whole, shared.words
        self._base = block.address
        namespace: dict[str, object] = {name: intrinsic.python for name, intrinsic in INTRINSICS.items()}
        namespace |= program.constants(whole)
        namespace |= {"S": block.words, "M": shared.words, "context_base": self._context_base}
        exec(_program_code(whole), namespace)  # type: ignore[arg-type]
        self.call: dict[str, Callable[..., int]] = namespace  # type: ignore[assignment]
        remembered = ("find_region", "pmp_denies") if whole else ("find_region",)
        self._plain = {name: self.call[name] for name in remembered}
        self._known: dict[str, dict[tuple[int, ...], int]] = {name: {} for name in remembered}
        self._remembering = {name: self._once_per_page(name) for name in remembered}
        for name in ("write_pmpcfg", "write_pmpaddr") if whole else ():
            self.call[name] = self._forgetting(name)

    def _once_per_page(self, name: str) -> Callable[..., int]:
        """A function of (physical address, ...) that is asked once per page: regions are of pages, and PMP is
        where none of its entries is finer.
        """
        answer, known = self._plain[name], self._known[name]
        by_bytes = name == "pmp_denies"  # then the bytes of the access follow

        def remembering(physical: int, *others: int) -> int:
            if by_bytes and self.words[_PMP_FINE]:
                return answer(physical, *others)
            key = (physical >> 12, *others[by_bytes:])
            if key not in known:
                known[key] = answer(physical, *others)
            return known[key]

        return remembering

    def _forgetting(self, name: str) -> Callable[..., int]:
        change, known = self.call[name], self._known["pmp_denies"]

        def forgetting(*arguments: int) -> int:
            known.clear()
            return change(*arguments)

        return forgetting

    def _context_base(self) -> int:
        return (self.words[_CTX] - self._base) // 8

    def run(self, budget: int) -> int:
        """Run at most `budget` instructions; the number of what stopped the hart (exits.Stop)."""
        words, call = self.words, self.call
        call.update(self._remembering)  # between runs the machine may change its memory, or the hart's PMP
        action = call["begin_run"](budget)
        while action != EXIT:
            if not words[_N]:
                words[_EXIT] = Stop.BUDGET
                break
            action = self.step()
        stop = call["end_run"]()
        call.update(self._plain)
        for known in self._known.values():
            known.clear()
        return stop

    def step(self) -> int:
        """Execute one instruction; answers RESUME or EXIT, the state is final."""
        words, call = self.words, self.call
        pc = words[_PC]
        host = call["code_pointer"](pc)
        if words[_FAULT]:
            return words[_FAULT]
        if self._shared[_BREAKPOINTS] and call["is_breakpoint"](host) and call["stop_at"](host):
            return EXIT
        word = call["load16"](host)
        if word & 3 == 3:
            word |= call["fetch_half"](pc + 2 & MASK) << 16
            if words[_FAULT]:
                return words[_FAULT]
        decoded = decode(word)
        if decoded.row.needs and not words[_ISA] & call[decoded.row.needs]:  # type: ignore[operator]
            decoded = unknown(decoded.length)
        words[_LENGTH], words[_INSN] = decoded.length, word
        context, left = self._context_base(), words[_N]
        action = self._execute(decoded, pc)
        if action == CONTINUE:
            words[_PC] = words[_PC] + decoded.length & MASK
            words[_N] -= 1
            action = RESUME
        if words[_N] != left:  # it retired
            for event in (decoded.row.event, decoded.row.extra_event):
                if event:
                    words[context + state.CONTEXT[event]] += 1
        return action

    def _execute(self, decoded: Decoded, pc: int) -> int:
        words, call, row = self.words, self.call, decoded.row
        imm = decoded.imm & MASK
        if row.kind is Kind.SYSTEM:
            name = "no_hypervisor" if row.whole and not self.whole else row.semantics
            return call[name](decoded.rd, decoded.rs1, decoded.rs2, imm, row.size)
        rs1, rs2 = words[decoded.rs1], words[decoded.rs2]
        if row.name in FD_BY_NAME:
            return self._floating(decoded, FD_BY_NAME[row.name], rs1, rs2)
        match row.kind:
            case Kind.VALUE:
                words[decoded.rd] = _expression(row.semantics)(rs1, rs2, imm, pc, 0) & MASK
            case Kind.LOAD:
                value = call["slow_load"](rs1 + imm & MASK, row.size)
                if words[_FAULT]:
                    return words[_FAULT]
                words[decoded.rd] = self._extend(value, row)
            case Kind.STORE:
                call["slow_store"](rs1 + imm & MASK, row.size, rs2)
                if words[_FAULT]:
                    return words[_FAULT]
            case Kind.AMO:
                host = call["amo_pointer"](rs1, row.size)
                if words[_FAULT]:
                    return words[_FAULT]
                old = self._extend(call["load_sized"](host, row.size), row)
                new = _expression(row.semantics)(rs1, rs2, imm, pc, old)
                call["store_sized"](host, row.size, new & (1 << 8 * row.size) - 1)
                words[decoded.rd] = old
            case Kind.BRANCH:
                if _expression(row.semantics)(rs1, rs2, imm, pc, 0):
                    return self._jump(pc + imm)
            case Kind.JAL:
                words[decoded.rd] = pc + decoded.length & MASK
                return self._jump(pc + imm)
            case Kind.JALR:
                words[decoded.rd] = pc + decoded.length & MASK
                return self._jump(rs1 + imm & ~1)
        return CONTINUE

    def _floating(self, decoded: Decoded, row: FdRow, rs1: int, rs2: int) -> int:
        words, call, size = self.words, self.call, decoded.row.size
        if not (words[_FP_ON] if self.whole else words[_SSTATUS] & SSTATUS_FS):  # off, or not there
            return call["illegal_instruction"](0, 0, 0, 0, 0)
        imm = decoded.imm
        if row.format == "store":
            call["slow_store"](rs1 + imm & MASK, size, execute(row, rs1, rs2)[0])
            return words[_FAULT] or CONTINUE
        rs3, mode = 0, 0
        if row.format == "load":
            rs1 = call["slow_load"](rs1 + imm & MASK, size)
            if words[_FAULT]:
                return words[_FAULT]
        else:
            rs3, mode = words[imm & 0xFF], imm >> RM_SHIFT
            mode = words[_FRM] if mode == _DYNAMIC else mode
            if row.has_rm and mode > _LAST_MODE:
                return call["illegal_instruction"](0, 0, 0, 0, 0) if self.whole else call["leave_illegal"]()
        words[decoded.rd], flags = execute(row, rs1, rs2, rs3, mode)
        if flags or row.dest == "f":
            words[_FFLAGS] |= flags
            words[_SSTATUS] |= SSTATUS_FS
            words[_OTHER_SSTATUS] |= words[_FP_OTHER]
        return CONTINUE

    @staticmethod
    def _extend(value: int, row: Instruction) -> int:
        return signed(value, 8 * row.size) & MASK if row.sign_extend else value

    def _jump(self, target: int) -> int:
        self.words[_PC] = target & MASK
        self.words[_N] -= 1
        return RESUME

"""The semantics language: a small subset of Python with two readings, LLVM IR and plain Python.

Everything that an instruction, a trap or a page-table walk does is written once, as Python source over
unsigned 64-bit scalars, and read twice: `Emitter` turns it into LLVM IR for the native engine, `to_python`
into ordinary Python (every result masked to 64 bits) for the reference engine.

The subset: integer constants, local names, `+ - * & | ^ ~ << >>` (logical shift), unsigned comparisons,
`and or not`, `a if c else b`, `if/elif/else`, `while`, `return`, assignment, calls of `INTRINSICS` and of
other functions of the same program. `s.name`, `t.name` and `m.name` are words of the hart's state, its
current translation context and the block shared by all harts (see `state.py`); `s.x[i]` is an element of
the array that starts at word `X`.
"""

from __future__ import annotations

import ast
import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vpmu.hart import state
from vpmu.hart.syntax import parse_expression

MASK = (1 << 64) - 1
_BINARY = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul",
           ast.BitAnd: "and", ast.BitOr: "or", ast.BitXor: "xor",
           ast.LShift: "shl", ast.RShift: "lshr"}  # fmt: skip
_COMPARE = {ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "ult", ast.LtE: "ule", ast.Gt: "ugt", ast.GtE: "uge"}
_BLOCKS = {"s": state.STATE, "t": state.CONTEXT, "m": state.SHARED}


def signed(value: int, bits: int = 64) -> int:
    """Two's complement reading of the low `bits` of `value`."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


@dataclass(frozen=True, slots=True)
class Intrinsic:
    """A primitive: LLVM instructions with `{0}`, `{1}` for operands and `{a}`, `{b}`... for fresh names;
    the last line is the result.
    """

    ir: tuple[str, ...]
    python: Callable[..., int]


def _sext(bits: int) -> Intrinsic:
    return Intrinsic(
        (f"trunc i64 {{0}} to i{bits}", f"sext i{bits} {{a}} to i64"), lambda v: signed(v, bits) & MASK
    )


def _zext(bits: int) -> Intrinsic:
    mask = (1 << bits) - 1
    return Intrinsic((f"and i64 {{0}}, {mask}",), lambda v: v & mask)


def _load(bits: int, ctype: type[ctypes._SimpleCData[int]]) -> Intrinsic:
    lines = ["inttoptr i64 {0} to ptr", f"load i{bits}, ptr {{a}}, align 1"]
    if bits < 64:
        lines.append(f"zext i{bits} {{b}} to i64")
    return Intrinsic(tuple(lines), lambda p: ctype.from_address(p).value)


def _store(bits: int, ctype: type[ctypes._SimpleCData[int]]) -> Intrinsic:
    def write(pointer: int, value: int) -> int:
        ctype.from_address(pointer).value = value
        return 0

    value = [f"trunc i64 {{1}} to i{bits}"] if bits < 64 else []
    name = "{a}" if bits < 64 else "{1}"
    pointer = "{b}" if bits < 64 else "{a}"
    return Intrinsic(
        (*value, "inttoptr i64 {0} to ptr", f"!store i{bits} {name}, ptr {pointer}, align 1"), write
    )


def _wide_multiply(extend_a: str, extend_b: str, python: Callable[[int, int], int]) -> Intrinsic:
    return Intrinsic((f"{extend_a} i64 {{0}} to i128", f"{extend_b} i64 {{1}} to i128", "mul i128 {a}, {b}",
                      "lshr i128 {c}, 64", "trunc i128 {d} to i64"), python)  # fmt: skip


def _fill(pointer: int, byte: int, length: int) -> int:
    ctypes.memset(pointer, byte, length)
    return 0


def _count_zeros(value: int, bits: int, leading: bool) -> int:
    value &= (1 << bits) - 1
    if value == 0:
        return bits
    return bits - value.bit_length() if leading else (value & -value).bit_length() - 1


def _count(name: str, bits: int) -> Intrinsic:
    call = f"call i{bits} @llvm.{name}.i{bits}(i{bits} {{{'0' if bits == 64 else 'a'}}}, i1 false)"
    lines = (call,) if bits == 64 else ("trunc i64 {0} to i32", call, "zext i32 {b} to i64")
    return Intrinsic(lines, lambda v: _count_zeros(v, bits, name == "ctlz"))


def _divide(a: int, b: int) -> int:
    """Signed division that truncates."""
    size = abs(signed(a)) // abs(signed(b))
    return (size if (signed(a) < 0) == (signed(b) < 0) else -size) & MASK


INTRINSICS: dict[str, Intrinsic] = {
    "sext8": _sext(8), "sext16": _sext(16), "sext32": _sext(32), "sext24": _sext(24),
    "zext8": _zext(8), "zext16": _zext(16), "zext32": _zext(32),
    "load8": _load(8, ctypes.c_uint8), "load16": _load(16, ctypes.c_uint16),
    "load32": _load(32, ctypes.c_uint32), "load64": _load(64, ctypes.c_uint64),
    "store8": _store(8, ctypes.c_uint8), "store16": _store(16, ctypes.c_uint16),
    "store32": _store(32, ctypes.c_uint32), "store64": _store(64, ctypes.c_uint64),
    "sar": Intrinsic(("ashr i64 {0}, {1}",), lambda a, b: (signed(a) >> b) & MASK),
    "slt": Intrinsic(("icmp slt i64 {0}, {1}", "zext i1 {a} to i64"),
                     lambda a, b: int(signed(a) < signed(b))),
    "sdiv": Intrinsic(("sdiv i64 {0}, {1}",), _divide),
    "srem": Intrinsic(("srem i64 {0}, {1}",), lambda a, b: (a - b * _divide(a, b)) & MASK),
    "udiv": Intrinsic(("udiv i64 {0}, {1}",), lambda a, b: a // b),
    "urem": Intrinsic(("urem i64 {0}, {1}",), lambda a, b: a % b),
    "mulh": _wide_multiply("sext", "sext", lambda a, b: (signed(a) * signed(b) >> 64) & MASK),
    "mulhsu": _wide_multiply("sext", "zext", lambda a, b: (signed(a) * b >> 64) & MASK),
    "mulhu": _wide_multiply("zext", "zext", lambda a, b: a * b >> 64),
    "ctz64": _count("cttz", 64), "clz64": _count("ctlz", 64),
    "ctz32": _count("cttz", 32), "clz32": _count("ctlz", 32),
    "popcount": Intrinsic(("call i64 @llvm.ctpop.i64(i64 {0})",), lambda v: v.bit_count()),
    "bswap": Intrinsic(("call i64 @llvm.bswap.i64(i64 {0})",),
                       lambda v: int.from_bytes(v.to_bytes(8, "little"), "big")),
    "fill": Intrinsic(("inttoptr i64 {0} to ptr", "trunc i64 {1} to i8",
                       "!call void @llvm.memset.p0.i64(ptr {a}, i8 {b}, i64 {2}, i1 false)"), _fill),
}  # fmt: skip

DECLARATIONS = """
declare i64 @llvm.cttz.i64(i64, i1)
declare i64 @llvm.ctlz.i64(i64, i1)
declare i32 @llvm.cttz.i32(i32, i1)
declare i32 @llvm.ctlz.i32(i32, i1)
declare i64 @llvm.ctpop.i64(i64)
declare i64 @llvm.bswap.i64(i64)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
"""

Constants = Mapping[str, int]


class SemanticsError(Exception):
    """A piece of semantics uses something outside the language (an error of ours, found when the engine is
    built).
    """


class Emitter:
    """Writes LLVM IR: fresh names, labels, state access, and the expressions and statements of the
    semantics language.
    """

    def __init__(self, constants: Constants) -> None:
        self.lines: list[str] = []
        self.constants = constants
        self.values: dict[str, str] = {}  # names bound to an SSA value (operands)
        self.slots: dict[str, str] = {}  # names that live in an alloca (locals)
        self._fresh = 0
        self.block = "entry"  # label of the block that is being written, for phi nodes
        self.context_pointer: str | None = (
            None  # an SSA `ptr` to the translation context, where the caller has one
        )

    # -- plumbing

    def emit(self, line: str) -> None:
        self.lines.append("  " + line)

    def value(self, line: str) -> str:
        self._fresh += 1
        name = f"%v{self._fresh}"
        self.lines.append(f"  {name} = {line}")
        return name

    def binary(self, op: str, a: str | int, b: str | int) -> str:
        return self.value(f"{op} i64 {a}, {b}")

    def compare(self, relation: str, a: str | int, b: str | int) -> str:
        return self.value(f"icmp {relation} i64 {a}, {b}")

    def select(self, condition: str, a: str | int, b: str | int) -> str:
        return self.value(f"select i1 {condition}, i64 {a}, i64 {b}")

    def offset(self, pointer: str, distance: str | int) -> str:
        return self.value(f"getelementptr i8, ptr {pointer}, i64 {distance}")

    def load64(self, pointer: str) -> str:
        return self.value(f"load i64, ptr {pointer}, align 8")

    def load_pointer(self, pointer: str) -> str:
        return self.value(f"load ptr, ptr {pointer}, align 8")

    def pointer(self, address: str) -> str:
        return self.value(f"inttoptr i64 {address} to ptr")

    def integer(self, pointer: str) -> str:
        return self.value(f"ptrtoint ptr {pointer} to i64")

    def fork(self, condition: str, yes: str, no: str, weights: str = "") -> None:
        self.emit(f"br i1 {condition}, label %{yes}, label %{no}{', ' + weights if weights else ''}")

    def new_label(self, hint: str) -> str:
        self._fresh += 1
        return f"{hint}{self._fresh}"

    def label(self, name: str) -> None:
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
        return self.value(f"load i64, ptr {self.word_pointer(block, _BLOCKS[block][name])}, align 8")

    def store_word(self, block: str, name: str, value: str) -> None:
        self.emit(f"store i64 {value}, ptr {self.word_pointer(block, _BLOCKS[block][name])}, align 8")

    # -- expressions

    def constant(self, value: int) -> str:
        return str(signed(value))

    def fold(self, node: ast.expr) -> int | None:
        """The value of a constant expression, or None."""
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return int(node.value)
        if isinstance(node, ast.Name) and node.id in self.constants and node.id not in self.slots:
            return self.constants[node.id]
        if isinstance(node, ast.BinOp):
            left, right = self.fold(node.left), self.fold(node.right)
            if left is not None and right is not None:
                return _fold_binary(node.op, left, right)
        if isinstance(node, ast.UnaryOp):
            operand = self.fold(node.operand)
            if operand is not None:
                return {ast.Invert: ~operand, ast.USub: -operand}.get(type(node.op))
        return None

    def expression(self, source: str | ast.expr) -> str:
        """Emit an expression; returns its i64 value."""
        node = parse_expression(source).body if isinstance(source, str) else source
        folded = self.fold(node)
        if folded is not None:
            return self.constant(folded)
        match node:
            case ast.Name(id=name) if name in self.slots:
                return self.value(f"load i64, ptr {self.slots[name]}, align 8")
            case ast.Name(id=name) if name in self.values:
                return self.values[name]
            case ast.Attribute(value=ast.Name(id=block), attr=name):
                return self.load_word(block, name)
            case ast.Subscript(value=ast.Attribute(value=ast.Name(id="s"), attr=array), slice=index):
                return self.value(f"load i64, ptr {self._element(array, index)}, align 8")
            case ast.BinOp(left=left, op=op, right=right):
                a, b = self.expression(left), self.expression(right)
                return self.value(f"{_BINARY[type(op)]} i64 {a}, {b}")
            case ast.UnaryOp(op=ast.Invert(), operand=operand):
                return self.value(f"xor i64 {self.expression(operand)}, -1")
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self.value(f"sub i64 0, {self.expression(operand)}")
            case ast.Compare() | ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
                return self.value(f"zext i1 {self.condition(node)} to i64")
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self._if_expression(test, body, orelse)
            case ast.Call(func=ast.Name(id=name), args=args):
                return self.call(name, [self.expression(a) for a in args])
        raise SemanticsError(f"not in the semantics language: {ast.unparse(node)}")

    def condition(self, source: str | ast.expr) -> str:
        """Emit an expression as a truth value; returns its i1 value."""
        node = parse_expression(source).body if isinstance(source, str) else source
        match node:
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                a, b = self.expression(left), self.expression(right)
                return self.value(f"icmp {_COMPARE[type(op)]} i64 {a}, {b}")
            case ast.BoolOp(op=op, values=values):
                return self._short_circuit(isinstance(op, ast.And), values)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return self.value(f"xor i1 {self.condition(operand)}, true")
        return self.value(f"icmp ne i64 {self.expression(node)}, 0")

    def call(self, name: str, arguments: list[str]) -> str:
        intrinsic = INTRINSICS.get(name)
        if intrinsic is None:
            return self.value(
                f"call fastcc i64 @{name}({', '.join(['ptr %S'] + ['i64 ' + a for a in arguments])})"
            )
        fresh: dict[str, str] = {}
        result = "0"
        for letter, line in zip("abcdefgh", intrinsic.ir, strict=False):
            text = line.format(*arguments, **fresh)
            if text.startswith("!"):
                self.emit(text[1:])
            else:
                result = fresh[letter] = self.value(text)
        return "0" if intrinsic.ir[-1].startswith("!") else result

    def _element(self, array: str, index: ast.expr) -> str:
        base = {"x": state.X, "f": state.F}[array]
        position = self.expression(index)
        return self.word_pointer("s", position if base == 0 else self.value(f"add i64 {position}, {base}"))

    def _if_expression(self, test: ast.expr, body: ast.expr, orelse: ast.expr) -> str:
        yes, no, end = self.new_label("yes"), self.new_label("no"), self.new_label("end")
        self.emit(f"br i1 {self.condition(test)}, label %{yes}, label %{no}")
        incoming = []
        for name, branch in ((yes, body), (no, orelse)):
            self.label(name)
            incoming.append(f"[{self.expression(branch)}, %{self.block}]")
            self.emit(f"br label %{end}")
        self.label(end)
        return self.value(f"phi i64 {', '.join(incoming)}")

    def _short_circuit(self, is_and: bool, values: list[ast.expr]) -> str:
        end = self.new_label("end")
        incoming = []
        for part in values[:-1]:
            truth = self.condition(part)
            incoming.append(f"[{truth}, %{self.block}]")
            more = self.new_label("more")
            targets = (more, end) if is_and else (end, more)
            self.emit(f"br i1 {truth}, label %{targets[0]}, label %{targets[1]}")
            self.label(more)
        truth = self.condition(values[-1])
        incoming.append(f"[{truth}, %{self.block}]")
        self.emit(f"br label %{end}")
        self.label(end)
        return self.value(f"phi i1 {', '.join(incoming)}")

    # -- statements

    def statements(self, body: list[ast.stmt]) -> bool:
        """Emit a block; True when it ends in a return on every path."""
        return any(self._statement(statement) for statement in body)

    def _statement(self, node: ast.stmt) -> bool:
        match node:
            case ast.Return(value=value):
                self.emit(f"ret i64 {self.expression(value) if value else 0}")
                return True
            case ast.Assign(targets=[target], value=value):
                self._assign(target, self.expression(value))
            case ast.AugAssign(target=target, op=op, value=value):
                self._assign(target, self.expression(ast.BinOp(left=_as_load(target), op=op, right=value)))
            case ast.Expr(value=ast.Constant()):  # a docstring
                pass
            case ast.Expr(value=value):
                self.expression(value)
            case ast.If(test=test, body=body, orelse=orelse):
                return self._if(test, body, orelse)
            case ast.While(test=test, body=body):
                head, inside, end = self.new_label("head"), self.new_label("body"), self.new_label("end")
                self.emit(f"br label %{head}")
                self.label(head)
                self.emit(f"br i1 {self.condition(test)}, label %{inside}, label %{end}")
                self.label(inside)
                if not self.statements(body):
                    self.emit(f"br label %{head}")
                self.label(end)
            case _:
                raise SemanticsError(f"not in the semantics language: {ast.unparse(node)}")
        return False

    def _assign(self, target: ast.expr, value: str) -> None:
        match target:
            case ast.Name(id=name):
                self.emit(f"store i64 {value}, ptr {self.slots[name]}, align 8")
            case ast.Attribute(value=ast.Name(id=block), attr=name):
                self.store_word(block, name, value)
            case ast.Subscript(value=ast.Attribute(value=ast.Name(id="s"), attr=array), slice=index):
                self.emit(f"store i64 {value}, ptr {self._element(array, index)}, align 8")
            case _:
                raise SemanticsError(f"cannot assign to {ast.unparse(target)}")

    def _if(self, test: ast.expr, body: list[ast.stmt], orelse: list[ast.stmt]) -> bool:
        yes, no, end = self.new_label("yes"), self.new_label("no"), self.new_label("end")
        self.emit(f"br i1 {self.condition(test)}, label %{yes}, label %{no}")
        returns = []
        for name, branch in ((yes, body), (no, orelse)):
            self.label(name)
            returns.append(self.statements(branch))
            if not returns[-1]:
                self.emit(f"br label %{end}")
        if all(returns):
            return True
        self.label(end)
        return False

    def function(self, node: ast.FunctionDef) -> None:
        """Emit a whole function; every argument and local is an i64, `%S` comes first."""
        arguments = [a.arg for a in node.args.args]
        names = [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
        parameters = ", ".join(["ptr %S", *(f"i64 %{a}" for a in arguments)])
        self.lines.append(f"define internal fastcc i64 @{node.name}({parameters}) {{")
        self.label("entry.")  # with a dot: no argument can have that name
        for name in dict.fromkeys(arguments + names):
            self.slots[name] = f"%{name}.slot"
            self.emit(f"%{name}.slot = alloca i64, align 8")
        for name in arguments:
            self.emit(f"store i64 %{name}, ptr %{name}.slot, align 8")
        if not self.statements(node.body):
            self.emit("ret i64 0")
        self.lines.append("}")


def _fold_binary(op: ast.operator, left: int, right: int) -> int | None:
    match op:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.BitOr():
            return left | right
        case ast.BitAnd():
            return left & right
        case ast.LShift():
            return left << right
    return None


def _as_load(target: ast.expr) -> ast.expr:
    return ast.parse(ast.unparse(target), mode="eval").body


class _ToPython(ast.NodeTransformer):
    """Rewrite state access to subscripts of memoryviews and mask whatever can leave 64 bits."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        block = node.value
        if not isinstance(block, ast.Name) or block.id not in _BLOCKS:
            raise SemanticsError(f"not in the semantics language: {ast.unparse(node)}")
        index = ast.Constant(_BLOCKS[block.id][node.attr])
        if block.id == "t":
            offset = ast.parse(f"context_base() + {_BLOCKS[block.id][node.attr]}", mode="eval").body
            return ast.Subscript(value=ast.Name("S", ast.Load()), slice=offset, ctx=node.ctx)
        return ast.Subscript(
            value=ast.Name("S" if block.id == "s" else "M", ast.Load()), slice=index, ctx=node.ctx
        )

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        if isinstance(node.value, ast.Attribute) and node.value.attr in ("x", "f"):
            base = {"x": state.X, "f": state.F}[node.value.attr]
            index = ast.BinOp(left=self.visit(node.slice), op=ast.Add(), right=ast.Constant(base))
            return ast.Subscript(value=ast.Name("S", ast.Load()), slice=index, ctx=node.ctx)
        raise SemanticsError(f"not in the semantics language: {ast.unparse(node)}")

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        if isinstance(node.op, ast.BitAnd | ast.BitOr | ast.BitXor | ast.RShift):
            return node
        return ast.BinOp(left=node, op=ast.BitAnd(), right=ast.Constant(MASK))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        self.generic_visit(node)
        if isinstance(node.op, ast.Not):
            return node
        return ast.BinOp(left=node, op=ast.BitAnd(), right=ast.Constant(MASK))

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.stmt:
        assign = ast.Assign(
            targets=[node.target], value=ast.BinOp(left=_as_load(node.target), op=node.op, right=node.value)
        )
        visited = self.visit(assign)
        assert isinstance(visited, ast.stmt)
        return visited


def to_python(source: ast.AST) -> ast.AST:
    """The plain-Python reading of a piece of semantics: a tree ready for `compile`."""
    tree: ast.AST = ast.fix_missing_locations(_ToPython().visit(source))
    return tree

"""The reading of the semantics language (`semantics/`) as LLVM IR."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from string import ascii_lowercase

from vpmu.hart.generator.emitter import Emitter
from vpmu.hart.semantics import ARRAYS, SemanticsError
from vpmu.hart.semantics.intrinsics import INTRINSICS
from vpmu.hart.semantics.syntax import as_load, parse_expression

_BINARY = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul",
           ast.BitAnd: "and", ast.BitOr: "or", ast.BitXor: "xor",
           ast.LShift: "shl", ast.RShift: "lshr"}  # fmt: skip
_COMPARE = {ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "ult", ast.LtE: "ule", ast.Gt: "ugt", ast.GtE: "uge"}

Constants = Mapping[str, int]
"""The names that stand for numbers (`program.constants`)."""


class Language(Emitter):
    """Emits expressions, conditions, statements and functions."""

    def __init__(self, constants: Constants) -> None:
        super().__init__()
        self.constants = constants
        self.values: dict[str, str] = {}  # names bound to an SSA value (operands)
        self.slots: dict[str, str] = {}  # names that live in an alloca (locals)

    # -- expressions

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
        """Call a primitive, emitted in place, or a function of the program; its i64 result."""
        intrinsic = INTRINSICS.get(name)
        if intrinsic is None:
            return self.value(
                f"call fastcc i64 @{name}({', '.join(['ptr %S'] + ['i64 ' + a for a in arguments])})"
            )
        fresh: dict[str, str] = {}
        result = "0"
        for letter, line in zip(ascii_lowercase, intrinsic.ir, strict=False):
            text = line.format(*arguments, **fresh)
            if text.startswith("!"):
                self.emit(text[1:])
            else:
                result = fresh[letter] = self.value(text)
        return "0" if intrinsic.ir[-1].startswith("!") else result

    def _element(self, array: str, index: ast.expr) -> str:
        base = ARRAYS[array]
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
                self._assign(target, self.expression(ast.BinOp(left=as_load(target), op=op, right=value)))
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

"""The plain-Python reading of the semantics language."""

from __future__ import annotations

import ast

from vpmu.hart.semantics import ARRAYS, BLOCKS, MASK, SemanticsError
from vpmu.hart.semantics.syntax import as_load


class _ToPython(ast.NodeTransformer):
    """Rewrite state access to subscripts of memoryviews and mask whatever can leave 64 bits."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        block = node.value
        if not isinstance(block, ast.Name) or block.id not in BLOCKS:
            raise SemanticsError(f"not in the semantics language: {ast.unparse(node)}")
        index = ast.Constant(BLOCKS[block.id][node.attr])
        if block.id == "t":
            offset = ast.parse(f"context_base() + {BLOCKS[block.id][node.attr]}", mode="eval").body
            return ast.Subscript(value=ast.Name("S", ast.Load()), slice=offset, ctx=node.ctx)
        return ast.Subscript(
            value=ast.Name("S" if block.id == "s" else "M", ast.Load()), slice=index, ctx=node.ctx
        )

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        if isinstance(node.value, ast.Attribute) and node.value.attr in ARRAYS:
            base = ARRAYS[node.value.attr]
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
            targets=[node.target], value=ast.BinOp(left=as_load(node.target), op=node.op, right=node.value)
        )
        visited = self.visit(assign)
        assert isinstance(visited, ast.stmt)
        return visited


def to_python(source: ast.AST) -> ast.AST:
    """The plain-Python reading of a piece of semantics: a tree ready for `compile`."""
    tree: ast.AST = ast.fix_missing_locations(_ToPython().visit(source))
    return tree

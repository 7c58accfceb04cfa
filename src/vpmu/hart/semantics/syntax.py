"""Source of the semantics language to syntax trees, each text once."""

from __future__ import annotations

import ast
from functools import cache


@cache
def parse_expression(source: str) -> ast.Expression:
    """The tree of one expression, shared by all who ask: not to be changed. SyntaxError when it is none.

    The hot tier's thread must only ask for texts that are known already (`regions.find.prepare`): CPython
    keeps the depth of a parse in state that all threads share (python/cpython#106905), so two that parse at
    once can each be told `SystemError: AST constructor recursion depth mismatch`.
    """
    return ast.parse(source, mode="eval")


def as_load(target: ast.expr) -> ast.expr:
    """What is assigned to, as an expression that reads it."""
    return ast.parse(ast.unparse(target), mode="eval").body

"""Python source to syntax tree, safe beside the hot tier's compiler thread.

CPython keeps `ast.parse`'s depth check in state that all threads share (python/cpython#106905): two
threads parsing at once can each be told `SystemError: AST constructor recursion depth mismatch`. The
hart parses on two threads.
"""

from __future__ import annotations

import ast
import threading

_ONE_AT_A_TIME = threading.Lock()


def parse_expression(source: str) -> ast.Expression:
    """The tree of one expression; SyntaxError when it is none."""
    with _ONE_AT_A_TIME:
        return ast.parse(source, mode="eval")


def parse_module(source: str) -> ast.Module:
    """The tree of a module's statements; SyntaxError when it is none."""
    with _ONE_AT_A_TIME:
        return ast.parse(source)

"""Short words for large values: what a person sees of a result in a Python prompt."""

from __future__ import annotations

from collections.abc import Mapping

LONGEST, MOST = 32, 4
"""Bytes, and items, that are shown as they are."""


def brief(value: object, depth: int = 2) -> str:
    """`value` as repr has it, but large bytes, texts and collections by their size, and so whatever lies
    deeper than `depth` collections.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return repr(bytes(value)) if len(value) <= LONGEST else f"<{len(value):,} bytes>"
    if isinstance(value, str):
        return repr(value) if len(value) <= 8 * LONGEST else f"<{len(value):,} characters>"
    if isinstance(value, Mapping):
        if len(value) > 2 * MOST or not depth:
            return f"<{len(value):,} entries>"
        items = (f"{brief(key, depth - 1)}: {brief(item, depth - 1)}" for key, item in value.items())
        return f"{{{', '.join(items)}}}"
    if isinstance(value, list | tuple | set | frozenset) and not hasattr(value, "_asdict"):
        if len(value) > MOST or not depth:
            return f"<{len(value):,} items>"
        return f"[{', '.join(brief(item, depth - 1) for item in value)}]"
    return repr(value)


class Brief:
    """For dataclasses with `repr=False`: a repr of one line, however much they hold."""

    __slots__ = ()

    def __repr__(self) -> str:
        fields: Mapping[str, object] = getattr(self, "__dataclass_fields__")  # noqa: B009 (not on this class)
        shown = ", ".join(f"{name}={brief(getattr(self, name))}" for name in fields)
        return f"{type(self).__name__}({shown})"

    def _repr_html_(self) -> str:
        from .rows import html_table

        fields: Mapping[str, object] = getattr(self, "__dataclass_fields__")  # noqa: B009 (not on this class)
        shown = [(name, _in_a_cell(getattr(self, name))) for name in fields]
        return html_table((type(self).__name__, ""), shown)


def _in_a_cell(value: object) -> object:
    return value if isinstance(value, int | str) and not isinstance(value, bool) else brief(value)

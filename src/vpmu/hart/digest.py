"""The digest that names and guards compiled code."""

from __future__ import annotations

try:
    # Python's own, past hashlib: to import that loads OpenSSL, a fortieth of the start of `vpmu run`
    from _blake2 import blake2b
except ImportError:  # an interpreter without this module
    from hashlib import blake2b

__all__ = ["blake2b", "digest"]


def digest(*parts: bytes) -> bytes:
    """32 bytes that stand for these bytes in this order."""
    state = blake2b(digest_size=32)
    for part in parts:
        state.update(part)
    return state.digest()

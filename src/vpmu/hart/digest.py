"""Digests by Python's own code, past hashlib: that loads OpenSSL, a fortieth of the start of `vpmu run`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import blake2b, sha256
else:
    try:
        from _blake2 import blake2b

        if sys.version_info >= (3, 12):
            from _sha2 import sha256
        else:
            from _sha256 import sha256
    except ImportError:  # an interpreter without these modules
        from hashlib import blake2b, sha256

__all__ = ["blake2b", "digest", "sha256"]


def digest(*parts: bytes) -> bytes:
    """32 bytes that stand for these bytes in this order."""
    state = blake2b(digest_size=32)
    for part in parts:
        state.update(part)
    return state.digest()

"""Releases as numbers, and which of them the table of behaviours speaks about."""

from __future__ import annotations

from functools import cache

Release = tuple[int, ...]
"""(7, 2, 13). A release of two numbers is the first of its series."""

LINUX_RANGE = ("6.3", "7.3")
"""First and last series of Linux: before 6.3 KVM has no virtual PMU; 7.3 was read as release candidate."""
OPENSBI_RANGE = ("1.1", "1.9")
RECORDED = {"6.12": "6.12.107", "7.2": "7.2.13"}
"""Series of Linux of which a release was recorded from a real run: what the series' name stands for. Of any
other series the name stands for its first release.
"""
STABLE_READ = {"6.9": "6.9.12", "6.12": "6.12.117", "7.2": "7.2.13"}
"""The newest stable release of a series that was looked through for backports (in the changelogs of Debian's
package linux). Beyond it, and in other series, a stable release is taken to be as the last that is known.
"""


@cache
def parse_release(text: str) -> Release:
    """The numbers of `6.12` or `6.12.117`. Raises ValueError."""
    parts = text.split(".")
    numbers = tuple(int(part) for part in parts if part.isascii() and part.isdecimal() and len(part) < 4)
    if len(parts) not in (2, 3) or text != ".".join(map(str, numbers)):
        raise ValueError(f"not a release: {text!r}")
    return numbers


def known_linux(release: str) -> bool:
    """Whether this release of Linux was looked at: the first of a series in the range, or a stable one up to
    the newest that was read.
    """
    numbers = parse_release(release)
    first, last = map(parse_release, LINUX_RANGE)
    if not first <= numbers[:2] <= last:
        return False
    newest = STABLE_READ.get(series_of(release))
    return not any(numbers[2:]) or (newest is not None and numbers <= parse_release(newest))


def series_of(release: str) -> str:
    """`6.12` of `6.12.117`."""
    return ".".join(release.split(".")[:2])


def linux_version_code(release: str) -> int:
    """LINUX_VERSION_CODE of a release such as 6.12.107."""
    major, minor, patch = (*parse_release(release), 0, 0)[:3]
    return major << 16 | minor << 8 | min(patch, 255)


def linux_release(code: int) -> str:
    """The release of a LINUX_VERSION_CODE: `6.12.117`, `7.3` where the patch is 0."""
    major, minor, patch = code >> 16, code >> 8 & 0xFF, code & 0xFF
    return f"{major}.{minor}.{patch}" if patch else f"{major}.{minor}"

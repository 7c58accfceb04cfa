"""A profile of one's own: a TOML file that says what it is like, and in what it differs from that.

    base = "kvm-6.12.117"            # the name of a profile
    name = "my-kernel"               # without it the file's name
    summary = "6.12.117 with our patch"
    with = ["shmem-copy-leaked"]     # behaviours beside those of the base
    without = ["info-beyond-last"]
    release = "6.12.118"             # what BASE reports; without it the base's

Only `base` must be there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ..errors import FileError, VpmuError
from ..files import read_toml
from .profiles import IMPL_ID_KVM, IMPL_ID_OPENSBI, PROFILES, Profile, changed, get_profile
from .releases import linux_version_code, parse_release

_KEYS = ("base", "name", "summary", "with", "without", "release")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


class _Bad(VpmuError):
    """One value of the file does not fit."""


def read_profile(path: str | Path) -> Profile:
    """The profile in a TOML file. Raises FileError: no such file, no TOML, or a value that does not fit."""
    content, _ = read_toml(path, "profile")
    try:
        return _profile(content, Path(path).stem)
    except VpmuError as error:
        raise FileError(path, error.what, expected=error.expected, got=error.got, layer="profile") from None


def _profile(content: Mapping[str, object], stem: str) -> Profile:
    for key in content:
        if key not in _KEYS:
            from ..errors import UnknownNameError

            raise UnknownNameError("key", key, _KEYS)
    base_name = _text(content, "base")
    if base_name.endswith(".toml"):
        raise _Bad("base", expected="the name of a profile", got=base_name)
    base = get_profile(base_name)
    name = _text(content, "name", stem)
    if not _NAME.fullmatch(name) or name in PROFILES:
        raise _Bad("name", expected="letters, digits, . _ + - and no profile of vpmu's", got=repr(name)[:80])
    profile = replace(
        changed(base, _names(content, "with"), _names(content, "without")),
        name=name,
        summary=_text(content, "summary", f"as {base_name}, with changes"),
        base=base_name,
    )
    if "release" not in content:
        return profile
    release = _text(content, "release")
    return replace(profile, release=release, impl_version=_version(release, base))


def _version(text: str, base: Profile) -> int:
    try:
        numbers = parse_release(text)
    except ValueError:
        raise _Bad("release", expected='numbers such as "6.12.118"', got=repr(text)[:40]) from None
    if base.impl_id == IMPL_ID_KVM:
        return linux_version_code(text)
    if base.impl_id == IMPL_ID_OPENSBI:
        return numbers[0] << 16 | numbers[1]
    raise _Bad("release", expected="none: the base is the specification", got=text)


def _text(content: Mapping[str, object], key: str, default: str = "") -> str:
    value = content.get(key, default)
    if not isinstance(value, str) or not value:
        raise _Bad(key, expected="a text", got="none" if key not in content else repr(value)[:60])
    return value


def _names(content: Mapping[str, object], key: str) -> list[str]:
    value = content.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _Bad(key, expected="a list of behaviours", got=repr(value)[:60])
    return value


def as_toml(profile: Profile, heading: str = "") -> str:
    """The file that `read_profile` reads back as `profile`, from its base on."""
    base = PROFILES[profile.base]
    lines = [f"# {line}" for line in heading.splitlines()]
    lines += [f"base = {_quoted(profile.base)}", f"name = {_quoted(profile.name)}"]
    lines.append(f"summary = {_quoted(profile.summary)}")
    if profile.release != base.release:
        lines.append(f"release = {_quoted(profile.release)}")
    for key, behaviours in (
        ("with", profile.behaviours - base.behaviours), ("without", base.behaviours - profile.behaviours)
    ):  # fmt: skip
        names = sorted(behaviour.name for behaviour in behaviours)
        if names:
            lines += [f"{key} = [", *(f"    {_quoted(name)}," for name in names), "]"]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A basic string of TOML, on one line."""
    escaped = "".join(
        f"\\u{ord(c):04x}" if ord(c) < 0x20 or ord(c) == 0x7F else f"\\{c}" if c in '\\"' else c for c in text
    )
    return f'"{escaped}"'

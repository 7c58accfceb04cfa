"""What a machine's harts have: ISA strings, and QEMU's words for a CPU's properties.

The names are the ISA manual's. What every hart of ours has cannot be taken away; what one can have or lack is
in `hart.extensions.ISA_BITS`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from vpmu.errors import UnknownNameError, UsageError
from vpmu.hart.extensions import GUEST_ISA
from vpmu.profiles.profiles import IMPL_ID_KVM, Profile
from vpmu.profiles.releases import parse_release
from vpmu.vmm import devicetree

ALWAYS = frozenset(devicetree.DEFAULT_ISA) - {"sscofpmf"}
"""What all harts have."""
SWITCHABLE = (
    "h", "sstc", "sscofpmf", "smstateen", "smaia", "ssaia", "svadu", "svpbmt", "svnapot", "svinval",
    "zicbom", "zicbop", "zicboz", "zawrs", "zbkb", "zfh", "zihintpause", "zihintntl",
)  # fmt: skip
"""What a hart with all its modes can have."""
IMPLIED = frozenset(
    """
    zca zcd zaamo zalrsc zmmul zicclsm svade za64rs ziccif ziccrse ziccamoa zama16b zic64b sv39 sv48 svbare
    ssccptr sscounterenw sstvala sstvecd ssu64xl shcounterenw shtvala shvstvala shvstvecd shvsatpa shgatpa
    """.split()  # noqa: SIM905 - rows of names
)
"""Parts of what all harts have, and names for how they behave: accepted, and nothing changes."""
FIRMWARE_ISA = ("h", "sstc", "sscofpmf")
"""What a hart has under firmware where nothing is said."""
DEFAULT_ISA = frozenset({"sstc"})
"""What a guest of a model has where nothing is said: as on QEMU's `virt`, of which the recorded hosts are."""
KVM_SINCE = {
    "zicboz": (6, 4), "svnapot": (6, 5), "zbkb": (6, 8), "zfh": (6, 8), "zihintntl": (6, 8), "zawrs": (6, 11),
    "zicbop": (6, 18),
    "zbb": (6, 4), "zba": (6, 6), "zbs": (6, 6), "zicond": (6, 7), "zbc": (6, 8), "zcb": (6, 11),
}  # fmt: skip
"""First series of Linux whose KVM gives an extension to guests (its merge, "KVM/riscv changes"); what is not
here is older than every profile. Those of ALWAYS work before that, too: no bit of the hart switches them off,
so KVM names them or not (kvm_riscv_vcpu_isa_disable_allowed). Zicsr, Zifencei, Zicntr and Zihpm, for which
it has registers since 6.6, were part of the base before they had names.
"""
_LETTERS = "imafdc"


def default_isa(has_firmware: bool = False) -> frozenset[str]:
    """What a machine's harts have of SWITCHABLE where nothing is said."""
    return frozenset() if has_firmware else DEFAULT_ISA


def parse(text: str, words_begin_with: Iterable[str] = FIRMWARE_ISA) -> frozenset[str]:
    """What an ISA string (`rv64imafdch_sstc_sscofpmf`) or QEMU's CPU words (`rv64,h=true,sstc=false`) names
    beyond what all harts have. `words_begin_with`: what the words switch on and off.

    Raises UsageError for RV32, a base letter that is missing, and what contradicts itself; UnknownNameError
    for an extension that no hart of ours has.
    """
    lower = text.strip().lower()
    if not lower.startswith("rv64"):
        raise UsageError("ISA", expected="one that begins with rv64", got=repr(text))
    names = _of_words(lower, words_begin_with) if "," in lower or lower == "rv64" else _of_string(lower)
    for name in sorted(names):
        if name not in ALWAYS and name not in SWITCHABLE and name not in IMPLIED:
            raise UnknownNameError("extension", name, [*ALWAYS, *SWITCHABLE], layer="vmm")
    if {"svade", "svadu"} <= names:
        raise UsageError("ISA", expected="svade or svadu", got="both")
    return frozenset(names) & frozenset(SWITCHABLE)


def _of_string(text: str) -> set[str]:
    letters, *rest = text.removeprefix("rv64").split("_")
    # multi-letter extensions may follow the single letters without an underscore: rv64gcsstc is nobody's, but
    # rv64imafdczicsr is legal (ISA manual, "ISA Extension Naming Conventions")
    for position, letter in enumerate(letters):
        if letter in "zsx":
            letters, rest = letters[:position], [letters[position:], *rest]
            break
    letters = re.sub(r"\d+(p\d+)?", "", letters).replace("g", "imafd")  # versions: rv64i2p1m2p0
    missing = [letter for letter in _LETTERS if letter not in letters]
    if missing:
        raise UsageError(
            "ISA", expected=f"at least rv64{_LETTERS}, which all harts of ours have",
            got=f"{text!r} without {', '.join(missing)}",
        )  # fmt: skip
    return {*letters, *(re.sub(r"\d+p\d+$", "", name) for name in rest if name)}


def _of_words(text: str, begin_with: Iterable[str]) -> set[str]:
    _, *words = text.split(",")
    chosen: dict[str, bool] = dict.fromkeys(begin_with, True)
    for word in words:
        name, equals, value = word.partition("=")
        if value not in ("true", "false", "on", "off") or not equals:
            raise UsageError("CPU property", expected="NAME=true or NAME=false", got=repr(word))
        wanted = value in ("true", "on")
        if name in ALWAYS and not wanted:
            raise UsageError("CPU property", expected=f"{name}=true: all harts of ours have it", got=word)
        chosen[name] = wanted
    for name in chosen:
        if name not in ALWAYS and name not in SWITCHABLE and name not in IMPLIED:
            raise UnknownNameError("extension", name, [*ALWAYS, *SWITCHABLE], layer="vmm")
    return {name for name, wanted in chosen.items() if wanted} | set(_LETTERS)


def of_guests(profile: Profile) -> frozenset[str]:
    """What a guest under a profile can have where the host's harts have it."""
    if profile.impl_id != IMPL_ID_KVM:
        return GUEST_ISA
    series = parse_release(profile.release or "6.12")[:2]
    return frozenset(name for name in GUEST_ISA if KVM_SINCE.get(name, series) <= series)


def unnamed(profile: Profile) -> frozenset[str]:
    """What a guest's hart has, and yet KVM of the profile has no name for it: its device tree is silent."""
    if profile.impl_id != IMPL_ID_KVM:
        return frozenset()
    series = parse_release(profile.release or "6.12")[:2]
    return frozenset(name for name in ALWAYS if KVM_SINCE.get(name, series) > series)


def check_guest(isa: Iterable[str], profile: Profile) -> None:
    """Raise UsageError for what a profile of KVM does not give to guests."""
    missing = (frozenset(isa) & GUEST_ISA) - of_guests(profile)
    for name in sorted(missing):
        since = ".".join(map(str, KVM_SINCE[name]))
        raise UsageError(
            f"ISA under {profile.name}", expected=f"no {name}, new in KVM of Linux {since}", got=name
        )


def check(isa: Iterable[str], *, has_sscofpmf: bool, answered_by_kvm: bool) -> None:
    """Raise UsageError where an ISA does not go with the rest of the machine."""
    names = frozenset(isa)
    if "sscofpmf" in names and not has_sscofpmf:
        raise UsageError("ISA", expected="no sscofpmf, which the host PMU lacks", got="sscofpmf")
    missing = names - GUEST_ISA - {"sscofpmf"}
    if answered_by_kvm and missing:
        raise UsageError(
            "ISA", expected="a profile of firmware (opensbi-1.6, spec-3.0), or --firmware, below it",
            got=f"{', '.join(sorted(missing))} under a profile of KVM",
        )  # fmt: skip

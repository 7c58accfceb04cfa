"""Profiles: which behaviours an implementation has, and the numbers that it reports about itself.

A profile is computed for a release: `kvm-6.12.117`, `opensbi-1.7`. The name of a series stands for the
release of it that was recorded from a real run, else for its first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum

from ..errors import UnknownNameError, UsageError
from .behaviour import Behaviour
from .behaviours import BEHAVIOURS, B
from .opensbi_behaviours import OB
from .releases import (
    LINUX_RANGE,
    OPENSBI_RANGE,
    RECORDED,
    Release,
    known_linux,
    linux_version_code,
    parse_release,
    series_of,
)


class SbiExtension(IntEnum):
    """Numbers by which user space enables and disables extensions per vCPU (enum KVM_RISCV_SBI_EXT_ID); BASE
    is not among them.
    """

    V01 = 0
    TIME = 1
    IPI = 2
    RFENCE = 3
    SRST = 4
    HSM = 5
    PMU = 6
    EXPERIMENTAL = 7
    VENDOR = 8
    DBCN = 9
    STA = 10
    SUSP = 11
    FWFT = 12
    MPXY = 13


SBI_1_0 = 0x0100_0000
SBI_2_0 = 0x0200_0000
SBI_3_0 = 0x0300_0000
IMPL_ID_OPENSBI = 1
IMPL_ID_KVM = 3
IMPL_ID_NONE = 0x7670_6D75
"""Not registered ("vpmu" in ASCII): the specification as such is nobody's implementation."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One implementation: its behaviours and its data.

    `extensions` gives each extension that exists there, and whether it is enabled unless user space says
    otherwise. `base` is the name that `get_profile` takes for what this profile was made of, `release` the
    release of Linux or OpenSBI, empty for neither.
    """

    name: str
    summary: str
    behaviours: frozenset[Behaviour]
    extensions: Mapping[SbiExtension, bool] = field(hash=False)
    sbi_version: int = SBI_3_0
    impl_id: int = IMPL_ID_KVM
    impl_version: int = 0
    raw_mask: int = (1 << 48) - 1
    """Bits of event_data that a raw event (type 2) has."""
    raw_v2_mask: int = (1 << 56) - 1
    """Bits of event_data that a raw event of version 2 (type 3) has."""

    config_registers: int = 7
    isa_registers: int = 25
    """How many of these ONE_REG lists on the recorded host (6.12.107; 7.2.13 has more)."""

    base: str = ""
    release: str = ""

    has: Callable[[Behaviour], bool] = field(init=False, repr=False, compare=False)
    """has(behaviour): True where the implementation behaves so."""

    def __post_init__(self) -> None:
        # The set's own method: every step of every call asks, and a Python function costs more than the
        # answer.
        object.__setattr__(self, "has", self.behaviours.__contains__)
        if not self.base:
            object.__setattr__(self, "base", self.name)


_FEATURES = frozenset({B.SNAPSHOT, B.OVERFLOW_INTERRUPT, B.FW_READ_HI, B.EVENT_GET_INFO, B.RAW_V2})
_OPENSBI_FEATURES = {
    B.FW_READ_HI: (1, 3), B.EVENT_GET_INFO: (1, 6), B.RAW_V2: (1, 6), B.HART_ID_TRUNCATED: (1, 1),
}  # fmt: skip
"""Features of the specification that OpenSBI has since a release, and what it does as KVM does: its hart ids
have 32 bits, too (run of OpenSBI 1.6).
"""

_NOT_IN_SPECIFICATION = (SbiExtension.EXPERIMENTAL, SbiExtension.VENDOR, SbiExtension.MPXY)
"""User space's ranges, and an extension that is not modelled."""

_OFF_BY_DEFAULT = frozenset({B.CSR_ILLEGAL_WITHOUT_CONFIG, B.LEGACY_NOT_BUILT})
"""Depend on how the host kernel was built, not on its release."""

_KVM_EXTENSIONS: dict[SbiExtension, tuple[Release, bool]] = {
    **dict.fromkeys(
        (SbiExtension.V01, SbiExtension.TIME, SbiExtension.IPI, SbiExtension.RFENCE, SbiExtension.SRST,
         SbiExtension.HSM, SbiExtension.PMU, SbiExtension.EXPERIMENTAL, SbiExtension.VENDOR),
        ((6, 3), True),
    ),
    SbiExtension.DBCN: ((6, 7), False),
    SbiExtension.STA: ((6, 8), True),
    SbiExtension.SUSP: ((6, 13), False),
    SbiExtension.FWFT: ((6, 18), True),
    SbiExtension.MPXY: ((6, 19), False),
}  # fmt: skip
"""First series of Linux that has it, and whether it is enabled unless user space says otherwise."""

_OPENSBI_EXTENSIONS = (
    SbiExtension.V01, SbiExtension.TIME, SbiExtension.IPI, SbiExtension.RFENCE, SbiExtension.SRST,
    SbiExtension.HSM, SbiExtension.PMU, SbiExtension.DBCN,
)  # fmt: skip

_QEMU_7_2 = frozenset(
    {OB.QEMU_STOPPED_COUNTER_LOST, OB.QEMU_ONE_COUNTER_PER_EVENT, OB.QEMU_TIME_IGNORES_SCOUNTEREN}
)

_SUMMARIES = {
    "kvm-6.9": "KVM before the fix 2196c066f138: a perf event that cannot be had ends KVM_RUN",
    "kvm-6.10": "KVM with the fix, the snapshot page and overflow interrupts, as first released",
    "kvm-7.3": "KVM of Linux 7.3, read as release candidate",
    "opensbi-1.1": "OpenSBI 1.1 on QEMU 7.2, as Debian 12 has them: an early PMU extension of SBI 1.0",
    "opensbi-1.6": "OpenSBI 1.6, the firmware itself: the guest runs in S mode on its hart; recorded",
}


def _behaviours(project: str, release: Release) -> frozenset[Behaviour]:
    return frozenset(b for b in BEHAVIOURS.values() if b.project == project and b.in_release(release))


def _specification() -> Profile:
    return Profile(
        "spec-3.0",
        "the specification, strictly; where it leaves a choice, the one that changes least",
        _FEATURES,
        dict.fromkeys((e for e in SbiExtension if e not in _NOT_IN_SPECIFICATION), True),
        impl_id=IMPL_ID_NONE,
        impl_version=1,
        release="3.0",
    )


def _kvm(name: str, release: str) -> Profile:
    """KVM of a release of Linux."""
    if release == series_of(release):
        release = RECORDED.get(release, release)
    numbers = parse_release(release)
    series = numbers[:2]
    summary = f"KVM of Linux {release}"
    if release in RECORDED.values():
        summary += ", recorded from a real run"
    elif not known_linux(release):
        summary += ", whose backports are not known: as the last release that is"
    return Profile(
        name,
        _SUMMARIES.get(name, summary),
        _behaviours("Linux", numbers) - _OFF_BY_DEFAULT,
        {extension: on for extension, (since, on) in _KVM_EXTENSIONS.items() if since <= series},
        SBI_3_0 if series >= (6, 18) else SBI_2_0 if series >= (6, 7) else SBI_1_0,
        impl_version=linux_version_code(release),
        config_registers=8 if series >= (6, 18) else 7,
        isa_registers=31 if series >= (6, 18) else 25,
        release=release,
    )


def _opensbi(name: str, release: str) -> Profile:
    """OpenSBI of a release, on the hart that its recordings are of."""
    numbers = parse_release(release)
    features = {feature for feature, since in _OPENSBI_FEATURES.items() if since <= numbers}
    return Profile(
        name,
        _SUMMARIES.get(name, f"OpenSBI {release}"),
        _behaviours("OpenSBI", numbers) | features | (_QEMU_7_2 if numbers == (1, 1) else frozenset()),
        dict.fromkeys(_OPENSBI_EXTENSIONS, True),
        SBI_3_0 if numbers >= (1, 7) else SBI_2_0 if numbers >= (1, 4) else SBI_1_0,
        impl_id=IMPL_ID_OPENSBI,
        impl_version=numbers[0] << 16 | numbers[1],
        release=release,
    )


_KINDS = {
    "kvm": ("KVM of Linux", LINUX_RANGE, _kvm),
    "opensbi": ("OpenSBI", OPENSBI_RANGE, _opensbi),
}
"""First part of a profile's name: whose releases, from which to which, and how it is computed."""


class _Profiles(Mapping[str, Profile]):
    """The profiles that are listed; each is computed when it is first asked for, and so is one of any other
    release within the known range.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names, self._made = tuple(names), dict[str, Profile]()

    def __getitem__(self, name: str) -> Profile:
        """Raises KeyError for what is no profile's name, UsageError for a release that nobody looked at."""
        if name not in self._made:
            self._made[name] = self._compute(name)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    @staticmethod
    def _compute(name: str) -> Profile:
        if name == "spec-3.0":
            return _specification()
        project, _, release = name.partition("-")
        if project not in _KINDS:
            raise KeyError(name)
        whose, (first, last), compute = _KINDS[project]
        try:
            numbers = parse_release(release)
        except ValueError:
            raise KeyError(name) from None
        if not parse_release(first) <= numbers[:2] <= parse_release(last):
            raise UsageError(
                f"no profile of {whose} {release}",
                expected=f"{project}-{first} to {project}-{last}",
                got=name,
            )
        return compute(name, release)


PROFILES: Mapping[str, Profile] = _Profiles(
    (
        "spec-3.0", "kvm-6.9", "kvm-6.10", "kvm-6.12", "kvm-6.12.117", "kvm-7.2", "kvm-7.3",
        "opensbi-1.1", "opensbi-1.6", "opensbi-1.7", "opensbi-1.8", "opensbi-1.9",
    )
)  # fmt: skip
"""The profiles that are listed, by name: the specification, KVM from the oldest on, OpenSBI."""

FIRMWARE = Profile(
    "firmware", "M mode is software on the hart: whatever its SBI is", frozenset(), {}, impl_id=IMPL_ID_NONE
)
"""In place of a profile where nothing of SBI is Python's."""

DEFAULT_PROFILE = "kvm-7.2"


def get_profile(
    name: str = DEFAULT_PROFILE, with_: Iterable[str] = (), without: Iterable[str] = ()
) -> Profile:
    """The profile of that name or in that TOML file, with behaviours added and taken away by name.

    Raises UnknownNameError with the near names, UsageError for a release that nobody looked at, FileError for
    a file that holds no profile.
    """
    if name.endswith(".toml"):
        from .toml_file import read_profile

        profile = read_profile(name)
    else:
        try:
            profile = PROFILES[name]
        except KeyError:
            raise UnknownNameError("profile", name, PROFILES) from None
    return changed(profile, with_, without)


def changed(profile: Profile, with_: Iterable[str] = (), without: Iterable[str] = ()) -> Profile:
    """`profile` with behaviours added and taken away by name; itself where that changes nothing."""
    added = {get_behaviour(name) for name in with_}
    removed = {get_behaviour(name) for name in without}
    behaviours = (profile.behaviours | added) - removed
    if behaviours == profile.behaviours:
        return profile
    change = "".join(
        [f"+{name}" for name in sorted(b.name for b in added - profile.behaviours)]
        + [f"-{name}" for name in sorted(b.name for b in removed & profile.behaviours)]
    )
    return replace(profile, name=profile.name + change, behaviours=behaviours)


def watched(profile: Profile) -> tuple[Profile, set[Behaviour]]:
    """The same implementation, and the set of the behaviours that it has been asked for: a run that never
    asked for one is the same without it.
    """
    asked: set[Behaviour] = set()

    def has(behaviour: Behaviour) -> bool:
        asked.add(behaviour)
        return behaviour in profile.behaviours

    # equal to no other profile: what is remembered of one (kvm.translate) shall be asked for again
    own = replace(profile, summary=f"{profile.summary} (watched {id(asked)})")
    object.__setattr__(own, "has", has)
    return own, asked


def get_behaviour(name: str) -> Behaviour:
    """The behaviour of that name. Raises UnknownNameError with the near names."""
    try:
        return BEHAVIOURS[name]
    except KeyError:
        raise UnknownNameError("behaviour", name, BEHAVIOURS) from None

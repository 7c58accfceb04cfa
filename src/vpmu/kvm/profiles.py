"""Profiles: which behaviours an implementation has, and the numbers that it reports about itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum

from ..errors import UnknownNameError
from .behaviours import BEHAVIOURS, B, Behaviour
from .opensbi_behaviours import OB, OPENSBI_BEHAVIOURS


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


def linux_version_code(release: str) -> int:
    """LINUX_VERSION_CODE of a release such as 6.12.107."""
    major, minor, patch = (*map(int, release.split(".")), 0, 0)[:3]
    return major << 16 | minor << 8 | min(patch, 255)


@dataclass(frozen=True, slots=True)
class Profile:
    """One implementation: its behaviours and its data.

    `extensions` gives each extension that exists there, and whether it is enabled unless user space says
    otherwise.
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

    has: Callable[[Behaviour], bool] = field(init=False, repr=False, compare=False)
    """has(behaviour): True where the implementation behaves so."""

    def __post_init__(self) -> None:
        # The set's own method: every step of every call asks, and a Python function costs more than the
        # answer.
        object.__setattr__(self, "has", self.behaviours.__contains__)


_FEATURES = {B.SNAPSHOT, B.OVERFLOW_INTERRUPT, B.FW_READ_HI, B.EVENT_GET_INFO, B.RAW_V2}

_KVM_EXTENSIONS = {
    **dict.fromkeys(SbiExtension, True),
    SbiExtension.DBCN: False,
}
for _later in (SbiExtension.SUSP, SbiExtension.FWFT, SbiExtension.MPXY):
    del _KVM_EXTENSIONS[_later]

_NOT_IN_SPECIFICATION = (SbiExtension.EXPERIMENTAL, SbiExtension.VENDOR, SbiExtension.MPXY)
"""User space's ranges, and an extension that is not modelled."""

_OFF_BY_DEFAULT = frozenset({B.CSR_ILLEGAL_WITHOUT_CONFIG, B.LEGACY_NOT_BUILT})
"""Depend on how the host kernel was built, not on its release."""


def _release(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def _at(release: str, *, backported: Iterable[Behaviour] = ()) -> frozenset[Behaviour]:
    """Behaviours of KVM in a mainline release; those in `backported` the stable series ended."""
    version = _release(release)
    present = {
        behaviour
        for behaviour in BEHAVIOURS.values()
        if behaviour.project == "Linux"
        and _release(behaviour.since) <= version
        and not (behaviour.until and _release(behaviour.until) <= version)
    }
    return frozenset(present - set(backported) - _OFF_BY_DEFAULT)


def _opensbi(release: str) -> frozenset[Behaviour]:
    """Behaviours of OpenSBI in a release."""
    version = _release(release)
    return frozenset(
        behaviour
        for behaviour in OPENSBI_BEHAVIOURS.values()
        if behaviour.project == "OpenSBI"
        and not (behaviour.since and _release(behaviour.since) > version)
        and not (behaviour.until and _release(behaviour.until) <= version)
    )


_OPENSBI_EXTENSIONS = dict.fromkeys(
    (SbiExtension.V01, SbiExtension.TIME, SbiExtension.IPI, SbiExtension.RFENCE, SbiExtension.SRST,
     SbiExtension.HSM, SbiExtension.PMU, SbiExtension.DBCN), True
)  # fmt: skip

_STABLE_6_12 = (
    B.EVENT_CREATED_ENABLED, B.IPI_INVALID_HART_IGNORED, B.BAD_FID_IS_INVALID_PARAM, B.HFENCE_NOP,
)  # fmt: skip

PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            "spec-3.0",
            "the specification, strictly; where it leaves a choice, the one that changes least",
            frozenset(_FEATURES),
            dict.fromkeys((e for e in SbiExtension if e not in _NOT_IN_SPECIFICATION), True),
            impl_id=IMPL_ID_NONE,
            impl_version=1,
        ),
        Profile(
            "kvm-6.9",
            "KVM before the fix 2196c066f138: a perf event that cannot be had ends KVM_RUN",
            _at("6.9"),
            _KVM_EXTENSIONS,
            SBI_2_0,
            impl_version=linux_version_code("6.9"),
        ),
        Profile(
            "kvm-6.10",
            "KVM with the fix, the snapshot page and overflow interrupts, as first released",
            _at("6.10"),
            _KVM_EXTENSIONS,
            SBI_2_0,
            impl_version=linux_version_code("6.10"),
        ),
        Profile(
            "kvm-6.12",
            "KVM of Linux 6.12.107, recorded from a real run",
            _at("6.12", backported=_STABLE_6_12),
            _KVM_EXTENSIONS,
            SBI_2_0,
            impl_version=linux_version_code("6.12.107"),
        ),
        Profile(
            "kvm-7.2",
            "KVM of Linux 7.2.13, recorded from a real run",
            _at("7.2"),
            {
                **_KVM_EXTENSIONS,
                SbiExtension.SUSP: False,
                SbiExtension.FWFT: True,
                SbiExtension.MPXY: False,
            },
            config_registers=8,
            isa_registers=31,
            impl_version=linux_version_code("7.2.13"),
        ),
        Profile(
            "opensbi-1.1",
            "OpenSBI 1.1 on QEMU 7.2, as Debian 12 has them: an early PMU extension of SBI 1.0",
            _opensbi("1.1")
            | {OB.QEMU_STOPPED_COUNTER_LOST, OB.QEMU_ONE_COUNTER_PER_EVENT, OB.QEMU_TIME_IGNORES_SCOUNTEREN},
            _OPENSBI_EXTENSIONS,
            SBI_1_0,
            impl_id=IMPL_ID_OPENSBI,
            impl_version=0x10001,
        ),
        Profile(
            "opensbi-1.6",
            "OpenSBI 1.6, the firmware itself: the guest runs in S mode on its hart; recorded",
            _opensbi("1.6") | {B.FW_READ_HI, B.EVENT_GET_INFO, B.RAW_V2},
            _OPENSBI_EXTENSIONS,
            SBI_2_0,
            impl_id=IMPL_ID_OPENSBI,
            impl_version=0x10006,
        ),
    )
}
"""All profiles by name: the specification, KVM from the oldest on, OpenSBI."""

FIRMWARE = Profile(
    "firmware",
    "M mode is software on the hart: whatever its SBI is",
    frozenset(),
    {},
    impl_id=IMPL_ID_NONE,
    impl_version=0,
)
"""In place of a profile where nothing of SBI is Python's."""

DEFAULT_PROFILE = "kvm-7.2"


def get_profile(
    name: str = DEFAULT_PROFILE, with_: Iterable[str] = (), without: Iterable[str] = ()
) -> Profile:
    """The profile of that name, with behaviours added and taken away by name. Raises UnknownNameError with
    the near names.
    """
    profile = PROFILES.get(name)
    if profile is None:
        raise UnknownNameError("profile", name, PROFILES)
    added = {_behaviour(behaviour) for behaviour in with_}
    removed = {_behaviour(behaviour) for behaviour in without}
    behaviours = (profile.behaviours | added) - removed
    if behaviours == profile.behaviours:
        return profile
    change = "".join(
        [f"+{b.name}" for b in sorted(added - profile.behaviours, key=_by_name)]
        + [f"-{b.name}" for b in sorted(removed & profile.behaviours, key=_by_name)]
    )
    return replace(profile, name=profile.name + change, behaviours=behaviours)


def _by_name(behaviour: Behaviour) -> str:
    return behaviour.name


def _behaviour(name: str) -> Behaviour:
    try:
        return BEHAVIOURS[name]
    except KeyError:
        raise UnknownNameError("behaviour", name, BEHAVIOURS) from None

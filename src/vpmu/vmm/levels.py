"""Who plays the privilege levels of a machine: one rule, from which everything else follows.

Levels nest: M is below HS, HS below VS. An image in memory plays one of them, and what it starts plays those
above. Python plays every level below the image's; the last of these, next to the image, answers its ECALLs
and decides which counters it sees.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum, StrEnum
from typing import NamedTuple

from vpmu.profiles.profiles import IMPL_ID_KVM, Profile


class Level(IntEnum):
    """Privilege levels that can have an SBI or a hypervisor's interface above them, from the lowest on."""

    M = 0
    HS = 1
    VS = 2


class Player(StrEnum):
    """What stands at a level."""

    MODEL = "model"
    """Python: firmware/ at M, kvm/ at HS."""
    IMAGE = "image"
    """Software in the machine's memory."""


class Levels(NamedTuple):
    """Who plays what. `image`: the lowest level that is software in memory. `whole`: the hart has all its
    modes; else it has VS and VU only, and they stand for S and U where nothing is played at HS.
    """

    image: Level
    whole: bool

    def player(self, level: Level) -> Player:
        """What plays a level: Python below the image, software from it on."""
        return Player.MODEL if level < self.image else Player.IMAGE

    @property
    def answers(self) -> Level | None:
        """The level at which Python answers the image's ECALLs: the highest that it plays. None: nobody does,
        since the image has M mode.
        """
        return Level(self.image - 1) if self.image else None


def levels_of(profile: Profile, isa: Iterable[str] = (), *, firmware: bool = False) -> Levels:
    """The rule. Software in M mode leaves nothing to Python. A hart with a hypervisor extension begins in HS
    mode, which is the image's. Else it is the profile's: of KVM, then the image is its guest; of firmware or
    of the specification, then it is their S mode.
    """
    if firmware:
        return Levels(Level.M, whole=True)
    if "h" in isa:
        return Levels(Level.HS, whole=True)
    return Levels(Level.VS if profile.impl_id == IMPL_ID_KVM else Level.HS, whole=False)

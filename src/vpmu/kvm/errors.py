"""How KVM_RUN ends without an exit: with an errno, or with the host."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..profiles.behaviour import Behaviour


class KvmRunError(Exception):
    """KVM_RUN fails with this errno: pc stays where it is, no register changes, exit_reason means nothing."""

    def __init__(self, errno: int, reason: str) -> None:
        super().__init__(errno, reason)
        self.errno = errno
        self.reason = reason

    def __str__(self) -> str:
        return f"kvm: KVM_RUN failed: {os.strerror(self.errno)} (errno {self.errno}): {self.reason}"


class HostLostError(Exception):
    """The host itself goes down: nobody is left who could answer. Only what is public and fixed is
    modelled so: `commit` is the fix.
    """

    def __init__(self, behaviour: Behaviour, reason: str) -> None:
        super().__init__(behaviour.name, reason)
        self.behaviour, self.commit = behaviour, behaviour.commit
        self.reason = f'{reason} ({behaviour.name}; fixed by {behaviour.commit} "{behaviour.subject}")'

    def __str__(self) -> str:
        return f"kvm: the host is lost: {self.reason}"

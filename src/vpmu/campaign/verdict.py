"""Verdicts: what a fault did to a guest, from harmless to fatal."""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """One per run; where several fit, the worst."""

    AS_SPECIFIED = "as specified"
    """The guest was told what the specification says, and every count that it read was the hart's."""
    DEGRADED = "degraded gracefully"
    """The guest was told that something cannot be had, and goes on; no count that it read was wrong."""
    DEVIATES = "deviates"
    """An answer that the specification does not have, and no wrong count."""
    SILENTLY_WRONG = "silently wrong"
    """The guest read a count that is not what the hart did, or an overflow was never announced, without an
    error.
    """
    GUEST_HUNG = "guest hung"
    """The guest did not come to its end: it waits or traps for ever, or the budget is spent."""
    GUEST_LOST = "guest lost"
    """KVM_RUN failed, or the guest panicked."""
    HOST_LOST = "host lost"
    """The guest brought the host down, and every other guest on it."""
    UNEXPECTED = "unexpected"
    """Not what the catalogue says of this profile: a finding about vpmu or about the catalogue."""

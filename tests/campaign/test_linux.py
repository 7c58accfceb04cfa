"""Faults in a booted Linux, from its snapshot. Needs the fetched Debian; never fetches it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from vpmu import Machine
from vpmu.campaign import guests
from vpmu.campaign.compare import compare
from vpmu.campaign.oracle import Oracle
from vpmu.campaign.plan import Guest
from vpmu.errors import MachineError
from vpmu.faults import FaultPlan, parse_rule
from vpmu.vmm.linux.cache import default_root
from vpmu.vmm.linux.session import LinuxSession
from vpmu.vmm.snapshot import Snapshot

FOLDER = default_root() / "debian-trixie"
COMMAND = "perf stat -x, -e cycles,instructions true"

pytestmark = pytest.mark.skipif(
    not (FOLDER / "manifest.json").exists(), reason="the Debian guest is not fetched (vpmu fetch debian)"
)


@pytest.fixture(scope="module")
def session() -> LinuxSession:
    from vpmu.vmm.linux.fetch import debian_guest

    guest = debian_guest()

    def build(sink: Callable[[bytes], None], bootargs: str) -> Machine:
        return Machine(host_pmu="full", memory=384 << 20, console_out=sink, bootargs=bootargs, plic=True)

    return LinuxSession.boot(build, guest.kernel_image(), guest.initramfs())


def counts(session: LinuxSession, *rules: str) -> tuple[list[str], Oracle]:
    session.machine.inject(None)
    session.restore()
    session.machine.inject(FaultPlan(tuple(map(parse_rule, rules))) or None)
    oracle = Oracle(session.machine)
    oracle.attach()
    answer = session.run(COMMAND, restore=False)
    oracle.detach()
    session.machine.inject(None)
    assert answer.status == 0, answer.failure
    return [line.split(",")[0] for line in answer.output.decode().splitlines() if line], oracle


def test_every_command_starts_from_the_same_moment(session: LinuxSession) -> None:
    first, oracle = counts(session)
    assert all(re.fullmatch(r"\d{5,}", count) for count in first)
    assert counts(session)[0] == first
    assert oracle.findings == []
    assert oracle.values > 0
    assert session.run("echo one; false").output == b"one\n"
    assert session.run("exit 7").status == 7


def test_a_refused_event_and_a_frozen_one(session: LinuxSession) -> None:
    refused, oracle = counts(session, "perf.create:event=cycles,errno=EBUSY")
    assert refused[0] == "<not counted>"  # at boot it was there, so Linux goes on believing in it
    assert refused[1] == "<not counted>"  # behind an event that finds no counter Linux tries no further one
    assert oracle.findings == []
    frozen, oracle = counts(session, "perf.enable:event=cycles,state=error")
    assert frozen[0] in ("0", "<not counted>", "1")
    assert [finding.event for finding in oracle.findings][:1] == ["cycles"]


def test_from_a_file(session: LinuxSession, tmp_path: Path) -> None:
    output = session.run(COMMAND).output
    session.snapshot.save(tmp_path / "linux")
    for once in (True, False):
        other = LinuxSession.from_snapshot(Snapshot.load(tmp_path / "linux"), once=once)
        assert other.run(COMMAND, restore=not once).output == output


def test_what_is_no_command(session: LinuxSession) -> None:
    for command in ("echo one\necho two", "x" * 5000):
        with pytest.raises(MachineError, match="one line"):
            session.run(command)


def test_a_boot_is_compared_under_two_profiles() -> None:
    """The fix that vpmu began with, found by booting Linux on both sides of it."""
    found = compare("kvm-6.9", "kvm-6.10", "linux: true", FaultPlan(), host_pmu="qemu-virt")
    assert (found.first.end, found.second.end) == ("KVM_RUN failed with ENOENT", "exited")
    assert "perf-failure-ends-kvm-run" in {one.behaviour.name for one in found.explained}


def test_the_second_boot_in_a_folder_is_kept_for_the_third(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest, boots = Guest("linux", COMMAND), []
    booted = guests._booted
    monkeypatch.setattr(guests, "_booted", lambda *options: boots.append(options) or booted(*options))
    outcomes, kept = [], []
    for _ in range(3):
        station = guests.prepare(guest, "kvm-7.2", "full", tmp_path)
        outcomes.append(station.run(FaultPlan(), 0, 2_000_000_000))
        kept.append(len(list(tmp_path.glob("*.snapshot"))))
    assert kept == [0, 1, 1]
    assert len(boots) == 2
    assert outcomes[0] == outcomes[1] == outcomes[2]

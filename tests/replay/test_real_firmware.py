"""The table that was recorded on OpenSBI 1.6, replayed on real OpenSBI in M mode of our hart."""

from __future__ import annotations

from pathlib import Path

import pytest

from vpmu.conform.machine_link import opensbi_image
from vpmu.conform.target import PeerAbsent
from vpmu.errors import UsageError
from vpmu.vmm.replay_firmware import RealFirmware
from vpmu.vmm.replay_machine import Options
from vpmu.vmm.replay_report import Report, replay_table, shared
from vpmu.vmm.replay_table import read_table

TABLES = Path(__file__).parent.parent / "tables"
FLAG = 1481
"""OF of a counter that wrapped: QEMU 10 shows it and raises no interrupt; the description has neither."""
OLD = Path("/usr/share/qemu/opensbi-riscv64-generic-fw_dynamic.bin")


def replayed(firmware: RealFirmware) -> tuple[Report, set[int]]:
    """The report, and the lines that neither the recording nor the model answers so."""
    table = read_table(TABLES / "opensbi-1.6.txt")
    report = replay_table(table, firmware.monitor)
    model = replay_table(table, Options(firmware.profile()).monitor)
    return report, {line.line for line in report.disagreements} - shared(report, model)


def test_the_fetched_one() -> None:
    try:
        firmware = RealFirmware(str(opensbi_image("opensbi")))
    except PeerAbsent as absent:
        pytest.skip(str(absent))
    report, alone = replayed(firmware)
    assert report.lines > 1900
    if firmware.profile() == "opensbi-1.6":
        assert {line.line for line in report.disagreements} == {FLAG} == alone
    else:
        assert report.agree > 1000


@pytest.mark.skipif(not OLD.exists(), reason="no OpenSBI of QEMU's here")
def test_the_one_of_qemu() -> None:
    """1.1 with Debian 12's QEMU: a quarter of its answers are not those of 1.6, and the model has them."""
    report, alone = replayed(RealFirmware(str(OLD)))
    assert report.agree > 1000
    assert len(alone) < 10


def test_a_table_of_kvm_is_not_for_firmware() -> None:
    table = read_table(TABLES / "kvm-6.12-fix-undone.txt")
    with pytest.raises(UsageError, match="recorded on firmware"):
        replay_table(table, RealFirmware("anything", "opensbi-1.6").monitor)

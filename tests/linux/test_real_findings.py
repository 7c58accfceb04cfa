"""What real KVM and Linux as its guest do, watched on our own hart: the evidence of findings.md. Needs the
fetched host; never fetches it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from vpmu.cli.main import main
from vpmu.conform.calls import Call, pmu
from vpmu.conform.kvm import VPMU, HostOptions, HostTarget, host_target
from vpmu.spec.csr import Irq
from vpmu.vmm.linux.cache import default_root

HOST, GUEST = default_root() / "kvm-host-trixie", default_root() / "debian-trixie"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (HOST / "manifest.json").exists(), reason="the KVM host is not fetched"),
]
needs_guest = pytest.mark.skipif(
    not (GUEST / "manifest.json").exists(), reason="the Debian guest is not fetched (vpmu fetch debian)"
)

ALL, CYCLES, LCOFI = 0xFFFF_FFFD, 1, 1 << Irq.LCOFI
_SIP, _SIE = 33, 0
LOOP = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done"
RECORD = f"perf record -c 100000 -e cycles -o /tmp/p -- sh -c '{LOOP}'; grep riscv-pmu /proc/interrupts"


@pytest.fixture
def target() -> Iterator[HostTarget]:
    opened = host_target(None, HostOptions(on=VPMU))
    opened.reset()
    yield opened
    opened.close()


def said(target: HostTarget, since: int) -> list[str]:
    """Lines of the host's log that came; it writes them while time passes."""
    target.run([Call("w", (2_000_000,))])
    return target.link.console()[since:].splitlines()


def test_each_read_of_a_counter_that_is_not_there_writes_to_the_hosts_log(target: HostTarget) -> None:
    """O15: no limit of rate stands between a guest and the host's log."""
    since = len(target.link.console())
    reads = [pmu(5, 64), pmu(5, 41), pmu(5, 1), pmu(5, (1 << 64) - 1)] * 25
    assert {result.error for result in target.run(reads)} == {-3}
    lines = [line for line in said(target, since) if "Invalid counter id" in line]
    assert [re.findall(r"id \[(-?\d+)\]", line)[0] for line in lines] == ["64", "41", "1", "-1"] * 25
    target.reset()
    since = len(target.link.console())
    assert target.run([pmu(5, 20), Call("c", (31,))])[0].error is not None  # these are there, or no call
    assert not [line for line in said(target, since) if "Invalid counter id" in line]


def test_a_period_of_2_63_and_more_is_refused_without_a_word(target: HostTarget) -> None:
    """O16: the old period stays, so a counter that starts at 0 overflows where the one before would have."""
    config, stop = pmu(2, 0, ALL, 0, CYCLES, 0), pmu(4, 0, 1, 0)
    below, zero = pmu(3, 0, 1, 1, (1 << 64) - 300_000), pmu(3, 0, 1, 1, 0)

    def pending(*calls: Call) -> bool:
        target.reset()
        results = target.run([Call("C", (_SIE, LCOFI)), config, *calls, Call("c", (_SIP,))])
        assert [result.error for result in results[1:-1] if result.error is not None] == [0] * (
            len([call for call in (config, *calls) if call.op == "e"])
        )
        return bool(results[-1].value & LCOFI)

    work = Call("w", (200_000,))  # of two instructions
    assert not pending(zero, work)
    assert pending(below, stop, zero, work)
    assert not pending(below, stop, zero, Call("w", (50_000,)))


def told(capsys: pytest.CaptureFixture[str], *inject: str) -> tuple[int, int, int, dict[str, int]]:
    """Samples, overflow interrupts, wrong counts and SBI calls of RECORD in Debian on the host."""
    options = [option for rule in inject for option in ("--inject", rule)]
    main(["host", "kvm:trixie", "--exec", RECORD, "--json", *options])
    answer = json.loads(capsys.readouterr().out)
    samples = re.search(r"\((\d+) samples\)", answer["output"])
    interrupts = re.search(r"(\d+) .*riscv-pmu", answer["output"])
    assert interrupts is not None
    return int(samples[1]) if samples else 0, int(interrupts[1]), len(answer["wrong"]), answer["sbi_calls"]


@needs_guest
def test_sampling_in_a_linux_guest_of_real_kvm(capsys: pytest.CaptureFixture[str]) -> None:
    """Each overflow reaches the guest, and its driver starts no counter again: one sample a time slice."""
    samples, interrupts, wrong, calls = told(capsys)
    assert 0 < samples < 20  # some 450 periods have gone by
    assert interrupts == samples
    assert calls["counter_start INVALID_PARAM"] == interrupts  # base 4096
    assert wrong == 0


@needs_guest
def test_without_the_shared_page_there_is_no_sample(capsys: pytest.CaptureFixture[str]) -> None:
    """scountovf reads as 0 in a guest of KVM: the driver finds no counter that has overflown."""
    refused = "sbi.call:function=snapshot_set_shmem,error=NOT_SUPPORTED"
    samples, interrupts, wrong, calls = told(capsys, refused)
    assert (samples, wrong) == (0, 0)
    assert interrupts > 0
    assert "counter_start INVALID_PARAM" not in calls
    assert calls["snapshot_set_shmem NOT_SUPPORTED"] == 1

"""`vpmu host --run` and `--exec`: guests in a VM of a real host. Needs the fetched host; never fetches it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vpmu.cli.main import main
from vpmu.conform.host_link import _warm
from vpmu.conform.kvm import VPMU, HostOptions, host_target
from vpmu.vmm.linux.cache import default_root

HOST = default_root() / "kvm-host-trixie"
needs_host = pytest.mark.skipif(not (HOST / "manifest.json").exists(), reason="the KVM host is not fetched")


@needs_host
def test_a_payload_says_what_it_counts_and_is_believed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["host", "kvm:trixie", "--run", "failing-event"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "the guest finished"
    assert "3 counts compared, 0 wrong" in err.splitlines()[-1]


@needs_host
def test_a_wrong_count_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    fault = ["--inject", "perf.enable:event=cycles,state=error"]
    assert main(["host", "--run", "failing-event", "--json", *fault]) == 3
    told = json.loads(capsys.readouterr().out)
    assert told["injected"] == 1
    assert told["wrong"] == ["counter 0 (cycles): the guest read 0, the hart did 200,039"]
    assert "cycles         0" in told["output"]
    assert told["instructions"]["guest"] > 600_000 > told["instructions"]["host"] > 0
    assert told["sbi_calls"]["counter_config_matching SUCCESS"] == 3


@needs_host
@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        ("host.call:function=kvm_riscv_vcpu_pmu_ctr_start,errno=EIO", 1, "KVM_RUN fails with EIO"),
        ("host.call:function=perf_event_create_kernel_counter,value=64", 5, "the KVM host stopped"),
    ],
)
def test_a_guest_that_is_lost_and_a_host_that_is(
    fault: str, status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["host", "--run", "counting", "--inject", fault]) == status
    assert words in capsys.readouterr().err


@needs_host
def test_a_budget_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["host", "--run", "counting", "--max-instructions", "500K"]) == 1
    assert "no end within 500,000 instructions" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--run", "nosuch"], "nosuch"),
        (["--run", "counting", "--exec", "true"], "not allowed with"),
        (["--guest-kernel", "IMAGE"], "expected --exec COMMAND"),
        (["--exec", "true", "--guest-initrd", "IMAGE"], "expected --guest-kernel beside it"),
        (["--inject", "perf.create:errno=EBUSY"], "expected a guest: --run or --exec"),
        (["--exec", "true", "--guest-kernel", "IMAGE"], "not a guest image"),
    ],
)
@needs_host
def test_what_makes_no_sense_is_one_line(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "IMAGE").write_text("no kernel\n" * 20)
    given = [str(tmp_path / "IMAGE") if word == "IMAGE" else word for word in arguments]
    assert main(["host", "kvm:trixie", *given]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert words in error


@needs_host
def test_a_fault_without_a_place_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    fault = "guest.memory:address=0x80200000,remove"
    assert main(["host", "kvm:trixie", "--run", "counting", "--inject", fault]) == 2
    assert "no function of the kernel is guest.memory" in capsys.readouterr().err


@needs_host
def test_what_warms_a_host_is_done_not_refused() -> None:
    """Calls that KVM refuses reach nothing of what they are for."""
    target = host_target(None, HostOptions(on=VPMU))
    calls = _warm()
    results = target.run(calls)
    assert not any(result.error for call, result in zip(calls, results, strict=True) if call.op == "e")


@needs_host
def test_an_option_of_before_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["host", "kvm:trixie", "--compile", "--json"]) == 0
    assert "--compile does nothing" in capsys.readouterr().err

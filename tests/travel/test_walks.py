"""Random walks in Debian and in a host with real KVM land on the state of a straight run."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from vpmu.cli.main import main
from vpmu.conform.agent import packed_batch
from vpmu.conform.hooked import HookedHost
from vpmu.conform.kvm import VPMU, HostOptions
from vpmu.conform.real_path import counting
from vpmu.conform.target import PeerAbsent
from vpmu.travel.travel import travel
from vpmu.vmm.linux.boot import LinuxBoot
from vpmu.vmm.linux.cache import default_root
from vpmu.vmm.machine import Machine

pytestmark = pytest.mark.slow
PLACES, WALKS, FAR = 60, 1000, 20
"""One walk of FAR goes anywhere in the run; the others stay in the window in which the PMU is used."""


def debian() -> Machine:
    if not (default_root() / "debian-trixie" / "manifest.json").exists():
        pytest.skip("the Debian guest is not fetched (vpmu fetch debian)")
    from vpmu.vmm.linux.fetch import debian_guest

    guest = debian_guest()
    boot = LinuxBoot(guest.kernel_image(), guest.initramfs(), command="perf stat -e cycles true")
    return boot.machine(host_pmu="sampling")


def host() -> Machine:
    """A host whose guest has its request before it: the walk is in the host's kernel and in the guest."""
    try:
        kept = HookedHost(replace(HostOptions(), on=VPMU))
    except PeerAbsent as absent:
        pytest.skip(absent.what)
    kept.fresh()
    kept.target.link.host.ask(packed_batch(b"R", counting(1, 0, 500)))
    return kept.machine


@pytest.mark.parametrize("build", [debian, host])
def test_a_thousand_random_walks(build: Callable[[], Machine]) -> None:
    chosen = random.Random(build.__name__)
    straight = build()
    first = straight.instructions
    end = straight.run().instructions
    window = max(first, end - 3_000_000)
    near = [chosen.randrange(window + 1, end) for _ in range(PLACES)]
    far = [chosen.randrange(first + 1, end) for _ in range(3)]
    straight, wanted, modes = build(), {}, set()
    for place in sorted(near + far):
        straight.run(place - straight.instructions)
        wanted[place] = straight.state_hash()
        modes.add(str(straight.vcpu(0).hart.mode))
    traveller = travel(build())
    for number in range(WALKS):
        place = chosen.choice(far if number % (WALKS // FAR) == 0 else near)
        if chosen.randrange(2):
            traveller.goto(min(place + chosen.randrange(4000), end - 1))
            traveller.back(traveller.position - place)
        else:
            traveller.goto(max(place - chosen.randrange(4000), first))
            traveller.onwards(limit=place)
        assert traveller.position == place
        assert traveller.machine.state_hash() == wanted[place], (number, place)
    assert len(modes) > 1


def test_a_boot_is_walked_back_from_its_prompt(capfd: pytest.CaptureFixture[str]) -> None:
    debian()
    assert main(["travel", "linux:", "--to", "console:# ", "--back", "sbi:PMU", "--back", "1000",
                 "--to", "sbi:PMU", "--back", "start_kernel", "--json"]) == 0  # fmt: skip
    prompt, call, before, again, began = json.loads(capfd.readouterr().out)["steps"]
    assert prompt["instruction"] > call["instruction"] > before["instruction"] > began["instruction"]
    assert call["met"].startswith("hart 0 calls counter_config_matching")
    assert again["instruction"] <= call["instruction"]
    assert any("pmu_sbi" in caller for caller in call["where"][0]["calls"])
    assert began["where"][0]["symbol"] == "start_kernel"


def test_a_host_with_real_kvm_is_walked_in_its_kernel(capfd: pytest.CaptureFixture[str]) -> None:
    host()
    start = "kvm_riscv_vcpu_pmu_ctr_start"
    words = ["--to", start, "--to", "end", "--back", "pmu_sbi_ctr_stop", "--back", start, "--json"]
    assert main(["travel", "kvm:trixie", *words]) == 0
    first, end, stop, again = json.loads(capfd.readouterr().out)["steps"]
    assert first["where"][0]["symbol"] == start
    assert "kvm_riscv_vcpu_sbi_ecall" in " ".join(first["where"][0]["calls"])
    assert end["instruction"] > stop["instruction"] > again["instruction"] == first["instruction"]

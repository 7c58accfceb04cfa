"""One guest on real kernels: what differs, what it costs, and the functions where the runs part."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from vpmu.campaign.compare_real import compare_real
from vpmu.cli.main import main
from vpmu.conform.hooked import HookedHost
from vpmu.conform.kvm import VPMU, HostOptions
from vpmu.conform.target import PeerAbsent
from vpmu.conform.watched_guest import WatchedGuest
from vpmu.debug.call_tree import walk
from vpmu.faults import FaultPlan, parse_rule
from vpmu.payloads import path
from vpmu.report.compare_real import markdown, page

pytestmark = pytest.mark.slow

PAYLOADS = ("hello", "counting", "failing-event", "firmware-counter", "overflow", "snapshot")
REFUSED = FaultPlan((parse_rule("perf.create:event=cycles,errno=EBUSY"),))
CREATE = "perf_event_create_kernel_counter"


@pytest.fixture(scope="module")
def host() -> HookedHost:
    try:
        return HookedHost(HostOptions(on=VPMU))
    except PeerAbsent as absent:
        pytest.skip(absent.what)


@pytest.mark.parametrize("name", PAYLOADS)
def test_every_payload_runs_on_real_kvm_and_the_same_each_time(host: HookedHost, name: str) -> None:
    guest = WatchedGuest(host, str(path(name)))
    first = guest.run()
    assert first.end == "shutdown, reason 0", first.console
    assert first.console
    assert first.guest > 1000
    assert all(cost > 500 for costs in first.costs.values() for cost in costs)
    assert guest.run() == first
    assert not len(host.machine.memory.breakpoints)


@pytest.mark.parametrize("name", ["counting", "failing-event", "firmware-counter", "snapshot"])
def test_the_guest_cannot_tell_the_model_from_the_real_kernel(host: HookedHost, name: str) -> None:
    """Answers, exact counts, console and instructions: of the profile of whichever release this is."""
    model = host.target.profile.name
    if not model.startswith("kvm-"):
        pytest.skip("nobody looked at this release")
    found = compare_real((model, None), ("kvm", HostOptions(on=VPMU)), str(path(name)), FaultPlan())
    assert not found.changed, markdown(found)
    assert found.host_rows == []


def test_a_refusal_is_told_with_the_functions_on_its_way(host: HookedHost) -> None:
    found = compare_real(
        ("kvm", HostOptions(on=VPMU)), ("kvm-6.9", None), str(path("failing-event")), REFUSED, name="guest"
    )
    assert found.changed
    assert found.parted is not None
    one, two = (
        side.run.calls[at] for side, at in zip((found.first, found.second), found.parted, strict=True)
    )
    assert one.actor == two.actor == "counter_config_matching"
    assert (one.result, two.action, two.result) == ((-2, 0), "kvm-run-error", -16)
    refused = next(one for one in found.paths if one.function.function == CREATE)
    assert (refused.mark, refused.function.result) == ("-", -16)
    outer = [one.function.function for one in found.paths[: found.paths.index(refused)]]
    assert "kvm_riscv_vcpu_pmu_ctr_cfg_match" in outer
    assert f"{CREATE} " in markdown(found)
    assert "-EBUSY" in markdown(found)
    assert CREATE in page(found)


def test_a_guest_that_hangs_is_told_and_the_host_comes_back(host: HookedHost) -> None:
    loop = (0x6F).to_bytes(4, "little")  # j .
    guest = WatchedGuest(host, loop)
    run = guest.run()
    assert re.match(r"budget: no end within [\d,]+ instructions: VS mode, pc 0x80200000", run.end)
    assert run.guest > 300_000_000
    assert WatchedGuest(host, str(path("hello"))).run().end == "shutdown, reason 0"


def test_a_long_way_is_cut_and_says_so(host: HookedHost) -> None:
    host.fresh()
    host.target.link.host.ask(b"I")
    tree, ended = walk(host.machine, host.kernel, lambda hart: False, limit=3000)
    assert ended is None
    assert tree.cut
    assert tree.instructions == 3000
    assert tree.layers()["user space"] > 10


def test_the_same_kernel_twice_differs_in_nothing(
    host: HookedHost, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status = main(["compare", "kvm", "kvm", "failing-event", "--json", "--html", str(tmp_path / "page.html")])
    told = json.loads(capsys.readouterr().out)
    assert status == 0
    assert not told["changed"]
    assert all(row["first"] == row["second"] for row in [*told["rows"], *told["host_rows"]])
    assert told["costs"][0]["counter_fw_read"]
    assert "Nothing that the guest could tell differs" in (tmp_path / "page.html").read_text()

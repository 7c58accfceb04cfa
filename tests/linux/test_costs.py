"""What calls cost in Debian's stock kernel, walked through by single steps."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from vpmu.cli.main import main
from vpmu.conform.calls import ecall
from vpmu.conform.cost_changes import changes
from vpmu.conform.costs import costs
from vpmu.conform.hooked import HookedHost
from vpmu.conform.kvm import VPMU, HostOptions
from vpmu.conform.target import PeerAbsent
from vpmu.hart.events import HartEvent, Mode
from vpmu.spec.sbi import Eid
from vpmu.vmm.linux.cache import FetchError
from vpmu.vmm.linux.opensbi import fetched_opensbi

pytestmark = pytest.mark.slow

NUMBER = "kvm_riscv_vcpu_pmu_num_ctrs"
PAD = struct.pack("<I", 0x13) * 2
"""Two nops: where ftrace would patch a function's entry."""
LOOP = struct.pack("<4H", 0x47E5, 0x17FD, 0xFFFD, 0x0001)
"""c.li a5, 25; c.addi a5, -1; c.bnez a5, -2; c.nop."""
ADDED = 1 + 2 * 25 + 1 - 2


@pytest.fixture(scope="module")
def host() -> HookedHost:
    try:
        return HookedHost(HostOptions(on=VPMU))
    except PeerAbsent as absent:
        pytest.skip(absent.what)


@pytest.fixture
def patched(host: HookedHost) -> Iterator[HookedHost]:
    """KVM's first PMU function with a loop at its entry: a patch that costs instructions."""
    address, rewind = host.kernel.function(NUMBER).address, host.target.rewind
    if host.kernel.read(address, len(PAD)) != PAD:
        pytest.skip("this kernel has no room at a function's entry")
    assert rewind is not None

    def slower() -> None:
        rewind()
        host.kernel.write(address, LOOP)

    host.target.rewind = slower
    yield host
    host.target.rewind = rewind
    host.fresh()


def test_steps_and_counters_agree_and_the_layers_make_the_sum(host: HookedHost) -> None:
    found = {cost.name: cost for cost in costs(host)}
    for cost in found.values():
        assert sum(cost.layers.values()) == cost.total == sum(own for _, own in cost.functions.values())
    # Between two batches that differ in calls, as bench/real_kvm.py counts it.
    hart, spent = host.machine.vcpu(0).hart, []
    for calls in (1, 41):
        host.fresh()
        before = hart.count(HartEvent.INSTRUCTIONS, Mode.S)
        host.target.run([ecall(Eid.BASE, 0)] * calls)
        spent.append(hart.count(HartEvent.INSTRUCTIONS, Mode.S) - before)
    assert (spent[1] - spent[0]) / 40 == found["BASE get_spec_version"].total
    assert set(found["BASE get_spec_version"].layers) == {"kvm"}
    assert found["config, granted"].layers["perf"] > found["config, granted"].layers["driver"] > 100
    assert found["start"].functions["sbi", "__sbi_ecall"][0] == 2, "config and start, at the firmware"
    assert ("kvm", "?") not in found["start"].functions


def test_fifty_instructions_more_are_seen_where_they_are(host: HookedHost, patched: HookedHost) -> None:
    after = list(costs(patched, ["num_counters", "BASE"]))
    host.target.rewind = host.target.link.rewind
    before = list(costs(host, ["num_counters", "BASE"]))
    base, number = changes(before, after)
    assert (base.by, number.by) == (0, ADDED)
    assert [(one.layer, one.name, one.by) for one in number.functions] == [("kvm", NUMBER, ADDED)]


def test_real_firmware_has_its_share_and_changes_no_other(host: HookedHost) -> None:
    """OpenSBI in M mode below the host: two calls of it in a start, two in a stop, none in a config."""
    try:
        firmware = fetched_opensbi()
    except FetchError as error:
        pytest.skip(error.what)
    rows = ["config, granted", "start", "stop"]
    modelled = {cost.name: cost for cost in costs(host, rows)}
    for cost in costs(HookedHost(HostOptions(on=VPMU, firmware=firmware)), rows):
        plain, below = modelled[cost.name], cost.layers.get("firmware", 0)
        assert (below > 500) == cost.name.startswith(("start", "stop")) or "stopped" in cost.name
        assert abs(cost.total - below - plain.total) <= 4
        for layer in ("kvm", "perf", "driver"):
            assert cost.layers.get(layer) == plain.layers.get(layer)


def test_the_command_holds_a_build_against_a_table_of_before(
    host: HookedHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["costs", "kvm", "--only", "BASE", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    path = tmp_path / "base.json"
    path.write_text(json.dumps(table))
    assert main(["costs", "kvm", "--only", "BASE", "--baseline", str(path)]) == 0
    assert "0 of 1 calls cost more than before" in capsys.readouterr().out
    call = table["calls"][0]
    call["instructions"] -= 50
    call["functions"][0]["instructions"] -= 50
    path.write_text(json.dumps(table))
    assert main(["costs", "kvm", "--only", "BASE", "--baseline", str(path), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["worse"] == [call["call"]]
    assert told["changes"][0]["functions"][0]["name"] == call["functions"][0]["function"]
    assert main(["costs", "kvm", "--only", "BASE", "--baseline", str(path), "--slack", "50"]) == 0

"""Random fault plans and damaged snapshots: a defined end every time, never a traceback, a hang or a changed
snapshot. VPMU_FUZZ=100000 does it at the size of a night.
"""

from __future__ import annotations

import os
import random
import struct
import zlib
from pathlib import Path

import pytest

from vpmu.campaign.guests import ScriptStation, random_steps
from vpmu.campaign.plan import Guest
from vpmu.errors import VpmuError
from vpmu.faults import SITES, FaultPlan, Rule
from vpmu.faults.plan import PlanError
from vpmu.faults.read import parse_plan
from vpmu.vmm.snapshot import Snapshot
from vpmu.vmm.snapshot_file import _CRC, _HEAD

ROUNDS = int(os.environ.get("VPMU_FUZZ", "400"))
VALUES: dict[str, tuple[object, ...]] = {
    "natural": (0, 1, 2, 13), "positive": (1, 4, 16, 40), "number": (1, -1, 1 << 40),
    "word": (0, 1, -1, 1 << 63), "flag": (True,), "errno": ("EBUSY", "ENOENT", "EINTR", 4095),
    "sbi": ("FAILED", "SUCCESS", -2, 77), "time": (0, 1, 100, "2us", "1ms"),
    "range": ("0x80000000-0x80001000", 0), "calls": (1, "1-3", [2, 5]),
    "event": ("cycles", "instructions", "*", "r3"), "sbi_event": ("cycles", "fw:set_timer", 1),
    "function": ("counter_start", "counter_stop", "counter_config_matching", "snapshot_set_shmem"),
    "state": ("error", "inactive"), "access": ("read", "write"),
    "address": ("snapshot", "0x80000000-0x80000fff", 0x80008000, 0),
}  # fmt: skip
NONSENSE: tuple[object, ...] = (None, "", "x", 1 << 70, -1, 1.5, [], {}, True, "\0", "[[rule]]")


def some_rule(rng: random.Random) -> dict[str, object]:
    """A rule that mostly makes sense."""
    site = SITES[rng.choice(sorted(SITES.keys() - {"host.call"}))]  # of a real host alone

    def value(kind: str) -> object:
        return rng.choice(NONSENSE) if rng.random() < 0.01 else rng.choice(VALUES[kind])

    effect = rng.choice(sorted(site.effect))
    match = rng.sample(sorted(site.matches), k=min(len(site.matches), rng.choice((0, 0, 1, 1, 2))))
    if site.name == "guest.memory" and "address" not in match:
        match.append("address")
    rule: dict[str, object] = {
        "site": site.name, "effect": {effect: value(site.effect[effect])},
        "match": {key: value(site.matches[key]) for key in match},
    }  # fmt: skip
    for word, values in (("probability", (10, 50)), ("interval", (2, 3)), ("times", (1, 5)), ("space", (3,))):
        if rng.random() < 0.2:
            rule[word] = rng.choice(values)
    return rule


def test_random_plans() -> None:
    station = ScriptStation(Guest("random", "12"), "kvm-7.2", "full", None)
    before = [bytes(image.view) for image in station.snapshot.images]
    steps = random_steps(12, 1)
    reference = station.run_steps(steps, FaultPlan())
    built = fired = 0
    messages: list[str] = []
    for number in range(ROUNDS):
        rng = random.Random(number)
        try:
            plan = FaultPlan(tuple(Rule.build(some_rule(rng)) for _ in range(rng.randint(1, 3))), seed=number)
        except PlanError as error:
            messages.append(str(error))
            continue
        built += 1
        fired += station.run_steps(random_steps(12, number), plan).injected > 0
        if number % 50 == 0:
            assert station.run_steps(steps, FaultPlan()) == reference, number
            assert [bytes(image.view) for image in station.snapshot.images] == before, number
    assert not any("\n" in message for message in messages)
    assert built > ROUNDS // 2
    assert fired > ROUNDS // 20


def test_random_texts_of_plans() -> None:
    good = (
        'name = "a"\nseed = 7\n[[rule]]\nsite = "perf.create"\nmatch = { event = "cycles", call = "2-4" }\n'
        'effect = { errno = "EBUSY" }\nprobability = 50\n[[rule]]\nsite = "kvm.snapshot"\n'
        'match.access = "write"\nmatch.after = "20us"\neffect.fault = true\n'
    )
    pieces = ["[[rule]]\n", "effect", "=", "{", "}", '"', "\n", "-1", "99999999999999999999", "[", "true",
              "\0", "é", "1e999", "nan", "0x", "1979-05-27", ".", "site", "perf.read", "'''"]  # fmt: skip
    refused: list[str] = []
    for number in range(ROUNDS):
        rng = random.Random(number)
        text = good
        for _ in range(rng.randint(1, 4)):
            at, gone = rng.randrange(len(text) + 1), rng.choice((0, 0, 1, 5))
            text = text[:at] + rng.choice(pieces) + text[at + gone :]
        try:
            parse_plan(text)
        except VpmuError as error:
            refused.append(str(error))
    assert not any("\n" in message for message in refused)
    assert len(refused) > ROUNDS // 2


@pytest.fixture
def file(tmp_path: Path) -> bytes:
    station = ScriptStation(Guest("random", "12"), "kvm-7.2", "full", None)
    station.run_steps(random_steps(12, 3), FaultPlan())
    station.machine.snapshot().save(tmp_path / "good")
    return (tmp_path / "good").read_bytes()


def damaged(rng: random.Random, data: bytes) -> bytes:
    """The file with bits, bytes or pieces changed, cut off, or put in; most of them with right checksums."""
    changed = bytearray(data)
    _, _, length, _ = _HEAD.unpack_from(data)
    end = _HEAD.size + length
    for _ in range(rng.randint(1, 3)):
        where = rng.randrange(end if rng.random() < 0.8 else len(changed))
        what = rng.random()
        if what < 0.4:
            changed[where] ^= 1 << rng.randrange(8)
        elif what < 0.7:  # another digit or letter: JSON that may still be JSON
            changed[where] = rng.choice(b'0123456789-"[]{},truefalsn')
        elif what < 0.8:
            del changed[where : where + rng.choice((1, 2, 100))]
        elif what < 0.9:
            changed[where:where] = rng.choice((b"9", b"0", b"-", b"[", b"null", b'"dict"'))
        else:
            del changed[where:]
        end = min(end, len(changed))
        if not end:
            break
    if rng.random() < 0.7 and len(changed) > _HEAD.size + _CRC.size:
        pages = bytes(data[_HEAD.size + length :])
        header = bytes(changed[_HEAD.size : max(_HEAD.size, len(changed) - len(pages))])
        head = _HEAD.pack(data[:16], struct.unpack_from("<I", data, 16)[0], len(header), zlib.crc32(header))
        return head + header + pages
    return bytes(changed)


def test_damaged_snapshots(file: bytes, tmp_path: Path) -> None:
    refused: list[str] = []
    ran = 0
    path = tmp_path / "damaged"
    for number in range(ROUNDS):
        path.write_bytes(damaged(random.Random(number), file))
        try:
            machine = Snapshot.load(path).machine()
            machine.run(max_instructions=2000)
            ran += 1
        except VpmuError as error:
            refused.append(str(error))
    assert not any("\n" in message for message in refused)
    assert len(refused) > ROUNDS // 2
    assert ran + len(refused) == ROUNDS

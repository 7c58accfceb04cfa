"""Campaign plans: a TOML file that names faults, profiles, host PMUs, guests and seeds; the runs are their
product.

    name = "busy hosts"
    profiles = ["kvm-6.9", "kvm-7.2"]
    host_pmus = ["full"]
    guests = ["counting", "linux: perf stat -e cycles true", "random: 12"]
    seeds = 10                      # 0 to 9; or a list
    max_instructions = 20_000_000   # of one run (where it is not said: LIMITS)
    seconds = 60                    # of host time, after which a run hangs

    [[fault]]
    name = "busy"
    inject = ["perf.create:event=cycles,errno=EBUSY,probability=50"]

A fault can also name a `plan` file or a `scenario` of the catalogue; without [[fault]] there is one fault,
`none`.
A guest is a payload's name, the path of an image, `linux: COMMAND`, `script: STEP; STEP` or `random: STEPS`.
`kvm: GUEST` and `kvm:SUITE GUEST` are the same guests on real KVM, on vpmu's own hart, whatever `profiles`
says. `kvm:SUITE` as a profile runs all of them there; in SUITE's place may stand IMAGE or IMAGE+MODULE, your
own build, as paths with a slash, from the plan's folder on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import FileError, UnknownNameError, UsageError, VpmuError
from ..faults.plan import FaultPlan, Rule
from ..faults.read import load_plan, plan_of
from ..files import read_toml
from ..perf.description import load_host_pmu
from ..profiles.profiles import get_profile

KINDS = ("payload", "linux", "script", "random")
KVM, DEFAULT_SUITE, OWN_HOST = "kvm", "trixie", "+"
LIMITS = {"linux": 1_000_000_000}
"""Instructions of one run where the plan does not say, by kind of guest."""
OTHERS = 20_000_000
"""The same for every other kind."""
MAX_RUNS = 10_000_000
_TOP = ("name", "profiles", "host_pmus", "guests", "seeds", "max_instructions", "seconds", "fault")
_FAULT = ("name", "inject", "plan", "scenario")


@dataclass(frozen=True, slots=True)
class Guest:
    """What runs: its kind, and the payload, command, steps or number of steps."""

    kind: str
    what: str
    on: str = ""
    """The real KVM that it runs on, whatever the plan's profiles are."""

    @property
    def name(self) -> str:
        """As in the plan."""
        name = self.what if self.kind == "payload" else f"{self.kind}: {self.what}"
        return f"{self.on}{':' * (self.on == KVM)} {name}" if self.on else name


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a campaign, by its number in the product."""

    number: int
    fault: str
    profile: str
    host_pmu: str
    guest: Guest
    seed: int


@dataclass(frozen=True, slots=True)
class CampaignPlan:
    """The whole product. The order is guests, host PMUs, profiles, faults, seeds: neighbours share a
    machine.
    """

    name: str
    faults: tuple[tuple[str, FaultPlan], ...]
    profiles: tuple[str, ...]
    host_pmus: tuple[str, ...]
    guests: tuple[Guest, ...]
    seeds: tuple[int, ...]
    max_instructions: int | None = None
    seconds: float = 60.0
    files: tuple[tuple[str, str], ...] = ()
    """Digests of the user's own kernels and modules, by path."""

    def profiles_of(self, guest: Guest) -> tuple[str, ...]:
        """What a guest runs on."""
        on = f"{KVM}:{DEFAULT_SUITE}" if guest.on == KVM else guest.on
        return (on,) if on else self.profiles

    @property
    def implementations(self) -> tuple[str, ...]:
        """All that guests run on, in the order of the plan."""
        return tuple(dict.fromkeys(name for guest in self.guests for name in self.profiles_of(guest)))

    def __len__(self) -> int:
        guests = sum(len(self.profiles_of(guest)) for guest in self.guests)
        return guests * len(self.faults) * len(self.host_pmus) * len(self.seeds)

    def run(self, number: int) -> Run:
        """The run of that number, from 0 on."""
        rest, seed = divmod(number, len(self.seeds))
        rest, fault = divmod(rest, len(self.faults))
        at = 0
        while rest >= (cells := len(self.profiles_of(self.guests[at])) * len(self.host_pmus)):
            rest, at = rest - cells, at + 1
        guest = self.guests[at]
        profiles = self.profiles_of(guest)
        host, profile = divmod(rest, len(profiles))
        return Run(
            number, self.faults[fault][0], profiles[profile], self.host_pmus[host], guest, self.seeds[seed]
        )

    def limit(self, guest: Guest) -> int:
        """How many instructions a run of that guest may take."""
        return self.max_instructions or LIMITS.get(guest.kind, OTHERS)

    def fault_plan(self, name: str, seed: int) -> FaultPlan:
        """The fault plan of that name with the run's seed."""
        plan = dict(self.faults)[name]
        return plan.with_seed(plan.seed * 1_000_003 + seed)

    def as_object(self) -> dict[str, object]:
        """Everything that decides about the results; a worker builds the plan from it."""
        return {
            "name": self.name,
            "faults": [[name, plan.seed, [_rule(rule) for rule in plan.rules]] for name, plan in self.faults],
            "profiles": list(self.profiles),
            "host_pmus": list(self.host_pmus),
            "guests": [[guest.kind, guest.what, *filter(None, [guest.on])] for guest in self.guests],
            "seeds": list(self.seeds),
            "max_instructions": self.max_instructions,
            "seconds": self.seconds,
            **({"files": dict(self.files)} if self.files else {}),
        }

    @classmethod
    def from_object(cls, data: Mapping[str, object]) -> CampaignPlan:
        """What `as_object` gave. ValueError, KeyError or TypeError for what it cannot have given."""
        for key in ("profiles", "host_pmus"):
            if not all(isinstance(name, str) for name in data[key]):  # type: ignore[attr-defined]
                raise ValueError(f"{key} are no names")
        if not all(type(seed) is int for seed in data["seeds"]):  # type: ignore[attr-defined]
            raise ValueError("seeds are no numbers")
        for kind, what, *on in data["guests"]:  # type: ignore[attr-defined]
            real = all(isinstance(name, str) and is_real(name) for name in on) and len(on) < 2
            if kind not in KINDS or not isinstance(what, str) or not real:
                raise ValueError(f"no guest: {str(kind)[:40]}")
            if kind != "payload":
                _guest(f"{kind}: {what}", Path())
        files = data.get("files", {})
        if not isinstance(files, dict) or not all(type(name) is str for name in files.values()):
            raise ValueError("files are no digests")
        if type(data["max_instructions"]) not in (int, type(None)):
            raise ValueError("max_instructions is no number")
        faults = tuple(
            (str(name), FaultPlan(tuple(_as_rule(rule) for rule in rules), str(name), "", seed))
            for name, seed, rules in data["faults"]  # type: ignore[attr-defined]
        )
        return cls(
            str(data["name"]), faults, tuple(data["profiles"]), tuple(data["host_pmus"]),  # type: ignore[arg-type]
            tuple(Guest(*guest) for guest in data["guests"]), tuple(data["seeds"]),  # type: ignore[attr-defined, arg-type]
            data["max_instructions"], float(data["seconds"]),  # type: ignore[arg-type]
            tuple(files.items()),
        )  # fmt: skip

    @property
    def digest(self) -> str:
        """Changes when the results may; the host time that a run may take is not part of it."""
        data = {key: value for key, value in self.as_object().items() if key != "seconds"}
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _rule(rule: Rule) -> list[object]:
    """A rule as it was written: the option says all of it."""
    return [rule.site, rule.source, rule.probability, rule.interval, rule.times, rule.space]


def _as_rule(row: list[object]) -> Rule:
    (rule,) = plan_of(str(row[1])).rules
    return rule


def load_campaign(path: str | Path) -> CampaignPlan:
    """A plan from a TOML file. FileError or UsageError in one line."""
    content, _ = read_toml(path, "campaign")
    try:
        return _build(content, Path(path).parent)
    except FileError:
        raise
    except VpmuError as error:
        raise FileError(path, error.what, expected=error.expected, got=error.got, layer="campaign") from None


def _build(content: Mapping[str, object], folder: Path) -> CampaignPlan:
    for key in content:
        if key not in _TOP:
            raise UnknownNameError("word", key, _TOP)
    profiles = [_implementation(name, folder) for name in _names(content, "profiles", ["kvm-7.2"])]
    host_pmus = _names(content, "host_pmus", ["full"])
    for host in host_pmus:
        load_host_pmu(host)
    guests = tuple(_guest(text, folder) for text in _names(content, "guests", []))
    if not guests:
        raise UsageError("guests", expected="at least one", got="none")
    faults = _faults(content.get("fault", []), folder)
    plan = CampaignPlan(
        str(content.get("name", "campaign")), faults, tuple(profiles), tuple(host_pmus), guests,
        _seeds(content.get("seeds", 1)), _limit(content),
        _number(content, "seconds", 60, 1_000_000), _files([*profiles, *(guest.on for guest in guests)]),
    )  # fmt: skip
    if not 0 < len(plan) <= MAX_RUNS:
        raise UsageError("runs", expected=f"1 to {MAX_RUNS}", got=len(plan))
    return plan


def _names(content: Mapping[str, object], key: str, default: list[str]) -> list[str]:
    value = content.get(key, default)
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise UsageError(key, expected="a list of texts", got=repr(value)[:60])
    if len(set(value)) != len(value):
        raise UsageError(key, expected="each once", got=repr(value)[:60])
    return value


def _limit(content: Mapping[str, object]) -> int | None:
    key = "max_instructions"
    return _number(content, key, OTHERS, 1 << 50) if key in content else None


def _number(content: Mapping[str, object], key: str, default: int, most: int) -> int:
    value = content.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= most:
        raise UsageError(key, expected=f"1 to {most}", got=repr(value)[:60])
    return value


def _seeds(value: object) -> tuple[int, ...]:
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_RUNS:
        return tuple(range(value))
    if isinstance(value, list) and value and all(type(seed) is int and seed >= 0 for seed in value):
        return tuple(dict.fromkeys(value))
    raise UsageError("seeds", expected="how many, or a list of numbers", got=repr(value)[:60])


def is_real(implementation: str) -> bool:
    """Whether it is real KVM, not the model of one."""
    return implementation == KVM or implementation.startswith(f"{KVM}:")


def _implementation(name: str, folder: Path) -> str:
    """A profile, or real KVM: `kvm`, `kvm:SUITE`, `kvm:IMAGE[+MODULE]` with its files found."""
    if not is_real(name):
        get_profile(name)
        return name
    where = name.partition(":")[2]
    if "/" in where:
        paths = [folder / part for part in where.split(OWN_HOST)]
        if len(paths) > 2:
            raise UsageError(name, expected="kvm:IMAGE or kvm:IMAGE+MODULE", got=f"{len(paths)} files")
        return f"{KVM}:{OWN_HOST.join(map(str, paths))}"
    if ":" in name and not (where and where.replace("-", "").isalnum()):
        raise UsageError("real KVM", expected="kvm:SUITE, or kvm:IMAGE with a slash in it", got=name)
    return name


def _files(implementations: list[str]) -> tuple[tuple[str, str], ...]:
    """Digests of what the user's own hosts are made of. FileError."""
    from ..files import read_bytes

    paths = dict.fromkeys(
        path
        for name in implementations
        if is_real(name) and "/" in name
        for path in name.partition(":")[2].split(OWN_HOST)
    )
    return tuple(
        (path, hashlib.sha256(read_bytes(path, "campaign", 1 << 30)).hexdigest()[:32]) for path in paths
    )


def _guest(text: str, folder: Path) -> Guest:
    word = text.split(" ", 1)[0].removesuffix(":")
    if is_real(word) and word != text:
        rest = text[len(word) :].removeprefix(":").strip()
        if not rest:
            raise UsageError("guest", expected=f"{word}: GUEST", got=text)
        inner = _guest(rest, folder)
        if inner.on:
            raise UsageError("guest", expected="one real KVM", got=text[:60])
        return Guest(inner.kind, inner.what, _implementation(word, folder))
    kind, colon, what = text.partition(": ")
    if not colon:
        from ..payloads import names

        if "/" in text:
            if not Path(text).is_file():
                raise UsageError(f"guest {text}", expected="a file, or the name of a payload", got="neither")
        elif text not in names():
            raise UnknownNameError("payload", text, names())
        return Guest("payload", text)
    if kind not in KINDS[1:] or not what.strip():
        raise UnknownNameError("kind of guest", kind, KINDS[1:])
    if kind == "random" and not (what.isdigit() and 0 < int(what) <= 1000):
        raise UsageError("random", expected="a number of steps from 1 to 1000", got=what)
    if kind == "script":
        from .script import parse_script

        parse_script(what.replace("; ", "\n"))
    return Guest(kind, what.strip())


def _faults(tables: object, folder: Path) -> tuple[tuple[str, FaultPlan], ...]:
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError("fault", expected="tables [[fault]]", got=repr(tables)[:60])
    found: dict[str, FaultPlan] = {}
    for number, table in enumerate(tables, 1):
        for key in table:
            if key not in _FAULT:
                raise UnknownNameError(f"word of fault {number}", key, _FAULT)
        plan = FaultPlan()
        for rule in _names(table, "inject", []):
            plan += plan_of(rule)
        if "plan" in table:
            plan += load_plan(folder / str(table["plan"]))
        if "scenario" in table:
            from .catalogue import find_scenarios

            plan += find_scenarios([str(table["scenario"])])[0].plan
        name = table.get("name", table.get("scenario", "none" if not plan else f"fault {number}"))
        if not isinstance(name, str) or not name or name in found:
            raise UsageError(
                f"name of fault {number}", expected="a text that no other fault has", got=repr(name)
            )
        found[name] = plan
    return tuple(found.items()) or (("none", FaultPlan()),)

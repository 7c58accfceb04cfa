"""What a run is a function of, as plain data: and the machine that it makes, anywhere."""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from ..errors import FileError, UsageError
from ..faults.plan import FaultPlan
from ..trace.recorder import Recorder

if TYPE_CHECKING:
    from ..perf.description import HostPmuDescription
    from ..profiles.profiles import Profile
    from ..vmm.linux.boot import LinuxBoot
    from ..vmm.loader import LoadedImage
    from ..vmm.machine import RunResult
    from ..vmm.snapshot import Snapshot

LINUX = "linux:"
MOST_EMBEDDED = 256 << 10
"""Bytes of an image that goes into the recipe itself."""
MOST_IMAGE = 1 << 30


@dataclass(frozen=True, slots=True)
class Recipe:
    """Inputs of a run. `guest`: an image's path, a payload's name, or `linux: COMMAND`; `digests` are those
    of what it is made of, `image` holds a small one (zlib, base64). `host_pmu_text` is the description where
    `host_pmu` names a file. `input`: (instruction, bytes in hexadecimal) that the console gets there.
    `limit` and `ends_ns`: instructions and virtual time at which the run ends, 0 for none.
    """

    guest: str
    profile: str = "kvm-7.2"
    with_: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    host_pmu: str = "qemu-virt"
    host_pmu_text: str = ""
    engine: str = "native"
    memory: int = 0
    harts: int = 1
    isa: tuple[str, ...] | None = None
    bootargs: str = ""
    seed: int = 0
    refuse: tuple[tuple[str, int], ...] = ()
    starve: int = 0
    faults: tuple[str, ...] = ()
    fault_seed: int = 0
    input: tuple[tuple[int, str], ...] = ()
    limit: int = 0
    ends_ns: int = 0
    kernel: str = ""
    suite: str = "trixie"
    digests: tuple[tuple[str, str], ...] = ()
    image: str = ""

    @property
    def command(self) -> str | None:
        """What Linux runs; None for any other guest."""
        return self.guest[len(LINUX) :].strip() if self.guest.startswith(LINUX) else None

    def as_object(self) -> dict[str, object]:
        """For JSON: what is not as it is by default."""
        return {name: value for name, value in asdict(self).items() if value != _DEFAULTS.get(name)}

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Recipe:
        """What `as_object` gave, read back. KeyError, TypeError or ValueError for anything else."""
        known = {field.name: field.type for field in fields(cls)}
        if not content.keys() <= known.keys():
            raise KeyError(", ".join(sorted(content.keys() - known.keys())))
        values: dict[str, Any] = {}
        for name, value in content.items():
            kind = str(known[name])
            if kind.startswith("tuple"):
                if not isinstance(value, list):
                    raise TypeError(name)
                value = tuple(tuple(item) if isinstance(item, list) else item for item in value)
            elif not isinstance(value, int if kind == "int" else str) or isinstance(value, bool):
                raise TypeError(name)
            values[name] = value
        for name, kinds in _ITEMS.items():
            for item in values.get(name, ()):
                row = item if isinstance(item, tuple) else (item,)
                if [*map(type, row)] != kinds:
                    raise TypeError(name)
        for _, typed in values.get("input", ()):
            bytes.fromhex(typed)
        return cls(**values)

    def parts(self) -> dict[str, bytes | memoryview]:
        """What the guest is made of, by name. Raises VpmuError where it is not here."""
        if self.command is not None:
            from ..vmm.linux.boot import read_kernel
            from ..vmm.linux.fetch import debian_guest

            debian = debian_guest(self.suite)
            kernel = read_kernel(self.kernel) if self.kernel else debian.kernel_image()
            return {"kernel": kernel, "initramfs": debian.initramfs()}
        if self.image:
            try:
                return {"image": zlib.decompress(base64.b64decode(self.image, validate=True))}
            except (binascii.Error, zlib.error, ValueError) as error:
                raise UsageError("image in a record", expected="zlib in base64", got=str(error)) from None
        from ..files import read_bytes
        from ..payloads import find_image

        return {"image": read_bytes(find_image(self.guest), "loader", MOST_IMAGE)}

    def complete(self) -> Recipe:
        """The recipe with the digests of what it is made of, and a small image in it."""
        parts = self.parts()
        digests = tuple((name, digest(data)) for name, data in parts.items())
        packed = b""
        if "image" in parts:
            packed = base64.b64encode(zlib.compress(parts["image"], 9))
        return replace(
            self, digests=digests, image=packed.decode() if len(packed) <= MOST_EMBEDDED else "",
        )  # fmt: skip

    def plan(self) -> FaultPlan | None:
        """Its fault plan."""
        from ..faults.read import parse_rule

        if not self.faults:
            return None
        return FaultPlan(tuple(map(parse_rule, self.faults)), seed=self.fault_seed)

    def described_host(self) -> HostPmuDescription:
        """The host's PMU."""
        from ..perf.description import describe_host_pmu, load_host_pmu

        if self.host_pmu_text:
            return describe_host_pmu(self.host_pmu_text, self.host_pmu)
        return load_host_pmu(self.host_pmu)


_ITEMS: Mapping[str, list[type]] = {
    "input": [int, str], "refuse": [str, int], "digests": [str, str], "faults": [str], "with_": [str],
    "without": [str], "isa": [str],
}  # fmt: skip
"""What the lists of a recipe hold."""
_DEFAULTS = {field.name: field.default for field in fields(Recipe)}


def digest(data: bytes | memoryview) -> str:
    """Of a part of a guest."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


class Running:
    """A run of a recipe, as far as it has come. `result` is that of a run that has ended. `profile` stands
    for the recipe's, where somebody tries another one.
    """

    def __init__(
        self, recipe: Recipe, *, recorder: Recorder | None = None, profile: Profile | None = None
    ) -> None:
        from ..vmm.machine import Machine

        self.recipe = recipe
        self.result: RunResult | None = None
        self._snapshot: Snapshot | None = None
        parts = recipe.parts()
        for name, expected in recipe.digests:
            got = digest(parts[name]) if name in parts else "none"
            if got != expected:
                raise FileError(recipe.kernel or recipe.guest, f"another {name} than that of the record",
                                expected=expected, got=got, layer="record")  # fmt: skip
        options: dict[str, Any] = {
            "profile": profile or recipe.profile, "host_pmu": recipe.described_host(),
            "harts": recipe.harts, "engine": recipe.engine, "seed": recipe.seed, "starve": recipe.starve,
            "refuse": dict(recipe.refuse), "recorder": recorder, "faults": recipe.plan(),
            "isa": recipe.isa,
        }  # fmt: skip
        if profile is None:
            options |= {"with_": recipe.with_, "without": recipe.without}
        if recipe.memory:
            options["memory"] = recipe.memory
        self.boot: LinuxBoot | None = None
        self.loaded: LoadedImage | None
        if recipe.command is None:
            self.machine = Machine(**options, bootargs=recipe.bootargs)
            self.loaded = self.machine.load(bytes(parts["image"]))
        else:
            from ..vmm.linux.boot import DEFAULT_MEMORY, LinuxBoot

            boot = self.boot = LinuxBoot(parts["kernel"], parts["initramfs"], command=recipe.command)
            self.machine = Machine(
                **{"memory": DEFAULT_MEMORY, **options}, console_out=boot.sink,
                bootargs=boot.arguments(recipe.bootargs), plic=True, second_serial=True,
            )  # fmt: skip
            boot.load(self.machine)
            self.machine.serial.hold()
            self.loaded = boot.loaded
        self.machine.turns.ends_ns = recipe.ends_ns or None
        self._input = sorted(recipe.input)
        self._kept = 0, list(self._input)

    @property
    def at(self) -> int:
        """Instructions that have retired."""
        return self.machine.instructions

    def to(self, target: int | None = None) -> RunResult | None:
        """Run until so many instructions have retired (None: to the end). The result of a run that ended."""
        machine, limit = self.machine, self.recipe.limit
        while self.result is None:
            while self._input and self._input[0][0] <= machine.instructions:
                machine.console_input(bytes.fromhex(self._input.pop(0)[1]))
            bounds = [bound for bound in (target, limit or None) if bound is not None]
            if target is not None and machine.instructions >= target:
                break
            bounds += [at for at, _ in self._input[:1]]
            left = min(bounds) - machine.instructions if bounds else None
            result = machine.run(left) if left is None or left > 0 else None
            ended = result is not None and result.stop != "budget"
            if ended or (limit and machine.instructions >= limit):
                self.result = result or machine.run(0)
        return self.result

    def keep(self) -> None:
        """Remember this moment, to come `back` to."""
        self._kept = self.at, list(self._input)
        self._snapshot = self.machine.snapshot() if self.machine.injection is None else None

    def back(self) -> Running:
        """The run at the moment of `keep`: brought back, or done again where there is no snapshot."""
        at, waiting = self._kept
        if self._snapshot is None:
            again = Running(self.recipe)
            again.to(at)
            again._kept = at, waiting
            return again
        self.machine.restore(self._snapshot)
        self._input, self.result = list(waiting), None
        return self

"""Options that commands share, and the machine that they describe. QEMU's words where QEMU has one."""

from __future__ import annotations

import argparse
import errno
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import FileError, UsageError
from ..trace.recorder import NULL, Record, Recorder, note_end
from .debugger import new_recorder
from .levels import Default, DefaultSize, add_level_options, is_bare, level_arguments
from .limits import add_limits, count
from .parser import PerfettoName, in_file, in_file_or_stdin, out_file, perfetto_file
from .parser import Subparsers as Subparsers

if TYPE_CHECKING:
    from ..conform.kvm import HostOptions
    from ..faults import FaultPlan
    from ..vmm.linux.sources import AptSource
    from ..vmm.loader import LoadedImage
    from ..vmm.machine import Machine, RunResult
    from .check import Check

DEFAULT_PROFILE = "kvm-7.2"
DEFAULT_HOST_PMU = "qemu-virt"

_UNITS = {"": 20, "K": 10, "M": 20, "G": 30, "T": 40}


def memory_size(text: str) -> int:
    """Bytes from QEMU's notation for `-m`: a number with K, M, G or T, in MiB without one."""
    match = re.fullmatch(r"(\d+)([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected a size such as 128M or 1G, got {text!r}")
    return int(match.group(1)) << _UNITS[match.group(2).upper()]


def natural(text: str) -> int:
    """A number, zero included."""
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected a number, zero or more, got {text!r}")
    return value


def refusal(text: str) -> tuple[str, int]:
    """`EVENT=ERRNO` as (event name, errno number); the errno by name (ENOENT) or number."""
    event, equals, code = text.rpartition("=")
    if not equals or not event:
        raise argparse.ArgumentTypeError(f"expected EVENT=ERRNO such as cache-misses=EBUSY, got {text!r}")
    if code.isdigit() and int(code) in errno.errorcode:
        return event, int(code)
    known = [name for name in dir(errno) if name.startswith("E")]
    if code.upper() not in known:
        import difflib

        near = difflib.get_close_matches(code.upper(), known, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise argparse.ArgumentTypeError(f"unknown errno {code!r}{hint}")
    number: int = getattr(errno, code.upper())
    return event, number


def names(text: str) -> list[str]:
    """A comma-separated list of names."""
    return [name for name in (part.strip() for part in text.split(",")) if name]


def add_json(parser: argparse.ArgumentParser) -> None:
    """`--json`, as every command has it."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def add_archive_options(parser: argparse.ArgumentParser, what: str) -> None:
    """`--refresh`, `--sources`, `--quiet`: how `what` is brought through APT."""
    parser.add_argument("--refresh", action="store_true", help=f"look for newer versions of a fetched {what}")
    parser.add_argument(
        "--sources", type=in_file, metavar="FILE",
        help="take the mirror from this APT source list (.list, .sources), not from the machine's",
    )  # fmt: skip
    parser.add_argument("--quiet", "-q", action="store_true", help="no progress")


def add_build_options(parser: argparse.ArgumentParser) -> None:
    """Builds of the user's as sides of a comparison."""
    parser.add_argument(
        "--host-kernel", metavar="IMAGE", type=in_file, action="append", default=[],
        help="a build of yours as a side, behind those that are named; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--kvm-module", metavar="FILE", type=in_file, action="append", default=[],
        help="its kvm.ko, one for each --host-kernel ('none': built in)",
    )  # fmt: skip


def add_host_options(parser: argparse.ArgumentParser, *, on: bool = True) -> None:
    """`--host-kernel`, `--kvm-module`, `--host-initrd`, and `--on`: which host of real KVM."""
    if on:
        parser.add_argument(
            "--on", choices=("vpmu", "qemu"),
            help="what runs the host of real KVM: vpmu's own hart (default) or QEMU",
        )  # fmt: skip
    parser.add_argument(
        "--host-kernel", metavar="IMAGE", type=in_file,
        help="real KVM of this kernel, on vpmu: RISC-V Image (also packed, or EFI zboot) or ELF vmlinux",
    )  # fmt: skip
    parser.add_argument(
        "--kvm-module", metavar="FILE", type=in_file,
        help="its kvm.ko (.xz, .zst, .gz), where KVM is not built in",
    )  # fmt: skip
    parser.add_argument(
        "--host-initrd", metavar="FILE", type=in_file,
        help="an initramfs for it; without one nothing is needed",
    )  # fmt: skip


def host_options(args: argparse.Namespace) -> HostOptions:
    """What `add_host_options` was given. Raises UsageError."""
    from ..conform.kvm import HostOptions

    kernel, module, initrd = args.host_kernel, args.kvm_module, args.host_initrd
    for name, value in (("--kvm-module", module), ("--host-initrd", initrd)):
        if value is not None and kernel is None:
            raise UsageError(name, expected="--host-kernel beside it", got="none")
    on = getattr(args, "on", None) or ""
    paths = [None if value is None else Path(value) for value in (kernel, module, initrd)]
    return HostOptions(on=on, kernel=paths[0], module=paths[1], initrd=paths[2])


def archive_sources(args: argparse.Namespace) -> list[AptSource] | None:
    """The APT sources of `--sources`, None where the machine's own are meant. FileError."""
    from ..vmm.linux.sources import read_sources

    if args.sources is None:
        return None
    return read_sources(Path(args.sources))


def add_profile_options(parser: argparse.ArgumentParser, *, host_pmu: str | None = DEFAULT_HOST_PMU) -> None:
    """Which implementation, with which behaviours, on which host PMU."""
    parser.add_argument(
        "--profile",
        default=Default(DEFAULT_PROFILE),
        metavar="NAME",
        help="implementation (default %(default)s)",
    )
    parser.add_argument(
        "--with",
        dest="with_",
        type=names,
        action="extend",
        default=[],
        metavar="BEHAVIOUR",
        help="switch behaviours on",
    )
    parser.add_argument(
        "--without",
        type=names,
        action="extend",
        default=[],
        metavar="BEHAVIOUR",
        help="switch behaviours off",
    )
    shown = f" (default {host_pmu})" if host_pmu else ""
    parser.add_argument(
        "--host-pmu", default=host_pmu, metavar="NAME", help=f"host PMU: a name or a TOML file{shown}"
    )
    parser.add_argument(
        "--engine",
        choices=("native", "reference"),
        default="native",
        help="what runs the guest (default %(default)s)",
    )


def add_fault_options(parser: argparse.ArgumentParser) -> None:
    """What the host refuses."""
    parser.add_argument(
        "--refuse",
        type=refusal,
        action="append",
        default=[],
        metavar="EVENT=ERRNO",
        help="host perf refuses this event with this errno (cache-misses=EBUSY); may be repeated",
    )
    parser.add_argument(
        "--starve",
        type=natural,
        default=0,
        metavar="N",
        help="other users of the host hold N programmable counters",
    )
    parser.add_argument(
        "--perf",
        choices=("model", "host"),
        default="model",
        help="where events come from (default %(default)s)",
    )


def add_inject_option(parser: argparse.ArgumentParser) -> None:
    """`--inject`, wherever a machine runs."""
    parser.add_argument(
        "--inject",
        action="append",
        default=[],
        metavar="PLAN",
        help="a fault plan: a TOML file, or a rule SITE:KEY=VALUE,... (see vpmu faults); may be repeated",
    )


def add_check_option(parser: argparse.ArgumentParser) -> None:
    """`--check`, wherever a guest runs."""
    parser.add_argument(
        "--check", action="store_true",
        help="hold every count that the guest gets against what the hart did; a wrong one is said at once,"
        " and the exit status is 3",
    )  # fmt: skip


def fault_plan(args: argparse.Namespace) -> FaultPlan | None:
    """The plan that the `--inject` options make together, chosen with `--seed`; None without one."""
    if not args.inject:
        return None
    from ..faults import FaultPlan, plan_of

    plan = sum((plan_of(text) for text in args.inject), FaultPlan())
    return plan.with_seed(plan.seed + getattr(args, "seed", 0))


def add_hardware_options(parser: argparse.ArgumentParser) -> None:
    """The machine, what its host refuses, and what names its addresses."""
    add_profile_options(parser)
    add_fault_options(parser)
    add_inject_option(parser)
    parser.add_argument(
        "-m",
        "--memory",
        type=memory_size,
        default=DefaultSize(128 << 20),
        metavar="SIZE",
        help="guest memory (default 128M; 2G for a program that has `tohost`)",
    )
    parser.add_argument("--smp", type=count, default=1, metavar="N", help="harts (default 1)")
    parser.add_argument("--append", default="", metavar="TEXT", help="boot arguments in the device tree")
    parser.add_argument(
        "--seed", type=natural, default=0, metavar="N", help="seed of everything that is chosen (default 0)"
    )
    add_level_options(parser)
    parser.add_argument(
        "--symbols", metavar="FILE", type=in_file,
        help="names for the addresses of a run that does not end well: an ELF file, an Image or a System.map",
    )  # fmt: skip
    parser.add_argument("--input", metavar="FILE", type=in_file_or_stdin, help="console input ('-': stdin)")


def add_machine_options(parser: argparse.ArgumentParser) -> None:
    """The machine, and what is recorded of its run."""
    add_hardware_options(parser)
    add_limits(parser)
    parser.add_argument(
        "--trace", metavar="FILE", type=out_file, action="append",
        help="write the trace: JSON lines; .txt gives text, .json a file for Perfetto; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--perfetto", metavar="FILE", dest="trace", type=perfetto_file, action="append",
        help="write a trace that opens in Perfetto",
    )  # fmt: skip
    add_check_option(parser)


@contextmanager
def recording(paths: Sequence[str] | None) -> Iterator[Recorder]:
    """A recorder that writes to every path as records come, or the one that records nothing."""
    if not paths:
        yield NULL
        return
    with ExitStack() as stack:
        sinks = [stack.enter_context(_written(path)) for path in paths]
        if len(sinks) == 1:
            yield Recorder(sinks[0])
            return

        def every(record: Record) -> None:
            for sink in sinks:
                sink(record)

        yield Recorder(every)


@contextmanager
def _written(path: str) -> Iterator[Callable[[Record], None]]:
    from ..trace.perfetto import PerfettoFile
    from ..trace.views import TraceFile

    try:
        with PerfettoFile(path) if isinstance(path, PerfettoName) else TraceFile(path) as sink:
            yield sink
    except OSError as error:
        if isinstance(error, BrokenPipeError) or error.filename not in (path, None):
            raise
        raise FileError.from_os_error(path, error) from None


@contextmanager
def watched(
    machine: Machine, recorder: Recorder, check: Check | None = None, loaded: LoadedImage | None = None
) -> Iterator[Callable[[RunResult], None]]:
    """While a run is recorded, its trace also says which values were not what the hart did, and in the end
    how it ended: what is yielded is told that. A run that is neither recorded nor checked is not watched.
    """
    if (check is None and not recorder.enabled) or machine.arguments["perf"] != "model":
        yield lambda result: None
        return
    if check is not None:
        oracle = check.watch(machine, loaded)
    else:
        from ..campaign.oracle import Oracle

        oracle = Oracle(machine)
    oracle.attach()

    def end(result: RunResult) -> None:
        ok = result.ok or result.stop in ("exited", "left")
        note_end(recorder, result.stop, result.reason, ok=ok, values=oracle.values,
                 wrong=len(oracle.findings))  # fmt: skip

    try:
        yield end
    finally:
        oracle.detach()


def build_machine(
    args: argparse.Namespace,
    *,
    recorder: Recorder = NULL,
    console_out: Callable[[bytes], None] | None = None,
    bootargs: str | None = None,
    plic: bool = False,
    image: str | Path | bytes | None = None,
    second_serial: bool = False,
) -> Machine:
    """The machine that the options of `add_machine_options` describe; console input is given to it.
    `bootargs` stand for `--append`; `image` is what shall run in M mode with `--firmware none`.
    """
    from ..perf.description import load_host_pmu
    from ..vmm.machine import Machine
    from .guest_devices import disks_of, shares_of

    host_pmu = load_host_pmu(args.host_pmu)
    levels = level_arguments(args, sscofpmf=host_pmu.counters.sscofpmf)
    if image is not None and is_bare(args):
        levels["firmware"] = image if isinstance(image, bytes) else str(image)
    machine = Machine(
        profile=levels.pop("profile", args.profile),
        **levels,
        with_=tuple(args.with_),
        without=tuple(args.without),
        host_pmu=host_pmu,
        perf=args.perf,
        memory=args.memory,
        harts=args.smp,
        recorder=new_recorder(args, recorder),
        refuse=dict(args.refuse),
        starve=args.starve,
        seed=args.seed,
        engine=args.engine,
        console_out=console_out,
        bootargs=args.append if bootargs is None else bootargs,
        plic=plic,
        second_serial=second_serial,
        disks=disks_of(args),
        shares=shares_of(args),
        faults=fault_plan(args),
    )
    if args.input is not None:
        machine.console_input(read_input(args.input))
    return machine


def read_input(path: str) -> bytes:
    """The bytes of a file, or of standard input for `-`."""
    import sys

    if path == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise FileError.from_os_error(path, error) from None

"""The benchmarks: guest speed against QEMU on the same ELF files, cost of SBI calls, cost of counting,
start-up.

`make bench`, or `python bench/run.py` after `python bench/build.py`. Times are the least of several rounds;
every figure that is compared with another one comes from the same run, taken in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import build
import costs
import speed
from measure import BenchError, Runner, qemus, runners
from toolchain import BuildError
from vpmu.payloads import path as payload
from vpmu.profiles.profiles import DEFAULT_PROFILE

RESULTS = Path(__file__).resolve().parent / "build" / "bench.json"
BARS = {"speed": 1.0, "calls": 30.0, "counting": 1.20, "cold": 5.0, "warm": 0.3}
"""What is promised: ratio against QEMU -icount on `mixed`, microseconds, ratio, seconds, seconds."""


def main() -> int:
    """Measure and print; 0, or 2 where something could not be measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="rounds of each measurement (default %(default)s)"
    )
    parser.add_argument("--guest", action="append", help="this guest only; may be repeated")
    parser.add_argument("--no-qemu", action="store_true", help="measure vpmu alone")
    parser.add_argument(
        "--qemu", action="append", default=[], metavar="PROGRAM",
        help="this QEMU as well as those in PATH; may be repeated",
    )  # fmt: skip
    parser.add_argument("--speed-only", action="store_true", help="guest speed and nothing else")
    parser.add_argument("--json", action="store_true", help="print the JSON object instead of tables")
    parser.add_argument(
        "-o", "--output", type=Path, default=RESULTS, help="write the JSON object there (default %(default)s)"
    )
    args = parser.parse_args()
    try:
        result = measure_all(args)
    except (BenchError, BuildError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    written = json.dumps(result, indent=2)
    try:
        args.output.write_text(written + "\n", encoding="utf-8")
    except OSError as error:
        print(f"bench: {args.output}: {error.strerror}", file=sys.stderr)
        return 2
    print(written if args.json else f"{text(result)}\n\nwritten to {args.output}")
    return 0


def say(what: str) -> None:
    """Progress, for a person who waits."""
    if sys.stderr.isatty():
        print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)


def measure_all(args: argparse.Namespace) -> dict[str, Any]:
    """All measurements as one JSON object."""
    images = {image.stem: image for image in build.build()}
    programs = {} if args.no_qemu else qemus(args.qemu)
    ways: list[Runner] = runners(programs)
    empty = payload("hello")
    chosen = [images[name] for name in args.guest or speed.SPEED_GUESTS if name in images]
    if not chosen:
        raise BenchError(f"no such guest; known: {', '.join(sorted(images))}")
    result: dict[str, Any] = {"host": host(programs)}
    speeds = speed.guest_speed(chosen, empty, ways, args.rounds, say)
    result["speed"] = [
        {
            "guest": one.guest,
            "runner": one.runner,
            "instructions": one.instructions,
            "cpu_seconds": one.cost.cpu,
            "wall_seconds": one.cost.wall,
            "net_cpu_seconds": one.net.cpu,
            "net_wall_seconds": one.net.wall,
            "mips": one.mips,
        }
        for one in speeds
    ]
    result["ratios"] = speed.ratios(speeds)
    if not args.speed_only:
        say("SBI calls")
        result["calls_us"] = {
            "scripted": costs.scripted_calls(DEFAULT_PROFILE),
            "scripted, spec-3.0": costs.scripted_calls("spec-3.0"),
            **{
                f"machine code, {name}": cost
                for name, cost in costs.machine_code_calls(
                    images["pmucalls"], empty, ways, args.rounds
                ).items()
            },
        }
        say("BASE calls")
        result["base_us"] = costs.machine_code_calls(images["basecalls"], empty, ways, args.rounds)
        say("counter reads")
        result["reads_us"] = costs.counter_reads(images["counterreads"], empty, ways[1:], args.rounds)
        say("exits between others")
        result["lone_us"] = costs.lone_exits(images, ways, args.rounds)
        say("counting")
        result["counting_seconds"] = costs.counting(images["mixed"], args.rounds)
        result["start_seconds"] = costs.start_up(args.rounds, say)
    say("")
    result["bars"] = bars(result)
    return result


def bars(result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What is promised beside what came: name -> value, bar, met."""
    found: dict[str, tuple[float, float, bool]] = {}
    for runner, mixed in result["ratios"].get("mixed", {}).items():
        if runner.endswith("-icount"):
            name = f"mixed against {runner} shift=0 (CPU time), at least"
            found[name] = mixed["cpu"], BARS["speed"], mixed["cpu"] >= BARS["speed"]
    if "calls_us" in result:
        ours = result["calls_us"]["scripted"]  # what the calls cost; in machine code three exits come on top
        found["config_matching + start + stop, us, at most"] = (ours, BARS["calls"], ours <= BARS["calls"])
        counting, start = result["counting_seconds"], result["start_seconds"]
        ratio = counting["classes"] / counting["nothing"]
        found["counting all classes, times, at most"] = (ratio, BARS["counting"], ratio <= BARS["counting"])
        for name, words in (("cold", "first start (engine build)"), ("warm", "warm start")):
            found[f"{words}, s of CPU time, at most"] = (start[name], BARS[name], start[name] <= BARS[name])
    return {name: {"value": value, "bar": bar, "met": met} for name, (value, bar, met) in found.items()}


def host(programs: Mapping[str, str]) -> dict[str, str]:
    """What was measured on."""
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.partition(":")[2].strip()
            for line in cpuinfo.read_text().splitlines()
            if "model name" in line
        ]
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu,
        "cpus": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
        "python": f"{platform.python_version()}{', compiled rooms' if compiled_rooms() else ''}",
        "qemu": " and ".join(programs) or "none",
    }


def compiled_rooms() -> bool:
    """The form of vpmu that is measured."""
    from vpmu.kvm import pmu

    return not str(pmu.__file__).endswith(".py")


def text(result: Mapping[str, Any]) -> str:
    """The tables for a person."""
    out = [", ".join(f"{key} {value}" for key, value in result["host"].items()), ""]
    rows = []
    for one in result["speed"]:
        ratio = result["ratios"].get(one["guest"], {}).get(one["runner"])
        rows.append(
            (
                one["guest"],
                one["runner"],
                f"{one['instructions'] / 1e6:,.0f} M",
                f"{one['cpu_seconds']:.2f}",
                f"{one['wall_seconds']:.2f}",
                f"{one['mips']:,.0f}",
                "" if ratio is None else f"{ratio['cpu']:.2f}x",
                "" if ratio is None else f"{ratio['low']:.2f}-{ratio['high']:.2f}",
                "" if ratio is None else f"{ratio['wall']:.2f}x",
            )
        )
    heads = ("guest", "runner", "instructions", "CPU s", "wall s", "MIPS", "vpmu is, CPU", "rounds", "wall")
    out += [table(heads, rows), ""]
    if "calls_us" in result:
        calls = result["calls_us"].items()
        out += [table(("config_matching + start + stop", "us"), [(k, f"{v:.1f}") for k, v in calls]), ""]
        base_calls = result["base_us"].items()
        out += [table(("BASE call", "us"), [(k, f"{v:.2f}") for k, v in base_calls]), ""]
        reads = result["reads_us"].items()
        out += [table(("counter CSR, read", "us"), [(k, f"{v:.3f}") for k, v in reads]), ""]
        lone = result["lone_us"].items()
        out += [table(("one exit between others", "us"), [(k, f"{v:.2f}") for k, v in lone]), ""]
        base = result["counting_seconds"]["nothing"]
        counted = [(k, f"{v:.2f}", f"{v / base:.2f}x") for k, v in result["counting_seconds"].items()]
        out += [table(("mixed, counting", "CPU s", "times"), counted), ""]
        start = result["start_seconds"].items()
        out += [table(("vpmu run hello", "s"), [(k.replace("_", ", "), f"{v:.2f}") for k, v in start]), ""]
    verdicts = [
        (name, f"{bar['value']:.2f}", f"{bar['bar']:.2f}", "met" if bar["met"] else "MISSED")
        for name, bar in result["bars"].items()
    ]
    if verdicts:
        out.append(table(("bar", "measured", "bar", ""), verdicts))
    return "\n".join(out).rstrip()


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns: text to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
    lines = [heads, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 or heads[i] == "runner" else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


if __name__ == "__main__":
    sys.exit(main())

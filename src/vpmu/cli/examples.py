"""Examples of every command, for its --help. Tests run them as they stand."""

from __future__ import annotations

from collections.abc import Mapping

DEBIAN, PACKAGES = "fetches Debian", "fetches Debian's packages"
"""What an example needs besides vpmu."""

EXAMPLES: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "run": (
        ("vpmu run counting", "a bundled payload counts a loop of its own", ""),
        ("vpmu run overflow --trace t.jsonl --perfetto t.json", "trace it, twice", ""),
        ("vpmu run counting --check", "is every count that it gets what the hart did?", ""),
        ("vpmu run counting --refuse cycles=ENOMEM", "the host's perf has no memory", ""),
    ),
    "stat": (("vpmu stat -e cycles,branches --host-pmu full counting", "count a payload from outside", ""),),
    "demo": (
        ("vpmu demo", "the scenarios, each before and after the fix", ""),
        ("vpmu demo --real", "in a stock Debian KVM host, the fix undone at run time", DEBIAN),
    ),
    "explain": (
        ("vpmu explain cycles", "who counts it", ""),
        ("vpmu explain cycles --on kvm:trixie", "through a stock host's kernel", DEBIAN),
        ("vpmu explain cache-misses --profile kvm-6.9", "who says no, and what becomes of the guest", ""),
    ),
    "profiles": (("vpmu profiles kvm-7.2", "one profile, with its behaviours", ""),),
    "events": (("vpmu events --host-pmu full", "what a host has that counts everything", ""),),
    "replay": (("vpmu replay tests/tables/kvm-7.2-basic.txt", "in a clone of the repository", ""),),
    "boot": (
        ("vpmu boot", "a shell in Debian; Ctrl-A X leaves", DEBIAN),
        ("vpmu boot --exec 'perf stat true'", "one command, and its exit status", DEBIAN),
        ("vpmu boot --file README.md --exec 'wc README.md | tee n' --get n", "files in, files out", DEBIAN),
        ("vpmu boot --install strace --exec 'strace true'", "a Debian package by name", PACKAGES),
        ("vpmu boot --share docs --exec 'ls docs'", "a folder that both see", PACKAGES),
        ("vpmu boot --modules overlay --exec 'cat /proc/modules'", "a module of its kernel", PACKAGES),
    ),
    "perf": (
        ("vpmu perf stat -e cycles,instructions true", "count", DEBIAN),
        ("vpmu perf record -e cycles sh -c 'find / -xdev | sort'", "sample: perf.folded, perf.svg", DEBIAN),
    ),
    "conform": (
        ("vpmu conform --profile kvm-7.2 --html page.html", "the suite on the model, and a page", ""),
        ("vpmu conform --only cfg --only start --profile spec-3.0", "a part of it", ""),
        ("vpmu conform --target kvm", "the suite on real KVM", DEBIAN),
        ("vpmu conform --target kvm --baseline before.json", "fail only for what got worse since", DEBIAN),
    ),
    "identify": (
        ("vpmu identify in-process --profile kvm-7.2 --save mine.toml", "vpmu itself, and a profile", ""),
        ("vpmu identify kvm:sid", "which fixes Debian sid's KVM has", DEBIAN),
    ),
    "host": (
        ("vpmu host kvm:trixie", "boot Debian's kernel as a KVM host, and say what it is", DEBIAN),
        ("vpmu host --host-kernel Image --kvm-module kvm.ko", "your own build", DEBIAN),
        ("vpmu host kvm:trixie --run counting", "a payload in a VM of it, every count checked", DEBIAN),
        (
            "vpmu host kvm:trixie --exec 'perf stat -e cycles,instructions true'",
            "Debian as its guest",
            DEBIAN,
        ),
    ),
    "costs": (
        ("vpmu costs kvm:trixie", "instructions of each call, by layer", DEBIAN),
        ("vpmu costs kvm:trixie --only start", "and the functions on the way of one", DEBIAN),
    ),
    "peers": (("vpmu peers kvm", "start real KVM and say what it is", DEBIAN),),
    "faults": (
        ("vpmu faults check perf.create:event=cycles,errno=EBUSY", "is this a rule?", ""),
        ("vpmu faults run F10 --profile kvm-7.2", "play one scenario", ""),
        ("vpmu faults run F10 --on kvm:trixie", "play it in a stock host's kernel", DEBIAN),
    ),
    "campaign": (("vpmu campaign plan.toml -j 2", "run a plan in two processes", ""),),
    "compare": (
        ("vpmu compare kvm-6.9 kvm-7.2 failing-event", "what the fix changed for this guest", ""),
        ("vpmu compare kvm-6.9 kvm-7.2 'linux: perf stat true'", "and for Linux", DEBIAN),
        ("vpmu compare kvm:trixie kvm:sid hello", "on two real kernels, with what calls cost them", DEBIAN),
        ("vpmu compare kvm-6.12.117 kvm:trixie counting", "the model against the real one", DEBIAN),
    ),
    "diverge": (
        ("vpmu diverge kvm-6.9 kvm-7.2 failing-event", "where two releases part", ""),
        ("vpmu diverge native reference overflow", "two engines: they do not", ""),
        ("vpmu diverge kvm-7.2 kvm-7.2+kvm.csr:counter=2,add=7 counting", "with a fault and without", ""),
        ("vpmu diverge kvm:trixie kvm:sid failing-event", "two real kernels", DEBIAN),
        ("vpmu diverge kvm-6.12.107 kvm-6.12.117 'linux: perf stat -e cycles true'", "in Linux", DEBIAN),
    ),
    "record": (("vpmu record overflow -o overflow.vpmu", "a run as a file", ""),),
    "verify": (("vpmu verify overflow.vpmu --engine reference", "is it the same on the other engine?", ""),),
    "report": (("vpmu report results", "what lies in the folder `results`: results/index.html", ""),),
    "travel": (
        ("vpmu travel counting --to csr:cycle --back 100", "to the first read of cycle, and before it", ""),
        ("vpmu travel overflow --host-pmu sampling --to end --back overflow", "to the last overflow", ""),
        (
            "vpmu travel linux: --to 'console:# ' --back sbi:PMU",
            "Debian's boot, back from its prompt",
            DEBIAN,
        ),
        ("vpmu travel kvm:trixie --to kvm_riscv_vcpu_pmu_ctr_start", "in a host of real KVM", DEBIAN),
    ),
    "symbols": (
        ("vpmu symbols counting -o counting.sym", "of a payload", ""),
        ("vpmu symbols trixie -o vmlinux.sym", "of the fetched Debian's kernel", DEBIAN),
        ("vpmu symbols kvm:trixie -o host.sym", "of a KVM host's kernel and module, as they lie", DEBIAN),
    ),
    "fetch": (("vpmu fetch debian", "bring it, once", DEBIAN),),
    "new": (("vpmu new guest my-driver", "then: make -C my-driver && vpmu run my-driver/my-driver.elf", ""),),
    "completion": (("vpmu completion bash", "for ~/.local/share/bash-completion/completions/vpmu", ""),),
}
"""Command -> (command line, what it does, what it needs)."""


def as_text(command: str) -> str | None:
    """The examples of a command as the end of its help; None where there are none."""
    rows = EXAMPLES.get(command)
    if rows is None:
        return None
    lines = ["examples:"]
    for line, what, needs in rows:
        lines += [f"  {line}", f"      {what}{f' ({needs})' * bool(needs)}"]
    return "\n".join(lines)

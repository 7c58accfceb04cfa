"""docs/your-kernel.md from a patch to what changes, typed as it stands: Debian's kernel is the build, and an
instruction of its kvm.ko is the patch.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vpmu.conform.kvm import VPMU, HostOptions, source_of
from vpmu.conform.target import PeerAbsent
from vpmu.debug.elf_symbols import code_sections

pytestmark = pytest.mark.slow

PAGE = Path(__file__).resolve().parents[2] / "docs" / "your-kernel.md"
CONFIG = "kvm_riscv_vcpu_pmu_ctr_cfg_match"
LI_MINUS_2, LI_MASK, IMMEDIATE_LOW, MINUS_1 = 0x5079, 0xF07F, 0x7C, 0x7C
"""c.li rd, -2: what KVM answers where perf refuses (SBI_ERR_NOT_SUPPORTED)."""


def section(title: str) -> str:
    return PAGE.read_text().split(f"## {title}\n")[1].split("\n## ")[0].split("\n### ")[0]


def commands(title: str) -> list[str]:
    return re.findall(r"^    (vpmu .*)$", section(title), re.MULTILINE)


def patched(module: bytes) -> bytes:
    """kvm.ko that answers FAILED instead of NOT_SUPPORTED: the same number of instructions."""
    data = bytearray(module)
    for part in code_sections(module, "kvm"):
        for symbol in part.symbols:
            start = module.index(part.data) + symbol.address
            if symbol.name == CONFIG:
                at = next(
                    at for at in range(start, start + symbol.size, 2)
                    if int.from_bytes(data[at : at + 2], "little") & LI_MASK == LI_MINUS_2
                )  # fmt: skip
                word = int.from_bytes(data[at : at + 2], "little") & ~IMMEDIATE_LOW | MINUS_1
                data[at : at + 2] = word.to_bytes(2, "little")
    assert data != module
    return bytes(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`before` and `after`, each with Image and kvm.ko, and `vpmu` to be called."""
    try:
        source = source_of(HostOptions(on=VPMU))
    except PeerAbsent as absent:
        pytest.skip(absent.what)
    files, here = source.read(), tmp_path_factory.mktemp("builds")
    assert files.module is not None
    for name, module in (("before", files.module), ("after", patched(files.module))):
        (here / name).mkdir()
        (here / name / "Image").write_bytes(files.kernel)
        (here / name / "kvm.ko").write_bytes(module)
    script(here / "bin" / "vpmu", f'exec {sys.executable} -m vpmu "$@"')
    return here


def script(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def typed(folder: Path, command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    return subprocess.run(
        command, shell=True, cwd=cwd or folder, env={**os.environ, "PATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_from_a_patch_to_what_changes(folder: Path) -> None:
    suite, costs, worse, dearer, compared = commands("I have a patch: here is what changes")[:5]
    for command in (suite, costs):
        done = typed(folder, command)
        assert done.returncode == 0, done.stderr
    done = typed(folder, worse)
    assert done.returncode == 1, done.stderr
    assert re.search(r"^# worse: EVENT-ABSENT: pass → unexpected: .*got FAILED", done.stdout, re.MULTILINE)
    assert re.search(r"^# against the baseline: \d+ worse, 0 better", done.stdout, re.MULTILINE)
    done = typed(folder, dearer)
    assert done.returncode == 0, done.stderr
    assert "0 of 14 calls cost more than before" in done.stdout
    table = json.loads((folder / "costs.json").read_text())  # as of a build in which a call was cheaper
    table["calls"][3]["instructions"] -= 50
    (folder / "costs.json").write_text(json.dumps(table))
    done = typed(folder, dearer)
    assert done.returncode == 1, done.stderr
    assert "1 of 14 calls cost more than before" in done.stdout
    done = typed(folder, compared)
    assert done.returncode == 0, "this guest asks for nothing that is refused"
    assert "Nothing that the guest could tell differs" in done.stdout
    refused = "failing-event --inject perf.create:event=cycles,errno=EBUSY"
    done = typed(folder, compared.replace("counting", refused))
    assert done.returncode == 1
    assert "The first difference that matters: counter_config_matching" in done.stdout
    assert re.search(r"^  kvm .*kvm_riscv_vcpu_pmu_ctr_cfg_match", done.stdout, re.MULTILINE)


def test_a_baseline_in_junit_says_the_same(folder: Path) -> None:
    build = "vpmu conform --target kvm --only EVENT --host-kernel {0}/Image --kvm-module {0}/kvm.ko"
    assert typed(folder, f"{build.format('before')} --junit before.xml").returncode == 0
    assert typed(folder, f"{build.format('before')} --baseline before.xml").returncode == 0
    done = typed(folder, f"{build.format('after')} --baseline before.xml --json")
    assert done.returncode == 1
    assert "EVENT-ABSENT" in [one["id"] for one in json.loads(done.stdout)["baseline"]["worse"]]


def test_a_fix_undone_without_a_build_is_worse(folder: Path) -> None:
    text = PAGE.read_text().split("### Without a build\n")[1].split("\n### ")[0]
    before, after = re.findall(r"^    (vpmu .*)$", text, re.MULTILINE)
    assert typed(folder, before).returncode == 0
    done = typed(folder, after)
    assert done.returncode == 1, done.stderr
    assert re.search(r"^# worse: EVENT-ABSENT: .*KVM_RUN failed with errno 2", done.stdout, re.MULTILINE)
    said = re.search(r"^# against the baseline: (\d+) worse, 0 better", done.stdout, re.MULTILINE)
    assert said is not None
    assert int(said[1]) > 20


def test_git_bisect_finds_the_commit(folder: Path, tmp_path: Path) -> None:
    """The script of the page on five commits: one that does not come up is skipped, `make` is a copy."""
    if shutil.which("git") is None:
        pytest.skip("no git here")
    (found,) = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    only = found.replace(" -q ", " -q --only EVENT-ABSENT ")
    assert only != found
    (tmp_path / "vpmu-bisect.sh").write_text(only)
    (tmp_path / "vpmu-bisect.sh").chmod(0o755)
    script(
        folder / "bin" / "make",
        f"mkdir -p arch/riscv/boot arch/riscv/kvm; from={folder}/$(cat build); test -d $from || exit 1\n"
        "cp -p $from/Image arch/riscv/boot/; cp -p $from/kvm.ko arch/riscv/kvm/",
    )
    (folder / "broken").mkdir(exist_ok=True)
    (folder / "broken" / "Image").write_bytes(b"no kernel")
    (folder / "broken" / "kvm.ko").write_bytes(b"no module")
    build = "--host-kernel before/Image --kvm-module before/kvm.ko"
    before = f"vpmu conform --target kvm --only EVENT-ABSENT --json {build} > {tmp_path / 'before.json'}"
    assert typed(folder, before).returncode == 0
    tree = tmp_path / "linux"
    tree.mkdir()
    git = "git -c user.name=n -c user.email=e@e"
    assert typed(folder, "git init -q", tree).returncode == 0
    for number, build in enumerate(("before", "before", "broken", "before", "after", "after", "after")):
        (tree / "build").write_text(build)
        (tree / "number").write_text(str(number))
        done = typed(folder, f"git add build number && {git} commit -qm 'commit {number}: {build}'", tree)
        assert done.returncode == 0, done.stderr
    assert typed(folder, "git bisect start HEAD HEAD~6", tree).returncode == 0
    done = typed(folder, f"git bisect run {tmp_path / 'vpmu-bisect.sh'}", tree)
    assert "commit 4: after" in done.stdout, done.stdout + done.stderr
    assert "is the first bad commit" in done.stdout

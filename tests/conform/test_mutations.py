"""Ten errors of one line each, planted in a copy of our own vPMU: the suite catches every one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import vpmu

MUTATIONS = [
    (
        "kvm/pmu.py",
        "return CounterInfo(0, 63, CounterType.FIRMWARE)",
        "return CounterInfo(0, 63, CounterType.HARDWARE)",
    ),
    ("kvm/pmu.py", "if last >= total and not", "if last > total and not"),
    ("kvm/pmu.py", "counter.value = counter.value + 1 & U64", "counter.value = counter.value + 2 & U64"),
    ("kvm/config.py", "if flags & ~CONFIG_FLAGS and not", "if False and not"),
    (
        "kvm/config.py",
        "    counter.started = bool(flags & AUTO_START)\n    counter.overflown = False\n    if flags",
        "    counter.overflown = False\n    if flags",
    ),
    (
        "kvm/startstop.py",
        'return pmu.member_error(SbiError.ALREADY_STARTED, counter, "it counts already")\n    if value',
        'return pmu.member_error(SbiError.ALREADY_STOPPED, counter, "it counts already")\n    if value',
    ),
    ("kvm/startstop.py", "    counter.unbind()\n", "    counter.overflown = False\n"),
    ("kvm/startstop.py", 'SbiError.NO_SHMEM, "TAKE_SNAPSHOT"', 'SbiError.FAILED, "TAKE_SNAPSHOT"'),
    ("kvm/snapshot.py", "_U64.pack(overflows)", "_U64.pack(1)"),
    ("kvm/event_info.py", "if event_idx & EVENT_INFO_RESERVED and not lenient:", "if False and not lenient:"),
    ("kvm/counter_csr.py", "    if writes:\n        raise", "    if False:\n        raise"),
]
"""(file, text, what stands there instead). The text occurs once or, where it stands twice, both are
changed.
"""


@pytest.mark.parametrize(("file", "old", "new"), MUTATIONS)
def test_a_planted_error_is_caught(tmp_path: Path, file: str, old: str, new: str) -> None:
    package = tmp_path / "vpmu"
    shutil.copytree(Path(vpmu.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    target = package / file
    text = target.read_text()
    assert old in text, "the line to change is not there any more: choose another"
    target.write_text(text.replace(old, new))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "vpmu", "conform", "--profile", "spec-3.0", "--host-pmu", "full"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stderr[-500:]
    assert "not ok" in done.stdout

"""Compiled code from the cache: run only if it is ours, whole and of this engine; written whole or not at
all.
"""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vpmu.hart import code_cache

CODE = random.Random(1).randbytes(3000)
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A stored file."""
    stored = tmp_path / "engine" / "0123.o"
    code_cache.store(stored, CODE)
    assert code_cache.load(stored) == CODE
    code_cache._said.clear()
    return stored


def _flipped(whole: bytes, at: int, bit: int) -> bytes:
    return whole[:at] + bytes((whole[at] ^ bit,)) + whole[at + 1 :]


def _damaged(whole: bytes) -> dict[str, bytes]:
    rng = random.Random(2)
    found = {
        "empty": b"", "no head": CODE, "zeros": bytes(len(whole)), "text": b"not code\n" * 100,
        "a byte more": whole + b"\0", "twice": whole * 2, "a byte in front": b"\0" + whole,
        "digest of nothing": whole[:12] + bytes(32) + whole[44:], "another magic": _flipped(whole, 10, 3),
        "halves exchanged": whole[:44] + whole[1500:] + whole[44:1500],
    }  # fmt: skip
    for _ in range(40):
        at = rng.randrange(len(whole))
        found[f"cut at {at}"] = whole[:at]
        at, bit = rng.randrange(len(whole)), 1 << rng.randrange(8)
        found[f"bit {bit:#x} of byte {at}"] = _flipped(whole, at, bit)
    return found


def test_damaged_files_are_built_again_and_said_in_a_line(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = _damaged(path.read_bytes())
    assert len(damaged) >= 80
    for name, contents in damaged.items():
        path.write_bytes(contents)
        code_cache._said.clear()
        assert code_cache.load(path) is None, name
        said = capsys.readouterr().err
        assert said.startswith(f"vpmu: cache of compiled code: {path}: damaged"), name
        assert said.count("\n") == 1, name
        code_cache.store(path, CODE)
        assert code_cache.load(path) == CODE, name
    assert capsys.readouterr().err == ""


def test_a_file_of_another_engine_or_page_is_not_taken(path: Path) -> None:
    for other in (path.with_name("0124.o"), path.parent.parent / "other" / path.name):
        other.parent.mkdir(exist_ok=True)
        other.write_bytes(path.read_bytes())
        assert code_cache.load(other) is None


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o777])
def test_what_others_may_write_is_not_used(path: Path, mode: int, capsys: pytest.CaptureFixture[str]) -> None:
    path.chmod(mode)
    assert code_cache.load(path) is None
    assert "others may write it" in capsys.readouterr().err
    path.chmod(0o600)
    path.parent.chmod(mode | 0o700)
    assert code_cache.load(path) is None
    before = path.stat().st_mtime_ns, path.stat().st_ino
    code_cache.store(path, b"new")
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
    assert capsys.readouterr().err.count("others may write it") == 1
    path.parent.chmod(0o700)
    assert code_cache.load(path) == CODE


@pytest.mark.skipif(not ROOT, reason="only root gives files away")
def test_what_another_user_has_written_is_not_used(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.chown(path, 12345, 12345)
    assert code_cache.load(path) is None
    assert "belongs to user 12345" in capsys.readouterr().err
    os.chown(path, 0, 0)
    os.chown(path.parent, 12345, 12345)
    assert code_cache.load(path) is None
    assert "belongs to user 12345" in capsys.readouterr().err


def test_links_folders_and_devices_are_not_followed(path: Path) -> None:
    real = path.rename(path.with_name("real"))
    path.symlink_to(real)
    assert code_cache.load(path) is None
    path.unlink()
    path.mkdir()
    assert code_cache.load(path) is None
    path.rmdir()
    os.mkfifo(path)
    reader = subprocess.run(
        [sys.executable, "-c", "import sys; from pathlib import Path; from vpmu.hart import code_cache\n"
         "print(code_cache.load(Path(sys.argv[1])))", str(path)],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert reader.stdout == "None\n"


@pytest.mark.parametrize("call", ["open", "fsync", "fdopen", "replace"])
def test_a_write_that_fails_leaves_what_was_there(
    path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(Path if call == "replace" else os, call, full)
    code_cache.store(path, b"new")
    monkeypatch.undo()
    assert code_cache.load(path) == CODE
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_killed_write_leaves_nothing(path: Path) -> None:
    """A process is killed again and again while it writes; the next one finds whole files and tidies up."""
    script = (
        "import sys; from pathlib import Path; from vpmu.hart import code_cache\nn = 0\n"
        "while True:\n    n += 1\n    code_cache.store(Path(sys.argv[1]), bytes([n % 251]) * 2_000_000)\n"
        "    print(n, flush=True)"
    )
    for _ in range(8):
        writer = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.003)
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        code_cache._tidied.clear()
        found = code_cache.load(path)
        assert found is not None
        assert found == found[:1] * 2_000_000
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_what_a_living_process_is_writing_stays(path: Path) -> None:
    aside = path.with_name(f".new-{os.getpid()}-1-0123.o")
    aside.write_bytes(b"half")
    code_cache._tidied.clear()
    assert code_cache.load(path) == CODE
    assert aside.exists()


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_engine_is_compiled_again(damage: str, tmp_path: Path) -> None:
    """Of the whole program: it says so once, and runs as ever."""
    pytest.importorskip("llvmlite")
    script = (
        "import sys\nfrom vpmu.hart import codegen_flags, native\n"
        "ir = 'define i64 @run(i64 %a, i64 %b) {\\n ret i64 7\\n}\\n'\n"
        "ir += ir.replace('@run', '@probe').replace('i64 %b', 'i64 %b, i64 %c')\n"
        "run, probe, _ = ir.split('}\\n')\n"
        "ir += run.replace('@run', '@unstitch') + '}\\n' + probe.replace('@probe', '@trap') + '}\\n'\n"
        "native.engine_ir = lambda counting: ir\n"
        "print(native.engine(codegen_flags.Counting.NOTHING).run(0, 0))"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}

    def run() -> tuple[str, str, int]:
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, env=environment
        )
        return done.stdout, done.stderr, done.returncode

    assert run() == ("7\n", "", 0)
    (kept,) = (tmp_path / "vpmu" / "engine").glob("*.o")
    whole = kept.read_bytes()
    kept.write_bytes(
        whole[:-100] if damage == "cut" else whole[:-100] + bytes((whole[-100] ^ 1,)) + whole[-99:]
    )
    assert run() == (
        "7\n",
        f"vpmu: cache of compiled code: {kept}: damaged, or of another engine; built again\n",
        0,
    )
    assert run() == ("7\n", "", 0)
    assert kept.read_bytes() == whole


def test_no_engine_is_unloaded_while_a_hart_may_call_it() -> None:
    """Harts keep the functions of every variant that they have run, and there are more than a few."""
    from vpmu.hart.native import engine

    assert engine.cache_parameters()["maxsize"] is None

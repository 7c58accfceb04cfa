"""What a kernel says when it comes to harm, and the exit status of it."""

from __future__ import annotations

import pytest

from vpmu.vmm.linux.boot import failure_of
from vpmu.vmm.linux.trouble import trouble
from vpmu.vmm.run_result import RunResult

NULL = "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008"
OOPS = (
    b"[    1.234567] " + NULL.encode() + b"\r\n"
    b"[    1.234600] Oops [#1]\r\n[    1.234700] CPU: 0 UID: 0 PID: 77 Comm: insmod\r\n"
)


@pytest.mark.parametrize(
    ("console", "kind", "words"),
    [
        (b"[    0.2] Kernel panic - not syncing: No init\r\n", "panic", "No init"),
        (
            OOPS,
            "oops",
            "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008",
        ),
        (b"[    1.000000] kernel BUG at mm/slub.c:1!\n", "oops", "kernel BUG at mm/slub.c:1!"),
        (
            b"[    1.000000][    T1] Oops - illegal instruction [#1]\n",
            "oops",
            "Oops - illegal instruction [#1]",
        ),
        (OOPS + b"[    2.0] Kernel panic - not syncing: Fatal exception\n", "panic", "Fatal exception"),
    ],
)
def test_harm(console: bytes, kind: str, words: str) -> None:
    found = trouble(console)
    assert found is not None
    assert (found.kind, found.words) == (kind, words)


@pytest.mark.parametrize("console", [b"", b"Oops, a program says\n", b"grep 'kernel BUG at' log\n"])
def test_no_harm(console: bytes) -> None:
    assert trouble(console) is None


def result(stop: str, reason: int | None = 0) -> RunResult:
    return RunResult(stop, "words", 1, 0, {}, b"", 0.0, reset_reason=reason)


def test_harm_is_a_failure_whatever_came_then() -> None:
    said = trouble(OOPS)
    for stop in ("reset", "shutdown", "exited", "panic"):
        told = failure_of(result(stop), 0, said, " while the command ran")
        assert told is not None
        assert told.startswith("guest: kernel oops while the command ran: Unable to handle kernel NULL")
    assert failure_of(result("exited"), 0, None, " while the command ran") is None
    assert failure_of(result("reset"), None, None, "") is None
    assert failure_of(result("shutdown", 1), None, None, "") == "guest: powered off with a failure: words"

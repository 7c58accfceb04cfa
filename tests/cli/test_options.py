"""Notations of option values."""

from __future__ import annotations

import argparse
import errno

import pytest

from vpmu.cli.limits import count
from vpmu.cli.main import main
from vpmu.cli.options import memory_size, names, natural, refusal
from vpmu.cli.output import errno_name


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("128", 128 << 20),
        ("128M", 128 << 20),
        ("1G", 1 << 30),
        ("64k", 64 << 10),
        ("2GiB", 2 << 30),
        ("1T", 1 << 40),
    ],
)
def test_memory_is_in_qemus_notation(text: str, size: int) -> None:
    assert memory_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "1.5G", "12Q", "0x10"])
def test_what_is_no_memory_size(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected a size"):
        memory_size(text)


def test_counts() -> None:
    assert (count("1_000"), count("10,000"), count("5M"), count("2k")) == (1000, 10_000, 5_000_000, 2000)
    for text in ("0", "-5", "x", ""):
        with pytest.raises(argparse.ArgumentTypeError):
            count(text)
    assert natural("0") == 0
    assert natural("0x10") == 16
    with pytest.raises(argparse.ArgumentTypeError):
        natural("-1")


def test_refusals() -> None:
    assert refusal("cache-misses=ENOENT") == ("cache-misses", errno.ENOENT)
    assert refusal("cycles=ebusy") == ("cycles", errno.EBUSY)
    assert refusal("cycles=EOPNOTSUPP") == ("cycles", errno.EOPNOTSUPP)
    assert refusal("r1=22") == ("r1", errno.EINVAL)
    for text in ("cycles", "=ENOENT", "cycles=", "cycles=EWHAT", "cycles=99999"):
        with pytest.raises(argparse.ArgumentTypeError):
            refusal(text)


def test_names() -> None:
    assert names("a, b,,c ") == ["a", "b", "c"]


def test_errnos_have_the_kernels_names() -> None:
    assert [errno_name(number) for number in (2, 16, 95, 9999, None)] == [
        "ENOENT",
        "EBUSY",
        "EOPNOTSUPP",
        "9999",
        None,
    ]


def test_boot_arguments_that_are_no_text_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """What a shell makes of $'\\xe9': a byte that is no UTF-8."""
    assert main(["run", "hello", "--append", "\udce9"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("vpmu: error: machine: a string of the device tree: expected UTF-8")
    assert "got '\\udce9' at character " in said
    assert said.count("\n") == 1

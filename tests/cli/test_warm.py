"""The kept guest stands for a boot only where it would come to the same."""

from __future__ import annotations

import argparse

import pytest

from vpmu.cli.warm import ASIDE, COLD, MACHINE, possible

from .test_parser import parser_of


def given(*words: str) -> argparse.Namespace:
    return parser_of("perf").parse_args([*words, "stat", "true"])


def test_every_option_of_perf_has_its_place() -> None:
    """A new option is one of the machine, forbids the kept guest, or has nothing to do with it."""
    options = [name for name in vars(given()) if name != "command"]
    assert sorted((*MACHINE, *COLD, *ASIDE)) == sorted(options)


@pytest.mark.parametrize(
    "words",
    ["--isa rv64gch", "--firmware opensbi", "--dtb x", "--gdb :1234", "--timeout 3s", "--append quiet",
     "--cold", "--check", "--disk x", "--share x", "--modules ext4", "--file x", "--install strace",
     "--kernel x", "--max-instructions 5", "--host-timeout 3s", "--input x", "--trace x.jsonl",
     "--perfetto x.json"],
)  # fmt: skip
def test_what_has_a_guest_booted_anew(words: str) -> None:
    assert possible(given(), "true")
    assert possible(given("--host-pmu", "full", "--smp", "2", "--inject", "hart.counter:add=1"), "true")
    assert not possible(given(*words.split()), "true")

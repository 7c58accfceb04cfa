"""Every command that runs a guest of the user's ends within a second of `--host-timeout`."""

from __future__ import annotations

import argparse
import gc
import json
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest

from vpmu.cli.limits import within
from vpmu.cli.main import COMMANDS, main
from vpmu.cli.parser import Parser
from vpmu.errors import TimeOver

LOOP = (0x0000006F).to_bytes(4, "little")  # j .
OWN = {
    "demo", "explain", "profiles", "events", "replay", "conform", "identify", "costs", "peers", "faults",
    "campaign", "report", "symbols", "fetch", "new", "completion",
}  # fmt: skip
"""Commands that run no guest, our own ones, or, in a campaign, those of a plan, which has the limits."""


@pytest.fixture(autouse=True)
def _nobody_in_the_collector() -> Iterator[None]:
    """Hypothesis times the collector in a callback, where an exception would be dropped with a warning."""
    kept = gc.callbacks[:]
    gc.callbacks.clear()
    yield
    gc.callbacks[:] = kept


@pytest.fixture
def loop(tmp_path: Path) -> str:
    path = tmp_path / "loop.bin"
    path.write_bytes(LOOP)
    return str(path)


@pytest.mark.parametrize(
    "words",
    [
        ["run", "GUEST"],
        ["stat", "-e", "cycles", "GUEST"],
        ["record", "GUEST", "-o", "FOLDER/run.vpmu"],
        ["diverge", "kvm-6.9", "kvm-7.2", "GUEST"],
        ["diverge", "native", "reference", "GUEST"],
        ["travel", "GUEST", "--to", "1000", "--to", "end"],
    ],
    ids=lambda words: "-".join(words[:3]),
)
def test_an_endless_guest_ends(
    words: list[str], loop: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [word.replace("GUEST", loop).replace("FOLDER", str(tmp_path)) for word in words]
    before = signal.getsignal(signal.SIGALRM)
    started = time.monotonic()
    assert main([given[0], "--host-timeout", "500ms", *given[1:]]) == 1
    assert time.monotonic() - started < 10  # the machine that tests may be busy
    out = capsys.readouterr()
    assert "0.5 seconds of real time are over" in out.out + out.err
    assert "Traceback" not in out.err
    assert not (tmp_path / "run.vpmu").exists()
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_a_record_that_is_done_again_has_the_limit_too(loop: str, tmp_path: Path) -> None:
    made = str(tmp_path / "run.vpmu")
    assert main(["record", "--max-instructions", "30k", loop, "-o", made]) == 0
    assert main(["verify", "--host-timeout", "1m", made]) == 0
    assert main(["verify", "--host-timeout", "1ms", "--engine", "reference", made]) == 1


def test_virtual_time_ends_a_run_that_is_done_in_pieces(
    loop: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the same instruction, whatever the pieces are, on both engines, and again and again."""
    made = str(tmp_path / "run.vpmu")
    assert main(["record", "--timeout", "500us", loop, "-o", made, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["stop"], told["instructions"]) == ("timeout", 500_000)
    assert main(["verify", made]) == 0
    capsys.readouterr()
    assert main(["record", "--timeout", "30us", "--interval", "7", loop, "-o", made, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["instructions"] == 30_000
    assert main(["verify", made, "--engine", "reference"]) == 0
    assert main(["diverge", "kvm-6.9", "kvm-7.2", loop, "--timeout", "2ms"]) == 0
    capsys.readouterr()
    steps = ["--to", "100", "--to", "end", "--back", "5", "--to", "end"]
    assert main(["travel", loop, "--timeout", "1ms", *steps]) == 0
    out = capsys.readouterr().out
    assert out.count("instruction 1,000,000") == 2
    assert "the virtual time that was allowed is used up" in out


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - OWN))
def test_every_command_that_runs_a_guest_has_the_limit(name: str) -> None:
    parser = Parser()
    import_module(f"vpmu.cli.{name}").add_parser(parser.add_subparsers(parser_class=Parser))
    (commands,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    options = commands.choices[name].format_help()
    assert "--host-timeout" in options
    assert "--timeout" in options or name == "verify"
    assert "--max-instructions" in options or name == "verify"  # a record has it


def test_a_limit_that_went_unheard_is_said_again() -> None:
    """What is raised while Python cleans up is dropped: then it is raised again, or at the end."""

    def sleep() -> None:
        with suppress(TimeOver):  # as in a finalizer
            while True:
                time.sleep(0.01)

    def sleep_on() -> None:
        sleep()
        while True:
            time.sleep(0.01)

    with pytest.raises(TimeOver), within(0.05):
        sleep()
    with pytest.raises(TimeOver), within(0.05):
        sleep_on()


def test_the_timer_is_gone_behind_it() -> None:
    with within(0.05):
        pass
    time.sleep(0.1)
    with pytest.raises(TimeOver, match=r"0\.05 seconds"), within(0.05):
        time.sleep(5)


def test_a_comparison_says_that_a_limit_ended_it(loop: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--max-instructions", "1000", "kvm-6.9", "kvm-7.2", loop]) == 0
    assert "as far as they ran: a limit ended both (budget)" in capsys.readouterr().out
    assert main(["compare", "kvm-7.1", "kvm-7.2", "hello"]) == 0
    assert "Nothing differs: same answers, same counts, same end." in capsys.readouterr().out

"""Options of every command: what is given twice adds up or is refused, a file is a file, help fits and shows
what runs.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpmu.cli.examples import DEBIAN, EXAMPLES, PACKAGES
from vpmu.cli.main import COMMANDS, _parser, main
from vpmu.cli.output import filled
from vpmu.cli.parser import FileName, Parser, out_file, perfetto_file
from vpmu.errors import FileError, UsageError, VpmuError

ROOT = Path(__file__).resolve().parents[2]
POSITIONAL = {
    "report": ["folder"],
    "run": ["x"], "stat": ["x"], "explain": ["x"], "replay": ["x"], "campaign": ["x"], "peers": ["kvm"],
    "fetch": ["debian"], "identify": ["agent"], "compare": ["a", "b", "x"], "diverge": ["a", "b", "x"],
    "verify": ["x"], "record": ["x"], "perf": ["stat"], "travel": ["x"], "symbols": ["x"],
}  # fmt: skip
VALUES = {"count": "3", "natural": "3", "memory_size": "64M", "refusal": "cycles=EBUSY", "seconds": "3s",
          "verdicts": "guest-lost", "window": "1:2", "typed": "1:a", "int": "3",
          "address": "0x10"}  # fmt: skip


def parser_of(command: str) -> Parser:
    """The parser of one command."""
    parser = import_module(f"vpmu.cli.{command}").add_parser(_parser().add_subparsers(parser_class=Parser))
    assert isinstance(parser, Parser)
    return parser


def options() -> Iterator[tuple[str, argparse.Action]]:
    """Every option of every command that takes a value."""
    for command in COMMANDS:
        for action in parser_of(command)._actions:
            if action.option_strings and action.nargs != 0:
                yield command, action


def value_of(action: argparse.Action) -> str:
    """A value that the option takes."""
    if action.choices:
        return str(next(iter(action.choices)))
    return VALUES.get(getattr(action.type, "__name__", ""), "one")


def parse(command: str, *given: str) -> argparse.Namespace:
    """What the parser of a command makes of options, with its operands behind them."""
    return parser_of(command).parse_args([*given, *POSITIONAL.get(command, [])])


CASES = [pytest.param(c, a, id=f"{c} {a.option_strings[-1]}") for c, a in options()]


@pytest.mark.parametrize(("command", "action"), CASES)
def test_twice_adds_up_or_is_refused(command: str, action: argparse.Action) -> None:
    option, value = action.option_strings[-1], value_of(action)
    once = getattr(parse(command, option, value), action.dest)
    if isinstance(once, list):
        other = "two" if value == "one" else value
        both = getattr(parse(command, option, value, option, other), action.dest)
        assert both == [*once, *getattr(parse(command, option, other), action.dest)]
    else:
        with pytest.raises(UsageError, match=f"{action.option_strings[-1]}.* is given twice"):
            parse(command, option, value, option, value)
    assert parse(command, option, value), "the parser forgets"


FILES = [case for case in CASES if case.values[1].metavar in ("FILE", "FOLDER")]


@pytest.mark.parametrize(("command", "action"), FILES)
def test_a_file_is_a_name_and_minus_is_taken_or_refused(command: str, action: argparse.Action) -> None:
    option = action.option_strings[-1]
    value = getattr(parse(command, option, "name"), action.dest)
    assert isinstance(value[0] if isinstance(value, list) else value, FileName)
    with pytest.raises(UsageError, match="expected the name of a file, got ''"):
        parse(command, option, "")
    if "'-'" in str(action.help):
        assert getattr(parse(command, option, "-"), action.dest) == "-"
    else:
        with pytest.raises(UsageError, match=f"{option}: expected the name of a file, got '-'"):
            parse(command, option, "-")


@pytest.mark.parametrize(
    "line",
    [
        "run --trace a --perfetto a hello",
        "run --trace a --trace ./a hello",
        "run --input a --trace a hello",
        "run --trace hello.elf hello.elf",
        "conform --junit a --html a",
        "compare --html a --markdown a kvm-6.9 kvm-7.2 hello",
        "perf --collapsed perf.svg record true",
    ],
)
def test_no_output_on_another_file(
    line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hello.elf").write_text("precious")
    assert main(shlex.split(line)) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "is named twice" in err
    assert (tmp_path / "hello.elf").read_text() == "precious"


@pytest.mark.parametrize(("command", "action"), FILES)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    command: str, action: argparse.Action, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    option = action.option_strings[-1]
    writes = action.type in (out_file, perfetto_file)
    for name, why in (
        ("nowhere/a", "No such file"),
        ("folder", "Is a directory"),
        ("file/a", "Not a directory"),
    ):
        if writes:
            with pytest.raises(FileError, match=f"{name}: {why}"):
                parse(command, option, name)
        else:
            assert parse(command, option, name)
    assert parse(command, option, "folder/a")


def test_two_outputs_may_go_to_a_device(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "-q", "--trace", "/dev/null", "--perfetto", "/dev/null", "hello"]) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("run -", "IMAGE: expected the name of a file, got '-'"),
        ("run --trace - hello", "--trace: expected the name of a file, got '-' (/dev/stdout is"),
        ("conform --junit -", "--junit: expected the name of a file, got '-'"),
        ("conform --random 3 --junit x", "--random with --junit"),
        ("conform --random 3 --only x", "--random with --only"),
        ("conform --random 3 --inject perf.create:errno=EIO", "--random with --inject"),
        ("conform --only frobnicate", "expected a part of a test's identifier (see --list), got frobnicate"),
        (
            "conform --only cfg --only frobnicate",
            "expected a part of a test's identifier (see --list), got frobn",
        ),
        ("demo --linux --perf host", "--linux with --perf host"),
        ("stat --json -o x hello", "--json with -o or -x"),
        ("faults list --profile kvm-7.2", "faults list: expected no --profile"),
        ("faults check --all", "faults check: expected no --all"),
    ],
)
def test_what_has_no_meaning_is_refused(
    line: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(line)) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_every_trace_is_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    names = [tmp_path / name for name in ("a.jsonl", "b.txt", "c.json", "d.pf")]
    given = [x for name in names[:3] for x in ("--trace", str(name))] + ["--perfetto", str(names[3])]
    assert main(["run", "-q", *given, "hello"]) == 0
    alone = tmp_path / "alone.jsonl"
    assert main(["run", "-q", "--trace", str(alone), "hello"]) == 0
    assert names[0].read_bytes() == alone.read_bytes() != b""
    assert len(names[1].read_text().splitlines()) == len(alone.read_text().splitlines()) - 1
    assert all(json.loads(name.read_text())["traceEvents"] for name in names[2:])


def test_only_takes_any_case_and_several(capsys: pytest.CaptureFixture[str]) -> None:
    def listed(*only: str) -> list[str]:
        given = [x for text in only for x in ("--only", text)]
        assert main(["conform", "--list", "--json", *given]) == 0
        return [test["id"] for test in json.loads(capsys.readouterr().out)["tests"]]

    first, second = listed("Cfg-M"), listed("fw-")
    assert first == [name for name in listed() if "CFG-M" in name.upper()]
    assert set(listed("CFG-m", "FW-")) == {*first, *second}


@pytest.mark.parametrize("columns", [80, 60, 200])
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_the_terminal(
    command: str, columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit):
        main([*filter(None, [command]), "--help"])
    out = capsys.readouterr().out
    wide = [line for line in out.splitlines() if len(line) > min(columns, 100) and line != line.split()[0]]
    assert [line for line in wide if not (columns < 80 and line.startswith("  "))] == []
    assert all(line.strip() == line.strip(" ") for line in out.splitlines())


def test_a_line_of_two_columns_is_filled_in_its_second() -> None:
    assert (
        filled("  name   " + "word " * 8, 40) == "  name   word word word word word word\n         word word"
    )
    assert filled("short", 40) == "short"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    out = capsys.readouterr().out
    assert EXAMPLES[command]
    for line, _, _ in EXAMPLES[command]:
        assert shlex.split(line)[:2] == ["vpmu", command]
        assert f"  {line}\n" in out


LINES = [(line, needs) for rows in EXAMPLES.values() for line, _, needs in rows]
FAILS = {"--refuse cycles=ENOMEM": 0, "cache-misses": 1, "failing-event": 1, "add=7": 1}
"""Exit status of an example that shows a refusal or a difference."""


@pytest.mark.parametrize(("line", "needs"), LINES, ids=[line for line, _ in LINES])
def test_examples_run(
    line: str, needs: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    _, command, *given = shlex.split(line)
    if needs:
        assert needs in (DEBIAN, PACKAGES)
        parser_of(command).parse_args(given)
        return
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    (tmp_path / "plan.toml").write_text('name = "a"\nguests = ["hello"]\nprofiles = ["kvm-7.2"]\n')
    if command == "verify":
        assert main(["record", "overflow", "-o", "overflow.vpmu"]) == 0
    if command == "report":
        (tmp_path / "results").mkdir()
        assert main(["run", "hello", "-q", "--trace", "results/hello.jsonl"]) == 0
    expected = next((status for text, status in FAILS.items() if text in line), 0)
    assert main([command, *given]) == expected
    assert "error" not in capsys.readouterr().err


_ODD = ("-", "--", "", "a", "a/b", "/dev/null", "x" * 300, "\0", "\udcff", "3", "1e9", "cycles=EBUSY")
_OPTIONS = sorted({option for _, action in options() for option in action.option_strings})
_WORDS = st.one_of(st.sampled_from(_OPTIONS), st.sampled_from(_ODD), st.text(max_size=8))


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(sorted(COMMANDS)), st.lists(_WORDS, max_size=6))
def test_no_command_line_breaks_a_parser(command: str, words: list[str]) -> None:
    with suppress(VpmuError):
        parser_of(command).parse_args([word for word in words if word not in ("-h", "--help")])

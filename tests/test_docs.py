"""The documentation: its links lead somewhere, and what it shows is what the commands print."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from itertools import takewhile
from pathlib import Path

import pytest

from vpmu.campaign.catalogue import load_catalogue
from vpmu.cli.main import COMMANDS, _parser, main
from vpmu.cli.parser import Parser
from vpmu.conform.suite import load_suite
from vpmu.profiles.behaviours import BEHAVIOURS
from vpmu.vmm.replay_table import read_table

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
README = (ROOT / "README.md").read_text()


def sessions(text: str) -> list[tuple[str, str]]:
    """(command, what is shown of its output) of a page; blocks of `console` need a fetched guest: tests/linux
    checks them.
    """
    return [
        (command, output)
        for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        if not language
        for command, output in re.findall(
            r"^\$ (vpmu [^\n]*|make demo)\n(.*?)(?=^\$ |\Z)", block, re.DOTALL | re.MULTILINE
        )
    ]


SESSIONS = sessions(README)
WITH_SESSIONS = [page for page in PAGES if page.name != "README.md" and sessions(page.read_text())]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_number_that_is_cited_can_be_looked_up() -> None:
    """O7 and 2.8 stand in docs/sources.md, F38 in the catalogue; nothing cites a page that is not here."""
    text = (ROOT / "docs" / "sources.md").read_text()
    cells = " ".join(re.findall(r"^\| ([O\d., ]+) \|", text, re.MULTILINE))
    known = set(re.findall(r"O\d+|\d+(?:\.\d+)+", cells)) | set(load_catalogue())
    for behaviour in BEHAVIOURS.values():
        cited = re.sub(
            r"runs? of [^,;]*(,( and)? \d+(\.\d+)+( and \d+(\.\d+)+)?)*", "", behaviour.reference
        )  # a release, and no number of ours
        for part in re.findall(r"\b[OF]\d+\b|\b\d+(?:\.\d+)+\b", cited):
            assert part in known, f"{behaviour.name}: {behaviour.reference}"
    for page in [*PAGES, *ROOT.glob("src/**/*.py"), *ROOT.glob("src/**/*.toml"), *ROOT.glob("tests/**/*.py")]:
        words = page.read_text()
        for number in re.findall(r"(?<![\w#-])O\d{1,2}\b(?!['\"]\))", words):
            assert number in known, f"{page.name}: {number}"
        assert not re.search(r"\bfacts'? \d", words), page.name


def test_the_readme_names_every_command() -> None:
    for name in COMMANDS:
        assert f"`vpmu {name}" in README


def test_the_readme_has_sessions() -> None:
    assert [command.split()[1] for command, _ in SESSIONS] == [
        "demo",
        "explain",
        "explain",
        "stat",
        "profiles",
        "replay",
    ]


def compare(command: str, shown: str, folder: Path) -> None:
    """Run a command and hold what a page shows against it; `  ...` are lines left out."""
    arguments = shlex.split(command)[1:]
    done = subprocess.run(
        [sys.executable, "-m", "vpmu", *arguments], capture_output=True, text=True, cwd=folder, check=False
    )
    printed = (done.stderr if arguments[0] == "stat" else done.stdout).strip("\n").splitlines()
    at = 0
    for line in shown.strip("\n").splitlines():
        if line == "  ...":
            at = -1
        elif at < 0:
            assert line in printed
            at = printed.index(line) + 1
        else:
            assert line == printed[at]
            at += 1


@pytest.mark.parametrize(("command", "shown"), SESSIONS, ids=[command for command, _ in SESSIONS])
def test_what_the_readme_shows_is_what_comes(command: str, shown: str) -> None:
    compare(command, shown, ROOT)


@pytest.mark.parametrize("page", WITH_SESSIONS, ids=lambda page: page.name)
def test_what_the_docs_show_is_what_comes(page: Path, tmp_path: Path) -> None:
    for command, shown in sessions(page.read_text()):
        compare(command, shown, tmp_path)


(SCRIPT,) = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_the_script_of_the_readme_runs() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    expected = re.findall(r"# (\d+)$", SCRIPT, re.MULTILINE)
    *numbers, failure = done.stdout.splitlines()
    assert numbers == expected
    assert "KVM_RUN failed: Device or resource busy" in failure


def test_the_script_of_the_readme_has_the_right_types(tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "mypy", "--strict", str(tmp_path / "example.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert [line for line in done.stdout.splitlines() if "example.py:" in line] == []
    assert done.stdout.splitlines()[-1].startswith(("Success", "Found")), done.stdout


def shown() -> Iterator[tuple[str, str]]:
    """(page, command line) of every vpmu command in a block of code, and of the whole ones in the text."""
    for page in PAGES:
        if page.name == "CHANGELOG.md":  # tells of the past
            continue
        text = page.read_text().replace("\\\n", " ")
        blocks = re.findall(r"^```.*?^```$|(?:^ {4}\S.*\n)+", text, re.DOTALL | re.MULTILINE)
        for line in "\n".join(blocks).splitlines():
            found = re.match(r"\s*(?:\$ )?(?:PYTHONPATH=\S+ )?(vpmu [a-z].*)", line)
            if found:
                yield page.name, re.split(r"\s{2,}(?=[^\s-])", found[1])[0]
        for line in re.findall(r"`(vpmu [^`]+)`", text):
            if not re.search(r"\b[A-Z]{2,}\b|…|\.\.\.", line):
                yield page.name, line


@pytest.mark.parametrize(("page", "line"), sorted(set(shown())))
def test_every_command_that_is_shown_can_be_typed(page: str, line: str) -> None:
    _, command, *arguments = takewhile(
        lambda word: word not in (">", "|", "&"), shlex.split(line, comments=True)
    )
    parser = import_module(f"vpmu.cli.{command}").add_parser(_parser().add_subparsers(parser_class=Parser))
    operands = [action for action in parser._actions if not action.option_strings]
    if arguments or not operands:  # the bare name of a command that needs more is a name
        parser.parse_args(arguments)


CHEAP = [
    found[1].strip()
    for found in re.finditer(r"^ {4}(vpmu (?:run|stat|faults|compare|explain)[^#\n]*)", README, re.MULTILINE)
]


@pytest.mark.parametrize("line", CHEAP)
def test_what_the_readme_types_runs(line: str, capfd: pytest.CaptureFixture[str]) -> None:
    status = main(shlex.split(line)[1:])
    fails = "kvm-6.9" in line or "cache-misses" in line
    assert (line, status) == (line, 1 if fails else 0)
    assert "error:" not in capfd.readouterr().err


def test_the_numbers_of_the_readme_are_those_of_today() -> None:
    recorded = [path for kind in ("kvm", "opensbi") for path in (ROOT / "tests/tables").glob(f"{kind}-*.txt")]
    tables = {path.name: read_table(path).lines for path in recorded}
    kvm = sum(lines for name, lines in tables.items() if name.startswith("kvm-"))
    assert f"All {kvm:,} lines of the {number_word(tables)} KVM tables" in README.replace("\n", " ")
    assert f"the {tables['opensbi-1.6.txt']:,} of OpenSBI" in README.replace("\n", " ")
    assert f"runs {len(load_suite())} tests" in README
    scenarios = load_catalogue().values()
    absent = sum(bool(scenario.absent) for scenario in scenarios)
    catalogue = (ROOT / "docs" / "faults.md").read_text().replace("\n", " ")
    assert f"eighty failure scenarios, F1 to F{len(scenarios)}; two of them cannot exist" in catalogue
    assert (len(scenarios), absent) == (80, 2)


def number_word(tables: dict[str, int]) -> str:
    """How many tables of KVM there are, as a word."""
    words = ("six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    return words[sum(name.startswith("kvm-") for name in tables) - 6]


def test_tables_of_commands_and_options_fit_a_terminal() -> None:
    rows = [line for line in README.splitlines() if line.startswith(("| `vpmu ", "| `-"))]
    assert len(rows) > 30
    assert [row for row in rows if len(row) > 80] == []
    assert len({row.split("|")[1] for row in rows}) == len(rows), "a row stands twice"

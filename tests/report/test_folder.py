"""`vpmu report`: what the commands write is known again, whatever else lies in the folder."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from vpmu.cli.main import main
from vpmu.errors import FileError
from vpmu.report.folder import page
from vpmu.report.found import KINDS, look
from vpmu.vmm.linux.flame import draw

PLAN = 'name = "small"\nguests = ["counting"]\nprofiles = ["kvm-7.2"]\n'


def command(folder: Path, *words: str, to: str | None = None) -> None:
    """A command line in the folder, its standard output in a file."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "vpmu", *words],
        cwd=folder,
        capture_output=True,
        check=False,
        timeout=100,
    )
    assert done.returncode in (0, 1), done.stderr
    if to is not None:
        (folder / to).write_bytes(done.stdout)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    (folder / "plan.toml").write_text(PLAN)
    command(folder, "run", "counting", "--json", "--trace", "trace.jsonl", to="run.json")
    command(folder, "stat", "counting", "--json", to="stat.json")
    command(
        folder,
        "run",
        "counting",
        "--json",
        "--refuse",
        "cycles=ENOMEM",
        "--profile",
        "kvm-6.9",
        to="lost.json",
    )
    command(folder, "conform", "-q", "--only", "BASE", "--json", "--junit", "junit.xml", to="conform.json")
    command(folder, "compare", "kvm-6.9", "kvm-7.2", "failing-event", "--html", "compare.html", "--json",
            to="compare.json")  # fmt: skip
    command(folder, "diverge", "kvm-6.9", "kvm-7.2", "failing-event", "--json", to="diverge.json")
    command(folder, "faults", "run", "F10", "--json", to="faults.json")
    command(folder, "campaign", "plan.toml", "-q")
    (folder / "perf.svg").write_text(draw({("true", "main"): 1}, "perf record true"))
    return folder


class _Page(HTMLParser):
    """Tags that are open, and what is linked."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "br", "input", "wbr", "line", "rect", "circle", "path"):
            self.open.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src") and value is not None]

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            while self.open.pop() != tag:
                pass


def test_every_kind_is_known(results: Path) -> None:
    found, damaged = look(results)
    assert damaged == []
    told = {str(one.path.relative_to(results)): one for one in found}
    assert {one.kind for one in found} == set(KINDS)
    assert told["run.json"].chips == [("good", "shutdown")]
    assert told["lost.json"].chips == [("lost", "KVM_RUN: ENOMEM")]
    assert "2,004,548" in told["stat.json"].more
    assert told["conform.json"].chips[0][0] == "good"
    assert "perf-failure-ends-kvm-run" in told["compare.json"].what
    assert told["diverge.json"].chips == [("soft", "part at counter_config_matching")]
    assert ("wrong", "silently wrong") in [
        (colour, re.sub(r"^\d+ ", "", words)) for colour, words in told["faults.json"].chips
    ]
    assert told["plan"].kind == "campaign"
    assert told["plan"].page == results / "plan" / "report.html"
    assert told["perf.svg"].what == "perf record true"
    assert "records" in told["trace.jsonl"].what
    assert told["junit.xml"].chips[0] == ("good", "none failed")


def test_the_page_links_what_is_there(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(results)]) == 0
    assert "results" in capsys.readouterr().out
    html = _Page()
    html.feed((results / "index.html").read_text())
    assert html.links
    assert all((results / link).exists() for link in html.links)
    assert main(["report", str(results), "--json"]) == 0  # the page itself is no result
    told = json.loads(capsys.readouterr().out)
    assert [one["path"] for one in told["results"] if one["kind"] == "page"] == [
        str(results / "compare.html")
    ]


def test_a_page_elsewhere_links_as_well(results: Path, tmp_path: Path) -> None:
    assert main(["report", str(results), "-o", str(tmp_path / "page.html")]) == 0
    html = _Page()
    html.feed((tmp_path / "page.html").read_text())
    assert all((tmp_path / link).resolve().exists() for link in html.links)


def test_damaged_results_are_said(results: Path, tmp_path: Path) -> None:
    """Whatever becomes of the bytes: a result, one line, or nothing; never a traceback or broken HTML."""
    chance = random.Random(7)
    whole = {path.name: path.read_bytes() for path in results.iterdir() if path.suffix in (".json", ".jsonl",
             ".svg", ".xml", ".html")}  # fmt: skip
    for number in range(120):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, data in whole.items():
            if name == "conform.json" and number > 20:
                continue
            changed = bytearray(data)
            for _ in range(chance.randrange(1, 5)):
                changed[chance.randrange(len(changed))] = chance.choice(b'<>&"0n{}[],x\xff')
            (folder / name).write_bytes(
                changed[: chance.randrange(len(changed))] if chance.random() < 0.4 else changed
            )
        found, damaged = look(folder)
        text = page("<b>", folder / "index.html", found, damaged)
        html = _Page()
        html.feed(text)
        assert html.open in ([], ["html", "body"]) or not html.open
        assert all(why and "\n" not in why for _, why in damaged)
    shaped = ["run.json", "stat.json", "compare.json", "diverge.json", "faults.json"]
    values = [None, [], {}, "x", -1, 1.5, [[]], [{}], {"a": {}}]
    for number in range(300):
        folder = tmp_path / f"shape{number}"
        folder.mkdir()
        told = json.loads(whole[chance.choice(shaped)])
        told[chance.choice(list(told))] = chance.choice(values)
        (folder / "a.json").write_text(json.dumps(told))
        look(folder)


@pytest.mark.parametrize("name", ["none", "file"])
def test_no_folder(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("x")
    assert main(["report", str(tmp_path / name)]) == 2
    assert "report: " in (said := capsys.readouterr().err)
    assert said.count("\n") == 1


def test_nothing_to_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.json").write_text('{"other": 1}')
    (tmp_path / "loop").symlink_to(tmp_path)
    assert main(["report", str(tmp_path)]) == 2
    assert "no results of vpmu" in capsys.readouterr().err
    assert not (tmp_path / "index.html").exists()
    with pytest.raises(FileError):
        look(tmp_path / "none")

"""Pages: complete in themselves, and nothing in them that a plan or a guest could smuggle in."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

from vpmu.campaign.compare import compare
from vpmu.campaign.coordinator import campaign
from vpmu.campaign.oracle import Finding
from vpmu.campaign.plan import load_campaign
from vpmu.campaign.run import Runner
from vpmu.campaign.shrink import find_cases
from vpmu.faults import FaultPlan, parse_rule
from vpmu.payloads import path
from vpmu.report import campaign as campaign_page
from vpmu.report import compare as compare_page
from vpmu.report.drawings import counts
from vpmu.trace.perfetto import PerfettoFile
from vpmu.trace.recorder import Record

VOID = {"meta", "input", "br", "wbr", "path", "circle", "rect"}


class Checked(HTMLParser):
    """Every element is closed, nothing is loaded from outside."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        for name, value in attrs:
            assert name not in ("src", "href"), value
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def test_a_campaign_as_a_page(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(
        'name = "<b>&x"\nprofiles = ["kvm-6.12", "kvm-7.2"]\nguests = ["overflow", "failing-event"]\n'
        '[[fault]]\nname = "none"\n[[fault]]\nname = "<script>alert(1)</script>"\n'
        'inject = ["perf.enable:state=error"]\n'
    )
    plan = load_campaign(tmp_path / "plan.toml")
    _, results = campaign(plan, tmp_path / "out")
    cases = find_cases(plan, results, Runner(plan))
    text = campaign_page.page(plan, results, cases)
    page = Checked(text)
    assert "<script>alert" not in text
    assert page.seen.count("script") == 1
    assert page.seen.count("svg") >= len(cases) > 0
    assert text.count("<tr data-verdict") == len(results) == 8
    assert "silently wrong" in text


def test_a_comparison(tmp_path: Path) -> None:
    plan = FaultPlan((parse_rule("perf.create:event=cache-misses,errno=EBUSY"),))
    found = compare("kvm-6.9", "kvm-7.2", str(path("failing-event")), plan, name="failing-event")
    assert found.first.end == "KVM_RUN failed with EBUSY"
    assert found.second.end == "shutdown, reason 0"
    assert found.differs_at is not None
    assert found.first.calls[found.differs_at].actor == "counter_config_matching"
    assert [one.behaviour.name for one in found.explained] == ["perf-failure-ends-kvm-run"]
    text = compare_page.markdown(found)
    assert "2196c066f138" in text
    assert "| end | KVM_RUN failed with EBUSY | shutdown, reason 0 | **differs** |" in text
    Checked(compare_page.page(found))


def test_nothing_differs() -> None:
    found = compare("kvm-7.2", "kvm-7.2", str(path("counting")), FaultPlan())
    assert not found.changed
    assert "Nothing differs" in compare_page.markdown(found)
    Checked(compare_page.page(found))


def test_perfetto(tmp_path: Path) -> None:
    with PerfettoFile(tmp_path / "trace") as sink:
        sink(Record(1500, 1, "perf", "perf_event", "disable", {"event": "cycles", "count": 7}, "off"))
        sink(Record(2500, 1, "sbi", "counter_stop", "call", {}, (0, 0)))
    events = json.loads((tmp_path / "trace").read_text())["traceEvents"]
    assert {event["ph"] for event in events} == {"M", "i", "C"}
    (count,) = [event for event in events if event["ph"] == "C"]
    assert (count["name"], count["ts"], count["pid"], count["args"]) == ("cycles", 1.5, 1, {"count": 7})
    with PerfettoFile(tmp_path / "slices") as sink:
        sink(Record(1000, 0, "perf", "perf_event", "enable", {"event": "cycles", "counter": 3}, "active"))
        sink(Record(4000, 0, "perf", "perf_event", "disable", {"event": "cycles", "count": 3000}, "off"))
        sink(Record(5000, 0, "perf", "perf_event", "enable", {"event": "cycles", "counter": None}, "error"))
        sink(Record(6000, 0, "perf", "perf_event", "enable", {"event": "cycles", "counter": 3}, "active"))
        sink(Record(9000, 0, "sbi", "system_reset", "call", {}, None))
    events = json.loads((tmp_path / "slices").read_text())["traceEvents"]
    slices = [(event["ts"], event["dur"]) for event in events if event["ph"] == "X"]
    assert slices == [(1, 3), (6, 3)]
    with PerfettoFile(tmp_path / "empty"):
        pass
    assert json.loads((tmp_path / "empty").read_text())["traceEvents"] == []


def test_counts_that_begin_far_out_are_told_by_their_difference() -> None:
    near = Finding(5, 0, 3, "cycles", "csr", 7, 9)
    far = Finding(5, 0, 3, "cycles", "csr", (1 << 63) + 1, (1 << 63) + 528)
    assert str(near) == "counter 3 (cycles): the guest read 7, the hart did 9"
    assert str(far) == "counter 3 (cycles): the guest read 0x8000000000000001, 527 too little"
    assert "did 9<" in counts([near], 0, 10)
    text = counts([far], 0, 10)
    Checked(text)
    assert "from 0x8000000000000001 on" in text
    assert "did 527<" in text
    assert counts([replace(near, told=9)], 0, 10) == ""  # nothing is wrong: nothing is drawn

"""The style sheet is whole and used: a rule stands once, a class of a page has a rule, chips can be read."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from vpmu.campaign.compare import compare
from vpmu.campaign.coordinator import campaign
from vpmu.campaign.plan import load_campaign
from vpmu.campaign.run import Runner
from vpmu.campaign.shrink import find_cases
from vpmu.conform.suite import load_suite
from vpmu.conform.targets import open_target
from vpmu.conform.verdict import run_suite
from vpmu.faults import FaultPlan, parse_rule
from vpmu.payloads import path
from vpmu.report import campaign as campaign_page
from vpmu.report import compare as compare_page
from vpmu.report.conformance import matrix
from vpmu.report.html import COLOURS, STYLE, page

PLAN = """
name = "style"
profiles = ["kvm-6.9", "kvm-7.2"]
guests = ["failing-event", "overflow"]
[[fault]]
name = "no counter"
inject = ["perf.enable:state=error"]
"""


def rules(text: str) -> list[tuple[str, str, dict[str, str]]]:
    """(media, selector, declarations) of a style sheet; an assertion for what is none."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    found = []
    media, at = "", 0
    while rest := text[at:].strip():
        at = len(text) - len(text[at:].lstrip())
        if rest.startswith("}"):
            assert media, "a brace too many"
            media, at = "", at + 1
            continue
        head, brace, body = rest.partition("{")
        assert brace, f"no rule: {rest[:60]}"
        assert not re.search(r"[};]", head), f"not closed before {head}"
        if head.startswith("@"):
            assert not media, "a rule is not closed"
            media, at = head.strip(), at + len(head) + 1
            continue
        inside, brace, _ = body.partition("}")
        assert brace, f"not closed: {head}"
        assert "{" not in inside, f"not closed: {head}"
        declared = [line.partition(":") for line in filter(None, map(str.strip, inside.split(";")))]
        assert all(colon and name.strip() and value.strip() for name, colon, value in declared), head
        found.append((media, " ".join(head.split()), {n.strip(): v.strip() for n, _, v in declared}))
        at += len(head) + len(inside) + 2
    assert not media, "a rule is not closed"
    return found


def pages(folder: Path) -> dict[str, str]:
    """A page of each kind."""
    (folder / "plan.toml").write_text(PLAN)
    plan = load_campaign(folder / "plan.toml")
    _, results = campaign(plan, folder / "out")
    faults = FaultPlan((parse_rule("perf.create:event=cache-misses,errno=EBUSY"),))
    tests = [test for test in load_suite() if test.id.startswith(("BASE", "OVERFLOW", "SNAP"))]
    columns = []
    for profile in ("kvm-6.9", "kvm-7.2"):
        target = open_target("in-process", profile, "full")
        columns.append((target, run_suite(target, tests)))
        target.close()
    return {
        "campaign": campaign_page.page(plan, results, find_cases(plan, results, Runner(plan))),
        "compare": compare_page.page(compare("kvm-6.9", "kvm-7.2", str(path("failing-event")), faults)),
        "conform": matrix(columns),
    }


def test_the_style_is_whole_and_says_nothing_twice() -> None:
    found = rules(STYLE)
    assert len(found) > 30
    assert [rule for rule, times in Counter((m, s) for m, s, _ in found).items() if times > 1] == []
    defined = {name for _, _, declared in found for name in declared if name.startswith("--")}
    used = set(re.findall(r"var\((--[a-z]+)\)", STYLE))
    assert used <= defined


def test_pages_and_style_know_the_same_classes(tmp_path: Path) -> None:
    made = pages(tmp_path)
    in_style = {name for _, selector, _ in rules(STYLE) for name in re.findall(r"\.([a-z]+)", selector)}
    in_pages = {
        name
        for text in made.values()
        for names in re.findall(r"\bclass=[\"']([^\"']*)", text)
        for name in names.split()
    }
    assert in_pages <= in_style
    assert in_style <= in_pages | {colour for colour, _ in COLOURS.values()} | {"none"}
    for text in made.values():
        assert text.count("<style>") == 1
        assert STYLE in text
        assert set(re.findall(r"var\((--[a-z]+)\)", text)) <= set(re.findall(r"(--[a-z]+):", STYLE))
    assert "OVERFLOW-IRQ<span>" in made["conform"] or re.search(r"OVERFLOW-[A-Z-]+<span>", made["conform"])
    for row in re.findall(r'<tr data-verdict="([^"]*)">(.*?)</tr>', made["conform"]):
        words = re.findall(r'<summary><span class="v \w+">(\w+)</span></summary>', row[1])
        assert sorted(set(words)) == row[0].split("|")


def test_white_on_a_chip_can_be_read() -> None:
    """Contrast of WCAG 2.2, section 1.4.3."""
    (root,) = [declared for _, selector, declared in rules(STYLE) if selector == ":root"]
    chips = {declared["background"] for _, selector, declared in rules(STYLE)
             if selector.startswith(".") and "var(--" in declared.get("background", "")}  # fmt: skip
    assert len(chips) == 6
    for chip in chips:
        colour = root[chip[4:-1]]
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        light = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        assert 1.05 / (light + 0.05) >= 4.5, chip
        assert (light + 0.05) / (0.006 + 0.05) >= 2.5, f"{chip} on a dark page"


def test_a_title_cannot_leave_its_place() -> None:
    assert "<title>&lt;b&gt;</title>" in page("<b>", [])

"""Pages in a real browser, on a desk and on a phone: filters, cells that open runs, zoom and search."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vpmu.campaign.coordinator import campaign
from vpmu.campaign.plan import load_campaign
from vpmu.campaign.run import Runner
from vpmu.campaign.shrink import find_cases
from vpmu.campaign.verdict import Verdict
from vpmu.report import campaign as campaign_page
from vpmu.report.folder import page as folder_page
from vpmu.report.found import look as find
from vpmu.vmm.linux.flame import draw

PLAN = """
name = "browser"
profiles = ["kvm-6.12", "kvm-7.2"]
host_pmus = ["full", "qemu-virt"]
guests = ["failing-event", "overflow"]
seeds = 2
[[fault]]
name = "none"
[[fault]]
name = "no counter"
inject = ["perf.enable:state=error"]
"""
ACT = """
const shown = () => [...document.querySelectorAll('#runs tbody tr')].filter(row => row.offsetParent !== null);
seen.all = shown().length;
const set = (id, value) => {
  const one = document.querySelector(id); one.value = value; one.dispatchEvent(new Event('input')) };
set('#profile', 'kvm-7.2'); seen.profile = shown().length;
set('#verdict', 'silently wrong');
seen.wrong = shown().length; seen.verdicts = [...new Set(shown().map(row => row.dataset.verdict))];
document.querySelector('#all').click(); seen.again = shown().length;
set('#find', 'OVERFLOW'); seen.found = shown().length;
const cell = [...document.querySelectorAll('[data-show]')].find(one => one.textContent.includes('silently'));
cell.click(); seen.cell = JSON.parse(cell.dataset.show);
seen.clicked = shown().map(row => ({...row.dataset}));
document.querySelector('#all').click();
cell.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter'})); seen.key = shown().length;
seen.width = document.documentElement.scrollWidth <= window.innerWidth;
const trace = [...document.querySelectorAll('.case details')].at(-1);
trace.querySelector('summary').click(); seen.trace = trace.open && trace.innerText.includes('counter_start');
const shownIn = one => one.closest('.desk, .phone').offsetParent;
const drawings = [...document.querySelectorAll('svg')].filter(shownIn);
seen.drawn = drawings.length > 0 && drawings.every(one => {
  const box = one.getBoundingClientRect();
  const least = Math.min(window.innerWidth, 980) * .6;
  return box.height > 20 && box.right <= window.innerWidth && box.width > least });
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, object]], str]:
    folder = tmp_path_factory.mktemp("page")
    (folder / "plan.toml").write_text(PLAN)
    plan = load_campaign(folder / "plan.toml")
    _, results = campaign(plan, folder / "out")
    return results, campaign_page.page(plan, results, find_cases(plan, results, Runner(plan)))


@pytest.mark.parametrize("width", [1280, 390])
def test_a_person_at_the_page(
    page: tuple[list[dict[str, object]], str], width: int, look: Callable[[str, str, int], Any]
) -> None:
    results, text = page
    seen = look(text, ACT, width)
    assert seen["all"] == seen["again"] == len(results)
    assert seen["profile"] == len(results) // 2
    wrong = [r for r in results if (r["profile"], r["verdict"]) == ("kvm-7.2", Verdict.SILENTLY_WRONG)]
    assert seen["wrong"] == len(wrong) > 0
    assert seen["verdicts"] == ["silently wrong"]
    assert seen["found"] == sum(r["guest"] == "overflow" for r in results)
    profile, fault, verdict, guest, host = seen["cell"]
    assert seen["key"] == len(seen["clicked"]) == 2
    for row in seen["clicked"]:
        assert (row["profile"], row["fault"], row["verdict"]) == (profile, fault, verdict)
        assert (row["guest"], row["host_pmu"]) == (guest, host)
    assert seen["width"], "the page is wider than the window"
    assert seen["trace"]
    assert seen["drawn"]


GRAPH = """
const svg = document.querySelector('svg'), all = [...svg.querySelectorAll('.f')];
const names = () => all.filter(one => one.style.display !== 'none').map(one => one.textContent);
const one = name => all.find(f => f.querySelector('title').textContent.startsWith(name + ': '));
const box = name => one(name).querySelector('rect').getBoundingClientRect();
const told = () => svg.querySelector('.told').textContent;
seen.told = told(); seen.wide = [box('all').left, box('all').right, window.innerWidth];
seen.fits = document.documentElement.scrollWidth <= window.innerWidth;
seen.hidden = one('rare').style.display;
one('wait').dispatchEvent(new MouseEvent('click'));
seen.zoomed = [told(), box('wait').width, one('work').style.display];
const key = () => dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape'}));
key(); seen.back = [told(), one('work').style.display];
const field = svg.querySelector('input');
const find = text => { field.value = text; field.dispatchEvent(new Event('input')); };
find('LOOP'); seen.found = [told(), all.filter(one => one.classList.contains('hit')).length];
key(); seen.cleared = [told(), all.filter(one => one.classList.contains('hit')).length, field.value];
"""


@pytest.mark.parametrize("width", [1280, 390])
def test_a_flame_graph_zooms_and_searches(width: int, look: Callable[[str, str, int], Any]) -> None:
    stacks = {
        ("sh", "loop", "work"): 3_000_000, ("sh", "loop", "loop"): 1_000_000, ("find", "wait"): 4_000_000,
        ("find", "wait", "<b>&\x1b]]>"): 1_995_000, ("find", "wait", "rare"): 5_000,
    }  # fmt: skip
    graph = draw(stacks, "perf record -e cycles " + "word " * 40, "10,000,000 cycles")
    page = f"<!doctype html><html><head></head><body style='margin:0'>{graph}</body></html>"
    seen = look(page, GRAPH, width)
    told = "10,000,000 cycles"
    assert seen["told"] == told
    left, right, window = seen["wide"]
    assert window == width
    assert 0 < left < 0.05 * width
    assert 0.95 * width < right <= width
    assert seen["fits"]
    assert seen["hidden"] == ("none" if width < 1000 else "")
    assert seen["zoomed"][0] == "wait: 6,000,000 (60.00%)"
    assert seen["zoomed"][1] > 0.9 * width
    assert seen["zoomed"][2] == "none"
    assert seen["back"] == [told, ""]
    assert seen["found"] == ["2 found, 40.00%", 2]
    assert seen["cleared"] == [told, 0, ""]


FOLDER = """
const shown = () => [...document.querySelectorAll('#tests > tbody > tr')].filter(row => row.offsetParent);
const set = (id, value) => {
  const one = document.querySelector(id); one.value = value; one.dispatchEvent(new Event('input')) };
seen.all = shown().length; seen.told = document.querySelector('#shown').textContent;
set('#kind', 'run'); seen.run = shown().length;
document.querySelector('#all').click();
set('#verdict', 'lost or failed'); seen.lost = shown().map(row => row.querySelector('a').textContent);
document.querySelector('#all').click();
for (const one of document.querySelectorAll('details > summary')) one.click();
seen.opened = [...document.querySelectorAll('details')].every(one => one.open);
seen.width = document.documentElement.scrollWidth <= window.innerWidth;
"""


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_of_a_folder(tmp_path: Path, width: int, look: Callable[[str, str, int], Any]) -> None:
    run = {"stop": "shutdown", "instructions": 5, "console": "word " * 400, "reason": "done"}
    lost = {**run, "stop": "kvm_run_failed", "kvm_run_errno": 12, "kvm_run_errno_name": "ENOMEM"}
    rows = [{"what": "x" * 90, "first": "1", "second": "2"}] * 5
    compared = {"changed": True, "rows": rows, "behaviours": [{"name": "long-name-" * 12}]}
    for name, told in (("run", run), ("lost", lost), ("compared", compared)):
        (tmp_path / f"{name}.json").write_text(json.dumps(told))
    text = folder_page("results", tmp_path / "index.html", *find(tmp_path))
    seen = look(text, FOLDER, width)
    assert seen["all"] == 3
    assert seen["told"] == "3 shown"  # rows of tables inside a row are not results
    assert seen["run"] == 2
    assert seen["lost"] == ["lost.json"]
    assert seen["opened"]
    assert seen["width"], "the page is wider than the window"

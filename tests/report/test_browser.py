"""The page of a campaign in a real browser: its script runs, filters work, a cell of the matrix opens runs.

Nothing but the browser is needed: a second script is put behind the page, acts as a person would, and writes
what it saw into the document, which the browser prints.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from vpmu.campaign.coordinator import campaign
from vpmu.campaign.plan import load_campaign
from vpmu.campaign.run import Runner
from vpmu.campaign.shrink import find_cases
from vpmu.campaign.verdict import Verdict
from vpmu.report import campaign as campaign_page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no headless browser here (Debian: chromium)")

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
const seen = {errors: window.failures, all: shown().length};
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
parent.document.body.dataset.seen = JSON.stringify(seen);
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, object]], str]:
    folder = tmp_path_factory.mktemp("page")
    (folder / "plan.toml").write_text(PLAN)
    plan = load_campaign(folder / "plan.toml")
    _, results = campaign(plan, folder / "out")
    return results, campaign_page.page(plan, results, find_cases(plan, results, Runner(plan)))


@pytest.mark.parametrize("width", [1280, 390])
def test_a_person_at_the_page(page: tuple[list[dict[str, object]], str], width: int, tmp_path: Path) -> None:
    results, text = page
    errors = "<script>window.failures=[];window.onerror=text=>{window.failures.push(text)}</script></head>"
    text = text.replace("</head>", errors).replace("</body>", f"<script>{{{ACT}}}</script></body>")
    # A window is never as narrow as a phone, but a frame in it is; both are of one origin.
    frame = f'<iframe style="border:0;width:{width}px;height:900px" srcdoc="{html.escape(text)}"></iframe>'
    (tmp_path / "page.html").write_text(f"<!doctype html><body>{frame}</body>")
    assert BROWSER is not None
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--disable-dev-shm-usage", f"--user-data-dir={tmp_path / 'user'}", "--window-size=1400,1000",
         "--dump-dom", (tmp_path / "page.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    found = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert found is not None, done.stderr[-2000:]
    seen = json.loads(html.unescape(found[1]))
    assert seen["errors"] == []
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

"""A real browser, where there is one. A script behind a page acts as a person would, and leaves what it saw
in the document, which the browser prints.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ERRORS = "<script>window.failures=[];window.onerror=text=>{window.failures.push(text)}</script>"
LEAVE = "parent.document.body.dataset.seen = JSON.stringify({...seen, errors: window.failures});"


@pytest.fixture
def look(tmp_path: Path) -> Callable[[str, str, int], Any]:
    """(page, script that fills `seen`, width of the window) -> what the script saw."""
    browser = BROWSER
    if browser is None:
        pytest.skip("no headless browser here (Debian: chromium)")

    def seen(page: str, script: str, width: int) -> Any:
        page = page.replace("<head>", f"<head>{ERRORS}", 1)
        page = page.replace("</body>", f"<script>{{const seen = {{}};{script}{LEAVE}}}</script></body>")
        # A window is never as narrow as a phone, but a frame in it is; both are of one origin.
        frame = (
            f'<iframe style="border:0;width:{width}px;height:900px" srcdoc="{html.escape(page)}"></iframe>'
        )
        (tmp_path / "page.html").write_text(f'<!doctype html><meta charset="utf-8"><body>{frame}</body>')
        done = subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
             "--disable-dev-shm-usage", "--disable-quic", "--no-first-run", "--disable-component-update",
             "--disable-sync", f"--user-data-dir={tmp_path / 'user'}", "--window-size=1400,1000",
             "--dump-dom", (tmp_path / "page.html").as_uri()],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        found = re.search(r'data-seen="([^"]*)"', done.stdout)
        assert found is not None, done.stderr[-2000:]
        told = json.loads(html.unescape(found[1]))
        assert told.pop("errors") == []
        return told

    return seen

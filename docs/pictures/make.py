"""The pictures of README and docs, from real runs: `make pictures`.

report.png        the page of a campaign (campaign.toml), in Chromium
flame-graph.svg   what `vpmu perf record` wrote in the fetched Debian
perfetto.json     a trace for ui.perfetto.dev; docs/perfetto.png is a picture of it there, taken by hand
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent
HERE = Path(__file__).resolve().parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WINDOW = "1100,1430"
RECORDED = ("-F", "20000", "-e", "cycles", "sh", "-c", "find / -xdev | sort | md5sum")
"""The command that README names."""


def vpmu(folder: Path, *words: str) -> None:
    """Run vpmu in a folder. CalledProcessError where it fails."""
    subprocess.run([sys.executable, "-m", "vpmu", *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def report(folder: Path, browser: str) -> Path:
    """A picture of the campaign's page."""
    vpmu(folder, "campaign", str(HERE / "campaign.toml"), "-q", "-o", "campaign")
    picture = folder / "report.png"
    page = (folder / "campaign" / "report.html").as_uri()
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
    subprocess.run(
        [browser, *options, f"--user-data-dir={folder / 'browser'}", f"--window-size={WINDOW}",
         f"--screenshot={picture}", page],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return picture


def main() -> int:
    """Make those that can be made here, and say which could not."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = []
        if browser is None:
            print(f"no report.png: none of {', '.join(BROWSERS)} is installed")
        else:
            made.append(report(folder, browser))
        vpmu(folder, "perf", "record", *RECORDED)
        made.append((folder / "perf.svg").rename(folder / "flame-graph.svg"))
        for picture in made:
            shutil.copy(picture, DOCS / picture.name)
            print(DOCS / picture.name)
        vpmu(folder, "run", "overflow", "--host-pmu", "full", "--perfetto", "trace.json")
        shutil.copy(folder / "trace.json", "perfetto.json")
        print("perfetto.json: open it in ui.perfetto.dev for docs/perfetto.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

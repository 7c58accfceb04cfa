"""Results of a campaign on disk.

journal.jsonl    every result as it came; what a stopped campaign goes on from
results.jsonl    all results, in the order of the runs: the same bytes however the campaign was run
results.sqlite   the same, for queries
plan.json        what was run, and by which vpmu
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

from .. import __version__
from ..errors import FileError
from .plan import CampaignPlan

Result = dict[str, object]
_COLUMNS = (
    ("run", "INTEGER PRIMARY KEY"), ("guest", "TEXT"), ("host_pmu", "TEXT"), ("profile", "TEXT"),
    ("fault", "TEXT"), ("seed", "INTEGER"), ("verdict", "TEXT"), ("reason", "TEXT"), ("stop", "TEXT"),
    ("status", "INTEGER"), ("instructions", "INTEGER"), ("virtual_ns", "INTEGER"), ("injected", "INTEGER"),
    ("compared", "INTEGER"), ("output", "TEXT"), ("calls", "TEXT"), ("findings", "TEXT"),
)  # fmt: skip


class Store:
    """The folder of a campaign. FileError where it belongs to another plan, or another campaign works in
    it.
    """

    def __init__(self, folder: str | Path, plan: CampaignPlan) -> None:
        self.folder, self.plan = Path(folder), plan
        self._plan_file = self.folder / "plan.json"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / ".lock").open("w")
        except OSError as error:
            raise FileError.from_os_error(folder, error) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._check_plan()
            self._lines: dict[int, tuple[int, int]] = {}  # where the line of a run stands in the journal
            self.done = self._read_journal()
            self._check_maker()
            self._journal: IO[bytes] = (self.folder / "journal.jsonl").open("ab")
            self._end = self._journal.tell()
        except BlockingIOError:
            self._lock.close()
            raise FileError(folder, "another campaign works in this folder", layer="campaign") from None
        except OSError as error:
            self._lock.close()
            raise FileError.from_os_error(folder, error) from None
        except FileError:
            self._lock.close()
            raise

    def _check_plan(self) -> None:
        if self._plan_file.exists():
            known = str(self._noted("digest"))
            if known != self.plan.digest:
                raise FileError(self._plan_file, "results of another plan", expected=self.plan.digest[:12],
                                got=known[:12], layer="campaign")  # fmt: skip

    def _check_maker(self) -> None:
        """Results of two versions of vpmu are not mixed: what is half done is finished by who began it."""
        maker = made_by()
        if 0 < len(self.done) < len(self.plan) and self._noted("made_by") != maker:
            raise FileError(self._plan_file, "begun by another version of vpmu; take a new folder",
                            expected=maker, got=str(self._noted("made_by")), layer="campaign")  # fmt: skip
        if not self.done:
            content = {"digest": self.plan.digest, "made_by": maker, "runs": len(self.plan),
                       "plan": self.plan.as_object()}  # fmt: skip
            self._plan_file.write_text(json.dumps(content, indent=1) + "\n", "utf-8")

    def _noted(self, key: str) -> object:
        """What the folder's plan.json says."""
        try:
            return json.loads(self._plan_file.read_text("utf-8"))[key]
        except (ValueError, KeyError, TypeError):
            return "unknown"

    def _read_journal(self) -> dict[int, Result]:
        """Results that are there; what a killed process left half written is cut off, and done again."""
        path = self.folder / "journal.jsonl"
        done: dict[int, Result] = {}
        if not path.exists():
            return done
        data = path.read_bytes()
        good = 0
        for line in data.splitlines(keepends=True):
            try:
                result = json.loads(line)
                number = result["run"]
            except (ValueError, KeyError, TypeError):
                break
            if not line.endswith(b"\n") or not isinstance(number, int) or not 0 <= number < len(self.plan):
                break
            done.setdefault(number, result)
            self._lines.setdefault(number, (good, good + len(line)))
            good += len(line)
        if good != len(data):
            with path.open("r+b") as stream:
                stream.truncate(good)
        return done

    def add(self, result: Result, written: bytes | None = None) -> bool:
        """Note a result; False for a run that has one already. `written`: the same as `line` has it."""
        number = result["run"]
        assert isinstance(number, int)
        if number in self.done:
            return False
        self.done[number] = result
        data = written or line(result)
        self._journal.write(data)
        self._journal.flush()
        self._lines[number] = (self._end, self._end + len(data))
        self._end += len(data)
        return True

    def finish(self) -> str:
        """Write the sorted files; the hash of results.jsonl."""
        journal = (self.folder / "journal.jsonl").read_bytes()
        data = b"".join(journal[slice(*self._lines[number])] for number in sorted(self.done))
        (self.folder / "results.jsonl").write_bytes(data)
        write_sqlite(self.folder / "results.sqlite", (self.done[number] for number in sorted(self.done)))
        return hashlib.sha256(data).hexdigest()

    def close(self) -> None:
        """Let go of the folder."""
        self._journal.close()
        self._lock.close()


def made_by() -> str:
    """The version of vpmu, with a digest of its sources: what a result depends on beside the plan."""
    digest = hashlib.blake2b(digest_size=6)
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return f"{__version__} {digest.hexdigest()}"


def line(result: Mapping[str, object]) -> bytes:
    """A result as a line: the same result gives the same bytes."""
    return json.dumps(result, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def write_sqlite(path: Path, results: Iterable[Result]) -> None:
    """A database with the table `runs`, anew."""
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as database:
        database.execute(f"CREATE TABLE runs ({', '.join(f'{name} {kind}' for name, kind in _COLUMNS)})")
        marks = ", ".join("?" * len(_COLUMNS))
        database.executemany(
            f"INSERT INTO runs VALUES ({marks})",
            (
                [_cell(result.get("values" if name == "compared" else name)) for name, _ in _COLUMNS]
                for result in results
            ),
        )
        database.execute("CREATE INDEX by_verdict ON runs (verdict, profile, fault)")
    database.close()


def _cell(value: object) -> object:
    return json.dumps(value, sort_keys=True) if isinstance(value, list | dict) else value


def load_results(folder: str | Path) -> list[Result]:
    """The results of a finished campaign. FileError."""
    path = Path(folder)
    if path.is_dir():
        path = path / "results.jsonl"
    try:
        return [json.loads(text) for text in path.read_bytes().splitlines()]
    except OSError as error:
        raise FileError.from_os_error(path, error) from None
    except ValueError as error:
        raise FileError(path, f"not the results of a campaign: {error}", layer="campaign") from None

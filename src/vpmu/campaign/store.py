"""Results of a campaign on disk.

journal.jsonl    every result as it came, each line with a checksum; what a stopped campaign goes on from
results.jsonl    all results, in the order of the runs: the same bytes however the campaign was run
results.sqlite   the same, for queries
plan.json        what was run, and by which vpmu
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import sqlite3
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from .. import __version__
from ..errors import FileError
from ..files import read_bytes, write_file
from .plan import CampaignPlan
from .run import described
from .verdict import Verdict

Result = dict[str, object]
_COLUMNS = (
    ("run", "INTEGER PRIMARY KEY"), ("guest", "TEXT"), ("host_pmu", "TEXT"), ("profile", "TEXT"),
    ("fault", "TEXT"), ("seed", "INTEGER"), ("verdict", "TEXT"), ("reason", "TEXT"), ("stop", "TEXT"),
    ("status", "INTEGER"), ("instructions", "INTEGER"), ("virtual_ns", "INTEGER"), ("injected", "INTEGER"),
    ("compared", "INTEGER"), ("output", "TEXT"), ("calls", "TEXT"), ("findings", "TEXT"),
)  # fmt: skip


_CHECK = re.compile(rb',"crc32":"([0-9a-f]{8})"}\n\Z')
"""How a line of the journal ends: a result, and the checksum of its line without this."""
_KINDS: dict[str, type | tuple[type, ...]] = {
    "INTEGER PRIMARY KEY": int, "INTEGER": (int, type(None)), "TEXT": (str, list, dict),
}  # fmt: skip


class Store:
    """The folder of a campaign. FileError where it belongs to another plan, or another campaign works in
    it. `notes` say what was found damaged and is done again.
    """

    def __init__(self, folder: str | Path, plan: CampaignPlan) -> None:
        self.folder, self.plan = Path(folder), plan
        self.notes: list[str] = []
        self._plan_file, self._journal_file = self.folder / "plan.json", self.folder / "journal.jsonl"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / ".lock").open("w")
        except (OSError, ValueError) as error:
            raise _file_error(folder, error) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._lines: dict[int, bytes] = {}
            self.done: dict[int, Result] = {}
            self._take_up()
            self._journal = os.open(self._journal_file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
            self._end = os.lseek(self._journal, 0, os.SEEK_END)
        except BlockingIOError:
            self._lock.close()
            raise FileError(folder, "another campaign works in this folder", layer="campaign") from None
        except OSError as error:
            self._lock.close()
            raise FileError.from_os_error(error.filename or folder, error) from None
        except FileError:
            self._lock.close()
            raise

    def _take_up(self) -> None:
        """Results that are there. Those of two plans or of two versions of vpmu are not mixed: what is half
        done is finished by who began it.
        """
        noted, maker = self._noted(), made_by()
        if noted is not None and noted["digest"] != self.plan.digest:
            raise FileError(self._plan_file, "results of another plan", expected=self.plan.digest[:12],
                            got=str(noted["digest"])[:12], layer="campaign")  # fmt: skip
        self._read_journal(usable=noted is not None)
        if noted is not None and 0 < len(self.done) < len(self.plan) and noted["made_by"] != maker:
            raise FileError(self._plan_file, "begun by another version of vpmu; take a new folder",
                            expected=maker, got=str(noted["made_by"])[:60], layer="campaign")  # fmt: skip
        if not self.done:
            content = {"digest": self.plan.digest, "made_by": maker, "runs": len(self.plan),
                       "plan": self.plan.as_object()}  # fmt: skip
            write_file(self._plan_file, json.dumps({**content, "check": _check(content)}, indent=1) + "\n")

    def _noted(self) -> dict[str, object] | None:
        """What the folder's plan.json says; None where there is none, or it is damaged."""
        try:
            data = self._plan_file.read_bytes()
        except FileNotFoundError:
            return None
        with suppress(ValueError, AttributeError, RecursionError):
            noted: dict[str, object] = json.loads(data)
            told = noted.pop("check", None)
            if _check(noted) == told if told is not None else {"digest", "made_by"} <= noted.keys():
                return noted
        self.notes.append(f"{self._plan_file}: damaged; every run is done again")
        return None

    def _read_journal(self, *, usable: bool) -> None:
        """Take the lines that are whole; those that are not are removed, and their runs done again."""
        try:
            data = self._journal_file.read_bytes()
        except FileNotFoundError:
            return
        kept, lost = [], []
        for number, text in enumerate(data.splitlines(keepends=True), 1):
            result = self._result(text) if usable else None
            if result is None:
                lost.append(number)
            elif self._note(result, _CHECK.sub(b"}\n", text)):
                kept.append(text)
        if lost and usable:
            lines = f"line {lost[0]}" if len(lost) == 1 else f"{len(lost)} lines, the first is {lost[0]}"
            self.notes.append(f"{self._journal_file}: damaged ({lines}); what is missing is done again")
        if lost:
            write_file(self._journal_file, kept)

    def _result(self, text: bytes) -> Result | None:
        """The result of a line of the journal, None for a line that is damaged."""
        found = _CHECK.search(text)
        if found is None or int(found[1], 16) != zlib.crc32(text[: found.start()]):
            return None
        with suppress(ValueError, RecursionError):
            result = json.loads(text)
            if isinstance(result, dict) and result.pop("crc32") and is_result(result, self.plan):
                return result
        return None

    def _note(self, result: Result, text: bytes) -> bool:
        number = result["run"]
        assert isinstance(number, int)
        if number in self.done:
            return False
        self.done[number], self._lines[number] = result, text
        return True

    def add(self, result: Result, written: bytes | None = None) -> bool:
        """Note a result; False for a run that has one already. `written`: the same as `line` has it.
        FileError: it cannot be written; the journal is as before.
        """
        text = written or line(result)
        if not self._note(result, text):
            return False
        body = text.removesuffix(b"}\n")
        data = body + b',"crc32":"%08x"}\n' % zlib.crc32(body)
        try:
            at = os.write(self._journal, data)
            while at < len(data):  # a disk that becomes full takes a part, and refuses the next
                at += os.write(self._journal, data[at:])
        except OSError as error:
            os.ftruncate(self._journal, self._end)
            raise FileError.from_os_error(self._journal_file, error) from None
        self._end += len(data)
        return True

    def finish(self) -> str:
        """Write the sorted files; the hash of results.jsonl. FileError."""
        data = b"".join(self._lines[number] for number in sorted(self.done))
        write_file(self.folder / "results.jsonl", data)
        write_file(self.folder / "results.sqlite", sqlite(self.done[number] for number in sorted(self.done)))
        return hashlib.sha256(data).hexdigest()

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._journal)
        self._lock.close()


def _check(content: Mapping[str, object]) -> str:
    return f"{zlib.crc32(json.dumps(content, sort_keys=True).encode()):08x}"


def _file_error(path: str | Path, error: OSError | ValueError) -> FileError:
    return FileError.from_os_error(path, error) if isinstance(error, OSError) else FileError(path, str(error))


def is_result(value: Mapping[str, object], plan: CampaignPlan) -> bool:
    """Whether it has what a result of this plan has, of the right kinds."""
    number = value.get("run")
    if type(number) is not int or not 0 <= number < len(plan) or value.get("verdict") not in set(Verdict):
        return False
    for name, kind in _COLUMNS:
        item = value.get(_key(name), 0 if kind.startswith("INTEGER") else "")
        if not isinstance(item, _KINDS[kind]) or (isinstance(item, int) and item >> 63 not in (0, -1)):
            return False
    return described(plan.run(number)).items() <= value.items()


def _key(column: str) -> str:
    """The word of a result that stands in a column."""
    return "values" if column == "compared" else column


def made_by() -> str:
    """The version of vpmu, with a digest of its sources: what a result depends on beside the plan."""
    digest = hashlib.blake2b(digest_size=6)
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return f"{__version__} {digest.hexdigest()}"


def line(result: Mapping[str, object]) -> bytes:
    """A result as a line: the same result gives the same bytes."""
    return json.dumps(result, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def sqlite(results: Iterable[Result]) -> bytes:
    """A database with the table `runs`."""
    database = sqlite3.connect(":memory:")
    with database:
        database.execute(f"CREATE TABLE runs ({', '.join(f'{name} {kind}' for name, kind in _COLUMNS)})")
        marks = ", ".join("?" * len(_COLUMNS))
        database.executemany(
            f"INSERT INTO runs VALUES ({marks})",
            ([_cell(result.get(_key(name))) for name, _ in _COLUMNS] for result in results),
        )
        database.execute("CREATE INDEX by_verdict ON runs (verdict, profile, fault)")
    data = database.serialize()
    database.close()
    return data


def _cell(value: object) -> object:
    return json.dumps(value, sort_keys=True) if isinstance(value, list | dict) else value


def load_results(folder: str | Path) -> list[Result]:
    """The results of a finished campaign. FileError."""
    path = Path(folder)
    if path.is_dir():
        path = path / "results.jsonl"
    results = []
    for number, text in enumerate(read_bytes(path, "campaign", 1 << 32).splitlines(), 1):
        result = None
        with suppress(ValueError, RecursionError):
            result = json.loads(text)
        if not isinstance(result, dict) or "verdict" not in result:
            raise FileError(path, "not a result of a campaign", line=number, layer="campaign")
        results.append(result)
    return results

"""Runs a campaign in processes of this machine: gives out runs, takes results, and outlives its workers."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import VpmuError
from .plan import CampaignPlan
from .process import close, spawn_worker
from .run import Result, died
from .store import Store
from .verdict import Verdict

BATCH = 8
"""Runs that a worker gets at once, at most; it has two such batches."""
ATTEMPTS = 2
"""Workers that a run may take with it before that is its result."""
Progress = Callable[[int, int], None]
"""Told of (runs that are done, runs of all)."""


@dataclass(slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    span: deque[int]
    """Not given out: runs next to each other, which use the same machines."""
    runs: deque[int] = field(default_factory=deque)
    """Given out and not answered, in order."""
    begun: int | None = None
    since: float = 0.0
    held: bytes = b""


class Coordinator:
    """One campaign on this machine. `run` may be stopped at any time; another one goes on where it
    stopped.
    """

    def __init__(
        self,
        plan: CampaignPlan,
        store: Store,
        workers: int,
        progress: Progress | None = None,
        spawned: Iterable[subprocess.Popen[bytes]] = (),
    ) -> None:
        self._spawned = list(spawned)
        self.plan, self.store = plan, store
        self._wanted = max(1, workers)
        self._progress = progress
        left = [number for number in range(len(plan)) if number not in store.done]
        share = -(-len(left) // self._wanted) or 1
        self._spans = [deque(left[at : at + share]) for at in range(0, len(left), share)]
        self._deaths: dict[int, int] = {}
        self._workers: dict[int, _Worker] = {}
        self._selector = selectors.DefaultSelector()
        self.restarted = 0

    def run(self) -> None:
        """Do every run that has no result yet."""
        try:
            while any(self._spans) or any(worker.runs for worker in self._workers.values()):
                owned = {id(worker.span) for worker in self._workers.values()}
                for span in self._spans:
                    if any(self._spans) and id(span) not in owned:
                        self._start(span)
                for key, _ in self._selector.select(timeout=0.5):
                    self._read(self._workers[key.fd])
                self._find_hung()
        finally:
            self._stop()

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.process.pid for worker in self._workers.values()]

    def _start(self, span: deque[int]) -> None:
        process = self._spawned.pop() if self._spawned else spawn_worker()
        assert process.stdout is not None
        worker = _Worker(process, span, since=time.monotonic())
        self._workers[process.stdout.fileno()] = worker
        self._selector.register(process.stdout, selectors.EVENT_READ)
        self._say(worker, {"plan": self.plan.as_object(), "folder": str(self.store.folder)})
        self._give(worker)
        self._give(worker)  # one to do, and one ahead: nobody waits for the way to the coordinator and back

    def _give(self, worker: _Worker) -> None:
        """Its next runs, or half of what another one has left. Small batches at the end, so that nobody waits
        for one worker.
        """
        span = worker.span
        if not span:
            richest = max(self._spans, key=len)
            span.extendleft([richest.pop() for _ in range(-(-len(richest) // 2))])
        size = max(1, min(BATCH, sum(map(len, self._spans)) // (4 * self._wanted)))
        batch = [span.popleft() for _ in range(min(size, len(span)))]
        if batch:
            worker.runs.extend(batch)
            self._say(worker, batch)

    def _say(self, worker: _Worker, message: object) -> None:
        assert worker.process.stdin is not None
        try:
            worker.process.stdin.write(json.dumps(message).encode() + b"\n")
            worker.process.stdin.flush()
        except BrokenPipeError:
            return  # it has died: its end of the other pipe says so, too

    def _read(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        data = os.read(worker.process.stdout.fileno(), 1 << 16)
        if not data:
            self._buried(worker, Verdict.GUEST_LOST, "the run took its worker with it")
            return
        *lines, worker.held = (worker.held + data).split(b"\n")
        for line in lines:
            self._answer(worker, line)

    def _answer(self, worker: _Worker, line: bytes) -> None:
        message = json.loads(line)
        worker.since = time.monotonic()
        if "begins" in message:
            number = message["begins"]
            assert isinstance(number, int)
            worker.begun = number
        elif "wants" in message:
            self._give(worker)
        else:
            worker.runs.popleft()
            worker.begun = None
            self._take(message, line + b"\n")

    def _take(self, result: Result, line: bytes | None = None) -> None:
        if self.store.add(result, line) and self._progress is not None:
            self._progress(len(self.store.done), len(self.plan))

    def _buried(self, worker: _Worker, verdict: Verdict, reason: str) -> None:
        """A worker is gone: what it had is done again; a run that ends workers every time has that as its
        result.
        """
        assert worker.process.stdout is not None
        self._selector.unregister(worker.process.stdout)
        del self._workers[worker.process.stdout.fileno()]
        worker.process.kill()
        close(worker.process)
        self.restarted += 1
        if worker.begun is not None:
            self._deaths[worker.begun] = self._deaths.get(worker.begun, 0) + 1
            if self._deaths[worker.begun] >= ATTEMPTS:
                worker.runs.remove(worker.begun)
                self._take(died(self.plan, worker.begun, verdict, reason))
        elif worker.runs:  # it died before it began anything
            first = worker.runs[0]
            self._deaths[first] = self._deaths.get(first, 0) + 1
            if self._deaths[first] > 4 * ATTEMPTS:
                raise VpmuError("workers die before they begin", got=reason, layer="campaign")
        worker.span.extendleft(reversed(worker.runs))

    def _find_hung(self) -> None:
        now = time.monotonic()
        for worker in list(self._workers.values()):
            if worker.begun is not None and now - worker.since > self.plan.seconds:
                reason = f"no end within {self.plan.seconds:g} s of host time"
                self._buried(worker, Verdict.GUEST_HUNG, reason)

    def _stop(self) -> None:
        for worker in self._workers.values():
            worker.process.kill()
            close(worker.process)
        self._workers.clear()
        self._selector.close()


def campaign(
    plan: CampaignPlan, folder: str | Path, *, workers: int = 1, progress: Progress | None = None,
    scheduler: str | None = None, spawned: Iterable[subprocess.Popen[bytes]] = (),
    note: Callable[[str], None] | None = None,
) -> tuple[str, list[Result]]:  # fmt: skip
    """Run a campaign, or the rest of it, into `folder`; the hash of its results, and they themselves.

    `scheduler`: address of a Dask scheduler instead of processes of this machine. `spawned`: the first of
    them, already begun; the caller ends those that are not needed. `note` is told what was found damaged and
    is done again. FileError, UsageError.
    """
    store = Store(folder, plan)
    try:
        if note is not None:
            for text in store.notes:
                note(text)
        if scheduler is not None:
            from .dask import run_on_dask

            run_on_dask(plan, store, scheduler, progress)
        else:
            Coordinator(plan, store, workers, progress, spawned).run()
        digest = store.finish()
        return digest, list(_sorted(store))
    finally:
        store.close()


def _sorted(store: Store) -> Iterator[Result]:
    for number in sorted(store.done):
        yield store.done[number]

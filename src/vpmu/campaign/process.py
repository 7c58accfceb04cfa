"""A worker's process: begun before anything else is imported, and ended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def spawn_worker() -> subprocess.Popen[bytes]:
    """A process that waits for a plan. It takes a tenth of a second to begin: time to read the plan in."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, "-m", "vpmu.campaign.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=environment,
    )  # fmt: skip


@contextmanager
def spawned(count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Workers that have begun; they end with the block, whoever has used them."""
    workers = [spawn_worker() for _ in range(count)]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            close(worker)


def close(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process that ends; nobody reads what it still writes."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:
                continue  # what was still to be written has no reader any more
    process.wait()

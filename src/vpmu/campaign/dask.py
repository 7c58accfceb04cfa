"""A campaign on an existing Dask cluster (the extra `dask`).

Dask sends pickled Python both ways: scheduler, workers and this process trust each other, and everybody who
can reach the scheduler.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import UsageError, VpmuError
from .plan import CampaignPlan
from .run import Result, Runner, died
from .verdict import Verdict

if TYPE_CHECKING:
    from .store import Store

    Progress = Callable[[int, int], None]

BATCH = 32
WORKERS_WITHIN = 10
"""Seconds for a cluster's first worker."""
_runners: dict[str, Runner] = {}


def run_batch(plan: dict[str, object], numbers: list[int]) -> list[Result]:
    """What a Dask worker does: the results of some runs. Machines stay from one batch to the next."""
    built = CampaignPlan.from_object(plan)
    if built.digest not in _runners:
        _runners.clear()
        _runners[built.digest] = Runner(built)
    return [_runners[built.digest].run(number) for number in numbers]


def run_on_dask(plan: CampaignPlan, store: Store, scheduler: str, progress: Progress | None) -> None:
    """Do every run that has no result yet. UsageError: no such extra, no such scheduler, no worker.
    VpmuError: the scheduler is gone in the middle; what has come until then is kept.
    """
    try:
        distributed: Any = import_module("distributed")
    except ImportError:
        raise UsageError(
            "--scheduler", expected="the extra: pip install 'vpmu[dask]'", got="no distributed"
        ) from None
    try:
        client = distributed.Client(scheduler, timeout=10)
    except (OSError, ValueError) as error:
        raise UsageError("--scheduler", expected="a Dask scheduler", got=f"{scheduler}: {error}") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=WORKERS_WITHIN)
        except TimeoutError:
            raise UsageError(
                "--scheduler", expected="a Dask cluster with workers",
                got=f"{scheduler}: none within {WORKERS_WITHIN} s",
            ) from None  # fmt: skip
        _gather(distributed, client, plan, store, progress)


def _gather(
    distributed: Any, client: Any, plan: CampaignPlan, store: Store, progress: Progress | None
) -> None:
    """Batches out, results in. A batch that takes its workers with it is done again run by run, and the run
    that still does so has that as its result.
    """
    from concurrent.futures import CancelledError

    def submit(numbers: list[int]) -> Any:
        future = client.submit(run_batch, plan.as_object(), numbers, pure=False)
        asked[future.key] = numbers
        return future

    asked: dict[str, list[int]] = {}
    left = [number for number in range(len(plan)) if number not in store.done]
    pending = distributed.as_completed([submit(left[at : at + BATCH]) for at in range(0, len(left), BATCH)])
    for future in pending:
        numbers = asked.pop(future.key)
        try:
            results = future.result()
        except distributed.KilledWorker:
            if len(numbers) > 1:
                for number in numbers:
                    pending.add(submit([number]))
                continue
            results = [died(plan, numbers[0], Verdict.GUEST_LOST, "the run took its worker with it")]
        except (CancelledError, OSError) as error:
            raise VpmuError("campaign on Dask", expected="an answer", got=f"{type(error).__name__}: {error}",
                            layer="campaign") from None  # fmt: skip
        for result in results:
            if store.add(result) and progress is not None:
                progress(len(store.done), len(plan))

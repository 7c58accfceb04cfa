"""A campaign on an existing Dask cluster (the extra `dask`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import UsageError
from .plan import CampaignPlan
from .run import Result, Runner

if TYPE_CHECKING:
    from collections.abc import Callable

    from .store import Store

BATCH = 32
_runners: dict[str, Runner] = {}


def run_batch(plan: dict[str, object], numbers: list[int]) -> list[Result]:
    """What a Dask worker does: the results of some runs. Machines stay from one batch to the next."""
    built = CampaignPlan.from_object(plan)
    if built.digest not in _runners:
        _runners.clear()
        _runners[built.digest] = Runner(built)
    return [_runners[built.digest].run(number) for number in numbers]


def run_on_dask(
    plan: CampaignPlan, store: Store, scheduler: str, progress: Callable[[int, int], None] | None
) -> None:
    """Do every run that has no result yet. UsageError: no such extra, no such scheduler."""
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise UsageError(
            "--scheduler", expected="the extra: pip install 'vpmu[dask]'", got="no distributed"
        ) from None
    try:
        client = Client(scheduler, timeout=10)
    except (OSError, ValueError) as error:
        raise UsageError("--scheduler", expected="a Dask scheduler", got=f"{scheduler}: {error}") from None
    with client:
        left = [number for number in range(len(plan)) if number not in store.done]
        batches = [left[at : at + BATCH] for at in range(0, len(left), BATCH)]
        futures = [client.submit(run_batch, plan.as_object(), batch, pure=False) for batch in batches]
        for future in as_completed(futures):
            for result in future.result():
                if store.add(result) and progress is not None:
                    progress(len(store.done), len(plan))

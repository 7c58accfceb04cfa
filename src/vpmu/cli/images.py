"""What a name on the command line stands for: an image, a payload that ships with the package, a run."""

from __future__ import annotations

from pathlib import Path

from ..payloads import find_image

__all__ = ["campaign_run", "find_image"]


def campaign_run(name: str) -> tuple[Path, int] | None:
    """Folder and number of `FOLDER:NUMBER`, a run of a campaign; None where it is not one."""
    folder, colon, number = name.rpartition(":")
    there = colon and number.isdigit() and (Path(folder) / "plan.json").exists()
    return (Path(folder), int(number)) if there else None

"""Counts of a program before and after, as a table in Markdown: counts.py AFTER.json [BEFORE.json].

The files are what `vpmu stat --json` prints. Counts are exact and repeat, so any difference is the change's.
Exit status 1 where one differs, 2 for a file that is none of these.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def counts(path: str) -> dict[str, int | None]:
    """Event -> count, None where it was not counted."""
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))["counters"]
        return {str(row["event"]): None if row["value"] is None else int(row["value"]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"counts: {path}: expected what vpmu stat --json prints, got {error!r}", file=sys.stderr)
        sys.exit(2)


def shown(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def main(paths: list[str]) -> int:
    if len(paths) not in (1, 2):
        print(__doc__, file=sys.stderr)
        return 2
    after = counts(paths[0])
    before = counts(paths[1]) if len(paths) == 2 else after
    lines, changed = [], False
    for event in dict.fromkeys([*before, *after]):
        old, new = before.get(event), after.get(event)
        difference = ""
        if old != new:
            changed = True
            difference = (
                "now counted" if old is None else "no longer counted" if new is None else f"{new - old:+,}"
            )
            if old and new is not None:
                difference += f" ({(new - old) / old:+.3%})"
        lines.append(f"| {event} | {shown(old)} | {shown(new)} | {difference} |")
    print("| event | before | after | difference |\n|---|---:|---:|---:|")
    print("\n".join(lines))
    return int(changed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

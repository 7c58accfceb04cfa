"""JUnit XML: the form of test results that CI systems read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold (section 2.2)."""


@dataclass(frozen=True, slots=True)
class Case:
    """One result. `failure` and `skipped` are in a line, None where it is neither; `text` is what to read."""

    group: str
    name: str
    failure: str | None = None
    skipped: str | None = None
    text: str = ""

    def as_xml(self) -> str:
        """The element."""
        head = f"<testcase classname={_attribute(self.group)} name={_attribute(self.name)}"
        text = escape(_NO_XML.sub("?", self.text))
        if self.failure is not None:
            body = f"<failure message={_attribute(self.failure)}>{text}</failure>"
        elif self.skipped is not None:
            body = f"<skipped message={_attribute(self.skipped)}/>"
        else:
            body = f"<system-out>{text}</system-out>" if text else ""
        return f"{head}>{body}</testcase>" if body else f"{head}/>"


def _attribute(text: str) -> str:
    return quoteattr(_NO_XML.sub("?", text))


def document(suites: Sequence[tuple[str, Sequence[Case]]]) -> str:
    """A whole file of suites: (name, cases)."""
    everything = [case for _, cases in suites for case in cases]
    failures = sum(case.failure is not None for case in everything)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuites tests="{len(everything)}" failures="{failures}">',
    ]
    for name, cases in suites:
        failed = sum(case.failure is not None for case in cases)
        skipped = sum(case.skipped is not None for case in cases)
        lines.append(
            f'<testsuite name={_attribute(name)} tests="{len(cases)}" failures="{failed}" '
            f'skipped="{skipped}" errors="0">'
        )
        lines += [case.as_xml() for case in cases]
        lines.append("</testsuite>")
    return "\n".join([*lines, "</testsuites>", ""])

"""Reading fault plans: TOML files and the option `--inject SITE:KEY=VALUE,...`.

A file:

    name = "busy"                       # optional, as are summary and seed
    [[rule]]
    site = "perf.create"
    match = { event = "cycles", call = "2-4" }
    effect = { errno = "EBUSY" }
    probability = 50
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ..errors import FileError, UnknownNameError, UsageError
from ..files import MAX_TOML, parse_toml, read_text
from .plan import WORDS, FaultPlan, PlanError, Rule
from .sites import SITES

_TOP = ("name", "summary", "seed", "rule")
MAX_RULES = 4096


def load_plan(path: str | Path) -> FaultPlan:
    """A plan from a TOML file. FileError names file, line, what was expected, what came, and near names."""
    return parse_plan(read_text(path, "faults", MAX_TOML), path)


def parse_plan(text: str, path: str | Path = "<plan>") -> FaultPlan:
    """A plan from the text of a TOML file; `path` is for messages."""
    return _Reader(text, path).plan(parse_toml(text, path, "faults"))


def plan_of(text: str) -> FaultPlan:
    """What `--inject` takes: a file, or one rule (SITE:KEY=VALUE,...)."""
    head, colon, _ = text.partition(":")
    looks_like_rule = head in SITES or (colon and re.fullmatch(r"[a-z]+\.[a-z]+", head))
    if looks_like_rule and not Path(text).exists():
        return FaultPlan((parse_rule(text),))
    return load_plan(text)


def parse_rule(text: str) -> Rule:
    """A rule from an option: `perf.create:event=cycles,errno=EBUSY,times=1`. UsageError says what is wrong.

    What belongs to match, effect or the kernel's words is known by its name; a word that is both (`event`
    never,
    `value` and `address` neither) cannot come up. `match.KEY` and `effect.KEY` are understood, too.
    """
    name, _, rest = text.partition(":")
    name = name.strip()
    if name not in SITES:
        raise UnknownNameError("fault site", name, SITES, layer="faults")
    site = SITES[name]
    fields: dict[str, object] = {"site": name}
    match: dict[str, object] = {}
    effect: dict[str, object] = {}
    for part in filter(None, (piece.strip() for piece in rest.split(","))):
        key, equals, value = part.partition("=")
        key, value = key.strip(), value.strip()
        if key in WORDS and equals:
            if not re.fullmatch(r"-?\d{1,18}", value):
                low, high, _default = WORDS[key]
                raise UsageError(f"{name}: {key}", expected=f"{low} to {high}", got=value, layer="faults")
            fields[key] = int(value)
        elif key.removeprefix("effect.") in site.effect and not key.startswith("match."):
            effect[key.removeprefix("effect.")] = value if equals else "true"
        elif key.removeprefix("match.") in site.matches and equals:
            match[key.removeprefix("match.")] = value
        else:
            raise UnknownNameError(
                f"word of {name}", key, [*site.matches, *site.effect, *WORDS], layer="faults"
            )
    try:
        return Rule.build({**fields, "match": match, "effect": effect})
    except PlanError as error:
        raise UsageError(
            _what(error), expected=error.expected, got=_shown(error.got), layer="faults"
        ) from None


def _what(error: PlanError) -> str:
    """The message, with the near names where there are any."""
    if not error.known or (isinstance(error.got, str) and error.got in error.known):
        return error.what
    word = error.got if isinstance(error.got, str) else error.key if error.got is None else ""
    if error.what.startswith("unknown site"):
        word = error.what.removeprefix("unknown site ").strip("'")
    hint = UnknownNameError("name", str(word), error.known).what.partition("; ")[2]
    return f"{error.what}; {hint}"


def _shown(value: object) -> str | None:
    return None if value is None else repr(value)[:80]


class _Reader:
    """Turns a parsed file into a plan, and errors into FileErrors with the line of the word."""

    def __init__(self, text: str, path: str | Path) -> None:
        self._lines = text.splitlines()
        self._path = path

    def plan(self, content: Mapping[str, object]) -> FaultPlan:
        for key in content:
            if key not in _TOP:
                hint = UnknownNameError("word", key, _TOP).what
                raise self._error(hint, self._find(key, 0))
        rules = content.get("rule", [])
        if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
            raise self._error("rule", self._find("rule", 0), expected="tables [[rule]]")
        if len(rules) > MAX_RULES:
            raise self._error("rule", None, expected=f"at most {MAX_RULES} rules", got=str(len(rules)))
        seed = content.get("seed", 0)
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 1 << 64:
            raise self._error(
                "seed", self._find("seed", 0), expected="a number from 0 to 2^64-1", got=_shown(seed)
            )
        texts = {}
        for key in ("name", "summary"):
            value = content.get(key, "")
            if not isinstance(value, str):
                raise self._error(key, self._find(key, 0), expected="a text", got=_shown(value))
            texts[key] = value
        built = tuple(self._rule(rule, number) for number, rule in enumerate(rules, 1))
        return FaultPlan(built, texts["name"], texts["summary"], seed)

    def _rule(self, fields: Mapping[str, object], number: int) -> Rule:
        try:
            return Rule.build(fields)
        except PlanError as error:
            line = self._find(error.key, number)
            raise self._error(
                f"rule {number}: {_what(error)}", line, error.expected, _shown(error.got)
            ) from None

    def _error(
        self, what: str, line: int | None, expected: str | None = None, got: str | None = None
    ) -> FileError:
        return FileError(self._path, what, line=line, expected=expected, got=got, layer="faults")

    def _find(self, key: str, number: int) -> int | None:
        """Line of a word in rule `number` (0: before the rules), of the rule's header where it is not
        found.
        """
        rule, header = 0, None
        word = re.compile(rf"(^|[\s,{{.\"'\[]){re.escape(key)}[\"']?\s*[=.\]]") if key else None
        for index, line in enumerate(self._lines, 1):
            if re.match(r"\s*\[\[\s*rule\s*\]\]", line):
                rule += 1
                header = index if rule == number else header
            if rule == number and word is not None and word.search(line):
                return index
        return header

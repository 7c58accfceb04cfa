"""Faults to order: rules that the seams between the layers ask (docs: a plan is a TOML file or an option)."""

from __future__ import annotations

from .injector import Effect, Injector
from .plan import FaultPlan, Rule
from .read import load_plan, parse_plan, parse_rule, plan_of
from .sites import SITES, Site

__all__ = [
    "SITES", "Effect", "FaultPlan", "Injector", "Rule", "Site", "load_plan", "parse_plan", "parse_rule",
    "plan_of",
]  # fmt: skip

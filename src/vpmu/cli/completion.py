"""Print what a shell needs to complete vpmu's command lines: bash, zsh or fish.

vpmu completion bash > ~/.local/share/bash-completion/completions/vpmu
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from importlib import import_module

from .options import Subparsers

_BASH = """\
# Completion of vpmu for bash.
_vpmu() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} command=${{COMP_WORDS[1]}}
    if [ "$COMP_CWORD" = 1 ]; then
        COMPREPLY=($(compgen -W "{commands}" -- "$cur"))
        return
    fi
    case "$command $prev" in
{values}
    esac
    case "$command" in
{options}
    esac
}}
complete -o default -o bashdefault -F _vpmu vpmu
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """The options of `vpmu completion`."""
    parser = subparsers.add_parser("completion", description=__doc__)
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="whose completion")
    return parser


def run(args: argparse.Namespace) -> int:
    """Print the script; 0."""
    match args.shell:
        case "bash":
            print(bash(), end="")
        case "zsh":  # zsh reads bash's
            print("#compdef vpmu\nautoload -U +X bashcompinit && bashcompinit\n" + bash(), end="")
        case _:
            print(fish(), end="")
    return 0


def actions() -> Iterator[tuple[str, str, list[argparse.Action]]]:
    """Each command with what it does and its options."""
    from .main import COMMANDS
    from .parser import Parser

    for name, what in COMMANDS.items():
        root = Parser(prog="vpmu")
        subparsers = root.add_subparsers(prog="vpmu", parser_class=Parser)
        parser = import_module(f"{__package__}.{name}").add_parser(subparsers)
        yield name, what, list(parser._actions)


def choices(action: argparse.Action) -> Sequence[str]:
    """The words that an option takes, where the parser knows them."""
    known = {"profile": _profiles, "host_pmu": _host_pmus, "with_": _behaviours, "without": _behaviours}
    if action.choices is not None:
        return [str(choice) for choice in action.choices]
    return known[action.dest]() if action.dest in known and action.option_strings else ()


def _profiles() -> Sequence[str]:
    from ..profiles.profiles import PROFILES

    return list(PROFILES)


def _host_pmus() -> Sequence[str]:
    from ..perf.description import host_pmu_names

    return host_pmu_names()


def _behaviours() -> Sequence[str]:
    from ..profiles.behaviours import BEHAVIOURS

    return sorted(BEHAVIOURS)


def bash() -> str:
    """For bash."""
    commands, values, options = [], [], []
    for name, _, found in actions():
        commands.append(name)
        words = [option for action in found for option in action.option_strings]
        words += [word for action in found if not action.option_strings for word in choices(action)]
        options.append(f'        {name}) COMPREPLY=($(compgen -W "{" ".join(words)}" -- "$cur")) ;;')
        for action in found:
            if action.option_strings and (known := choices(action)):
                keys = "|".join(f'"{name} {option}"' for option in action.option_strings)
                reply = f'COMPREPLY=($(compgen -W "{" ".join(known)}" -- "$cur"))'
                values.append(f"        {keys}) {reply}; return ;;")
    return _BASH.format(commands=" ".join(commands), values="\n".join(values), options="\n".join(options))


def fish() -> str:
    """For fish."""
    lines = ["# Completion of vpmu for fish."]
    for name, what, found in actions():
        lines.append(f"complete -c vpmu -n __fish_use_subcommand -f -a {name} -d {_quoted(what)}")
        for action in found:
            words = choices(action)
            here = f"complete -c vpmu -n '__fish_seen_subcommand_from {name}'"
            takes = f" -x -a {_quoted(' '.join(words))}" if words else " -r" if action.nargs != 0 else ""
            if not action.option_strings:
                if words:
                    lines.append(f"{here} -f -a {_quoted(' '.join(words))}")
                continue
            names = "".join(
                f" -l {option[2:]}" if option.startswith("--") else f" -s {option[1:]}"
                for option in action.option_strings
            )
            text = (action.help or "").replace("%(default)s", str(action.default)).partition(" (")[0]
            lines.append(f"{here}{names}{takes} -d {_quoted(text)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

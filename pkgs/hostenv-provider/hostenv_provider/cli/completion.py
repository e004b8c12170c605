"""`hostenv-provider completion`: the script by which bash completes commands and options."""

import argparse
from collections.abc import Iterator

NAME = "completion"
_SCRIPT = """# source this in bash, or write it to /etc/bash_completion.d/hostenv-provider
_hostenv_provider() {{
    local word command=
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case $word in -*) ;; *) command=$word; break ;; esac
    done
    case $command in
{cases}
    esac
}}
complete -o default -F _hostenv_provider hostenv-provider
"""
_CASE = """        {command}) COMPREPLY=($(compgen -W '{words}' -- "${{COMP_WORDS[COMP_CWORD]}}")) ;;"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command; anybody may run it, also where no provider is configured."""
    commands.add_parser(
        NAME,
        help="print what lets bash complete these commands",
        epilog="example: source <(hostenv-provider completion)",
    )


def script(parser: argparse.ArgumentParser) -> str:
    """The bash script that completes the commands of this parser and their options."""
    known = commands(parser)
    words = {"''": [*known, "--help"]}
    words |= {name: list(_words(command)) for name, command in known.items()}
    cases = (_CASE.format(command=name, words=" ".join(each)) for name, each in words.items())
    return _SCRIPT.format(cases="\n".join(cases))


def _words(parser: argparse.ArgumentParser) -> Iterator[str]:
    for name, nested in commands(parser).items():
        yield name
        yield from (word for word in _words(nested) if word != "--help")
    for action in parser._actions:
        yield from (option for option in action.option_strings if option.startswith("--"))


def commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands of a parser by their names; none if it is a command without others below it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}

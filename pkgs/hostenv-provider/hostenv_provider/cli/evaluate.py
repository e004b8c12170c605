"""`hostenv-provider evaluate`: what runs in the box of a project's flake, hostenv-evaluate@.service."""

import argparse
import json
import sys

from hostenv_provider.config import Config
from hostenv_provider.repository import evaluation

NAME = "evaluate"


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        NAME,
        help="evaluate the flake in a tar file (hostenv-evaluate@.service does it)",
        epilog="example: git archive HEAD | hostenv-provider evaluate",
    )
    parser.set_defaults(run=run)


def run(_arguments: argparse.Namespace, config: Config) -> int:
    """Answers with JSON, errors of the flake included."""
    json.dump(evaluation.answer(config, sys.stdin.buffer), sys.stdout)
    return 0

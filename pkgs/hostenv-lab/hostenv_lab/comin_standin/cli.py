"""The command line."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from .config import Config
from .control import ask
from .daemon import Daemon
from .errors import CominError

VERSION = "0.13.0-hostenv-standin"
WHAT = "a stand-in for comin of hostenv's lab, not comin"
DEFAULT_SOCKET = Path("/var/lib/comin/grpc.sock")

log = logging.getLogger("comin")


def parser() -> argparse.ArgumentParser:
    """comin's options, as far as the stand-in has them."""
    top = argparse.ArgumentParser(
        prog="comin", description=WHAT, formatter_class=argparse.RawTextHelpFormatter
    )
    top.add_argument("--version", action="version", version=f"comin version {VERSION} ({WHAT})")
    top.add_argument("-d", "--debug", action="store_true")
    commands = top.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="follow the remotes of a configuration file")
    run.add_argument("--config", type=Path, required=True)
    run.add_argument("-d", "--debug", action="store_true")
    status = commands.add_parser("status", help="show the daemon's state")
    status.add_argument("--json", action="store_true")
    fetch = commands.add_parser("fetch", help="fetch all remotes now")
    for command in (status, fetch):
        command.add_argument("--unix-socket-path", type=Path, default=DEFAULT_SOCKET)
    return top


def main() -> int:
    """Runs one command; 0 done, 1 failed, 2 usage."""
    options = parser().parse_args()
    level = logging.DEBUG if options.debug else logging.INFO
    logging.basicConfig(stream=sys.stderr, level=level, format="%(levelname)s comin stand-in: %(message)s")
    try:
        if options.command == "run":
            log.info("this is %s; it keeps to the behaviour of comin 0.13.0", WHAT)
            Daemon(Config.load(options.config)).run()
        elif options.command == "fetch":
            ask(options.unix_socket_path, "fetch")
            print("All remotes have been fetched.")
        else:
            state = ask(options.unix_socket_path, "status")
            print(json.dumps(state, indent=2) if options.json else summary(state))
    except CominError as error:
        print(f"comin: {error}", file=sys.stderr)
        return 1
    return 0


def summary(state: dict[str, dict[str, dict[str, object]]]) -> str:
    """The state in three lines for people."""
    deployment = state["deployer"]["deployment"]
    return "\n".join(
        (
            f"comin stand-in on {state['builder']['hostname']}",
            f"  selected commit: {state['fetcher']['repository_status']['selected_commit_id'] or 'none'}",
            f"  last deployment: {deployment['status'] if deployment else 'none'}",
        )
    )

"""`hostenv-provider node-compromised`: somebody has taken over a node; replace all that it ever had."""

import argparse

from hostenv_provider.config import Config
from hostenv_provider.web.client import Client


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "node-compromised",
        help="change all that a node ever had: its token, its accounts of backups, secrets of environments",
        epilog="example: hostenv-provider node-compromised node-a --dry-run",
    )
    parser.add_argument("node", metavar="NODE", help="the node, also one that is no longer in provider.json")
    parser.add_argument(
        "--hash-salts",
        action="store_true",
        help="also new hash salts: one-time links and whatever else they signed end",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done and change nothing")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Raises HostenvError."""
    found = Client(config).compromised(
        arguments.node, hash_salts=arguments.hash_salts, dry_run=arguments.dry_run
    )
    would = "would be " if arguments.dry_run else ""
    if found["token"]:
        print(f"{would}replaced: its token; once the machine is clean: comin-tokens --show {arguments.node}")
    environments = found["environments"]
    assert isinstance(environments, list)
    for each in environments:
        place = "hosted there now" if each["hosted"] else "not there any more"
        print(f"{each['user']}: had its secrets from {each['firstAt']} to {each['lastAt']}, {place}")
        print(f"  {would}ended: the node's account and key of its backups")
        salt = f"{would}replaced" if arguments.hash_salts else "stays, unless --hash-salts is given"
        print(f"  hash salt: {salt}")
        for key in each["ownSecrets"]:
            print(f"  yours to replace, if it was set before: secrets set {each['user']} {key}")
    return 0

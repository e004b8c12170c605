"""The Unix accounts of environments (contract 8, root and users)."""

import grp
import os
import pwd
from collections.abc import Mapping
from pathlib import Path

from hostenv_core.errors import HostenvError
from hostenv_core.files import read_json, write_json
from hostenv_core.processes import run

from hostenv_node import locks
from hostenv_node.config import Config

_SECONDS = 60.0


def ensure_users(config: Config, wanted: Mapping[str, int], homes: Path = Path("/home")) -> None:
    """Create the missing accounts of `wanted` (name → uid = gid), with a home of mode 0700.

    Nothing is removed. If one of them is refused, none is made: HostenvError names the uid or name that
    exists and is not hostenv's. An account is hostenv's when `users.json` claims it; the claim is durable
    before the account is made, so that a crash in between leaves nothing that would be refused later.
    """
    claims = dict(read_json(config.users_file) or {})
    problems = [
        problem
        for name, uid in sorted(wanted.items())
        if (problem := _problem(name, uid, claims.get(name), homes / name))
    ]
    if problems:
        raise HostenvError("; ".join(problems))
    if any(name not in claims for name in wanted):
        write_json(config.users_file, {**claims, **wanted})
    with locks.accounts(config):
        for name, uid in sorted(wanted.items()):
            _ensure_user(config, name, uid, homes / name)


def _problem(name: str, uid: int, claimed: object, home: Path) -> str | None:
    if claimed not in (None, uid):
        return (
            f"environment user {name} has uid {claimed} on this node but {uid} in the plan; correct the plan"
        )
    holders = {
        "user": (_uid_of(name), _user_of(uid)),
        "group": (_gid_of(name), _group_of(uid)),
    }
    for kind, (number, holder) in holders.items():
        if number is None and holder is None:
            continue
        if number is not None and number != uid:
            return f"{kind} {name} exists with number {number}, not {uid}; rename or remove it"
        if holder is not None and holder != name:
            return f"number {uid} of environment user {name} belongs to {kind} {holder}; free it"
        if claimed is None:
            return f"{kind} {name} exists and was not made by hostenv; rename or remove it"
    if os.path.lexists(home) and (not home.is_dir() or home.lstat().st_uid not in (0, uid)):
        return f"{home} exists and is not the home of environment user {name}; move it away"
    return None


def _ensure_user(config: Config, name: str, uid: int, home: Path) -> None:
    if _gid_of(name) is None:
        run([config.tool("groupadd"), "--gid", str(uid), name], timeout=_SECONDS)
    if _uid_of(name) is None:
        run(
            [
                config.tool("useradd"),
                *("--uid", str(uid), "--gid", str(uid), "--shell", config.shell),
                *("--home-dir", str(home), "--no-create-home", "--comment", "hostenv environment", name),
            ],
            timeout=_SECONDS,
        )
    # Made here and not by useradd, which leaves an account without one when it is interrupted.
    home.mkdir(mode=0o700, exist_ok=True)
    if home.lstat().st_uid != uid:
        # It may have been there before, root's and open to everybody.
        home.chmod(0o700)
        os.chown(home, uid, uid, follow_symlinks=False)


def _uid_of(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def _user_of(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def _gid_of(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def _group_of(gid: int) -> str | None:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return None

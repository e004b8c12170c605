"""Nobody logs in as an environment's user, nor does cron or at, where the environment is not."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hostenv_node.config import Config
from hostenv_node.runtime import logins
from node_support import USER

SHADOW = """root:*:20000:0:99999:7:::
{user}-2:!:20000:0:99999:7::1:
{user}:!:20000:0:99999:7::{expires}:
"""


class Accounts:
    """`/etc/shadow` and the folders of cron and at; a script plays `usermod`."""

    def __init__(self, root: Path) -> None:
        self.shadow = root / "shadow"
        self.expire("")
        self.calls = root / "calls"
        self.calls.touch()
        self.usermod = root / "usermod"
        self.usermod.write_text(f'#!/bin/sh\necho "$1 $2" >>{self.calls}\n')
        self.usermod.chmod(0o755)
        self.crontabs, self.at_jobs = root / "crontabs", root / "atjobs"

    def expire(self, day: str) -> None:
        self.shadow.write_text(SHADOW.format(user=USER, expires=day))


@pytest.fixture
def accounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Accounts:
    made = Accounts(tmp_path)
    monkeypatch.setattr(logins, "_SHADOW", made.shadow)
    monkeypatch.setattr(logins, "_CRONTABS", (made.crontabs, tmp_path / "none"))
    monkeypatch.setattr(logins, "_AT_JOBS", (made.at_jobs, tmp_path / "none"))
    return made


@pytest.fixture
def config(configure: Callable[..., Config], accounts: Accounts) -> Config:
    return configure(tools={"usermod": str(accounts.usermod)})


def test_an_account_is_closed_and_opened_again(config: Config, accounts: Accounts) -> None:
    logins.allow(config, USER)
    assert accounts.calls.read_text() == ""
    assert logins.is_open(USER)
    logins.end(config, USER, 1002)
    assert accounts.calls.read_text() == "--expiredate 1\n"
    accounts.expire("1")
    assert not logins.is_open(USER)
    logins.end(config, USER, 1002)
    logins.allow(config, USER)
    assert accounts.calls.read_text() == "--expiredate 1\n--expiredate \n"


def test_what_the_operator_has_closed_stays_closed(config: Config, accounts: Accounts) -> None:
    accounts.expire("19000")
    logins.allow(config, USER)
    logins.end(config, USER, 1002)
    assert accounts.calls.read_text() == ""
    assert not logins.is_open("nobody-main-0000000")


def test_neither_cron_nor_at_starts_anything_any_more(config: Config, accounts: Accounts) -> None:
    others = (accounts.crontabs / "alice", accounts.at_jobs / "spool")
    own = (accounts.crontabs / USER, accounts.at_jobs / "a0000101c1ce2a")
    for path in (*others, *own):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    others[1].unlink()
    others[1].mkdir()
    logins.end(config, USER, os.getuid())
    assert all(path.exists() for path in others)
    assert not any(path.exists() for path in own)


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes files of others")
def test_jobs_of_others_stay(config: Config, accounts: Accounts) -> None:
    accounts.at_jobs.mkdir()
    for number, owner in enumerate((1002, 1003)):
        path = accounts.at_jobs / f"a{number}"
        path.touch()
        os.chown(path, owner, owner)
    logins.end(config, USER, 1002)
    (left,) = accounts.at_jobs.iterdir()
    assert left.stat().st_uid == 1003
    assert stat.S_ISREG(left.stat().st_mode)

"""A plan's entry, and the programs that the runtime's tests really run."""

import copy
import os
import shutil
from typing import Any

import pytest

USER = "drupal-main-2855093"
HOST = f"{USER}.demo.hostenv.test"
REV = "a" * 40
NAR_HASH = "sha256-" + "A" * 43 + "="

TOOLS = {
    "git": ("git",),
    "nginx": ("nginx",),
    "mariadb": ("mariadb",),
    "mariadbd": ("mariadbd",),
    "mariadb-dump": ("mariadb-dump",),
    "mariadb-install-db": ("mariadb-install-db",),
    "php": ("php",),
    "php-fpm": ("php-fpm", "php-fpm8.2", "php-fpm8.4"),
    "restic": ("restic",),
    "runuser": ("runuser",),
    "tar": ("tar",),
    "hostenv-node": ("hostenv-node",),
}

_ENTRY: dict[str, Any] = {
    "enable": True,
    "uid": 1002,
    "node": "node-b",
    "migrations": ["drupal-migrate"],
    "application": {"name": "drupal", "docroot": "web", "profile": "hostenv_demo"},
    "virtualHosts": {"demo.hostenv.local": {}},
    "repo": {"url": "git+file:///srv/project", "ref": "main", "rev": REV, "narHash": NAR_HASH},
    "hostenv": {"organisation": "demo", "project": "drupal", "userName": USER, "hostname": HOST},
}


def entry() -> dict[str, Any]:
    return copy.deepcopy(_ENTRY)


def program(name: str, *candidates: str) -> str:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    return next(
        (found for each in candidates if (found := shutil.which(each, path=path))), f"/missing/{name}"
    )


def needs(*candidates: str) -> pytest.MarkDecorator:
    missing = program("", *candidates).startswith("/missing")
    return pytest.mark.skipif(missing, reason=f"{candidates[0]} is not installed")

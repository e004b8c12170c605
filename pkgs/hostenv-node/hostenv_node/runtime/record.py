"""A node's own durable record of each environment (contract 8): what it runs, whatever the slice says."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Self

from hostenv_core.files import read_json, write_json
from hostenv_core.json_value import Value
from hostenv_core.names import FIRST_UID, LAST_UID, is_job, is_project, is_user_name

from hostenv_node.environment.entry import Entry

_RELEASE = re.compile(r"[0-9a-f]{40,64}-[0-9a-f]{8}")


class Phase(StrEnum):
    """How far an environment is on this node."""

    INACTIVE = "inactive"
    RESTORED = "restored"
    """Data and code are there or on their way; nothing is served."""
    ACTIVE = "active"


@dataclass(frozen=True)
class Applied:
    """An entry, and whether its release is laid out."""

    entry: Entry
    release: str | None
    """Name of the release folder, once it is complete."""

    def to_json(self) -> dict[str, object]:
        """Its part of a record's file."""
        return {"entry": self.entry, "release": self.release}

    @classmethod
    def from_json(cls, value: Value) -> "Applied":
        """Raises InvalidData when the value is none."""
        release = value.optional("release")
        return cls(
            entry=value.member("entry").mapping(),
            release=None if release is None else release.named(_is_release, "a release's name"),
        )


@dataclass(frozen=True)
class Record:
    """One environment on this node."""

    user: str
    uid: int
    codebase: str
    phase: Phase
    job: str
    """The job that changed this record last."""
    applied: Applied
    previous: Applied | None = None
    """What served before a reload that is not verified yet."""
    snapshots: Mapping[str, str] = field(default_factory=dict)
    """Of a finished backup or restore of `job`, by migration key."""
    set_aside: Mapping[str, float] = field(default_factory=dict)
    """Jobs whose restore may have set data aside, with the time in seconds since the epoch."""

    def to_json(self) -> dict[str, object]:
        """The content of the record's file."""
        return {
            "user": self.user,
            "uid": self.uid,
            "codebase": self.codebase,
            "phase": self.phase.value,
            "job": self.job,
            "applied": self.applied.to_json(),
            "previous": None if self.previous is None else self.previous.to_json(),
            "snapshots": dict(self.snapshots),
            "setAside": dict(self.set_aside),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, object], where: Path) -> Self:
        """Raises HostenvError naming `where` when the values are no record.

        No name in it can mean a path, an account or a unit of somebody else.
        """
        record = Value(values, where, most=None, remedy="restore the environment's record from a backup")
        previous = record.optional("previous")
        aside = record.member("setAside").entries(is_job, "a job")
        return cls(
            user=record.member("user").named(
                lambda user: user == where.stem and is_user_name(user), "its user"
            ),
            uid=record.member("uid").integer(FIRST_UID, LAST_UID),
            codebase=record.member("codebase").named(is_project, "a project"),
            phase=Phase(record.member("phase").choice(tuple(Phase))),
            job=record.member("job").named(is_job, "a job"),
            applied=Applied.from_json(record.member("applied")),
            previous=None if previous is None else Applied.from_json(previous),
            snapshots={key: each.text() for key, each in record.member("snapshots").object().items()},
            set_aside={job: each.number() for job, each in aside.items()},
        )


class Records:
    """The folder of records; every write is durable before it returns."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def get(self, user: str) -> Record | None:
        """Raises HostenvError when the file is damaged."""
        path = self._path(user)
        values = read_json(path)
        return None if values is None else Record.from_json(values, path)

    def put(self, record: Record) -> None:
        """Replace the environment's record. Raises OSError."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        write_json(self._path(record.user), record.to_json())

    def users(self) -> list[str]:
        """Of every environment that this node ever had, sorted."""
        return sorted(path.stem for path in self.directory.glob("*.json"))

    def _path(self, user: str) -> Path:
        return self.directory / f"{user}.json"


def _is_release(text: str) -> bool:
    return _RELEASE.fullmatch(text) is not None

"""A node's own durable record of each environment (contract 8): what it runs, whatever the slice says."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Self, TypeVar

from hostenv_core.errors import HostenvError
from hostenv_core.names import is_job, is_uid, is_user_name

from hostenv_node.environment.entry import CODEBASE, Entry
from hostenv_node.files import read_json, write_json

_RELEASE = re.compile(r"[0-9a-f]{40,64}-[0-9a-f]{8}")

T = TypeVar("T")


class Phase(StrEnum):
    """How far an environment is on this node."""

    INACTIVE = "inactive"
    RESTORED = "restored"
    """Data and code are there or on their way; nothing is served."""
    ACTIVE = "active"


@dataclass(frozen=True)
class Applied:
    """An entry and whether its release is laid out."""

    entry: Entry
    release: str | None
    """Name of the release folder, once it is complete."""

    def to_json(self) -> dict[str, object]:
        """Its part of a record's file."""
        return {"entry": self.entry, "release": self.release}

    @classmethod
    def from_json(cls, value: object) -> "Applied":
        """Raises HostenvError when the value is none."""
        if not isinstance(value, Mapping):
            raise HostenvError("no applied entry")
        entry, release = value.get("entry"), value.get("release")
        if not isinstance(entry, Mapping) or not (release is None or isinstance(release, str)):
            raise HostenvError("no applied entry")
        return cls(entry, release)


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
        """Raises HostenvError naming `where` when the values are no record."""
        try:
            previous = values["previous"]
            record = cls(
                user=_instance(values["user"], str),
                uid=_instance(values["uid"], int),
                codebase=_instance(values["codebase"], str),
                phase=Phase(_instance(values["phase"], str)),
                job=_instance(values["job"], str),
                applied=Applied.from_json(values["applied"]),
                previous=None if previous is None else Applied.from_json(previous),
                snapshots={
                    key: _instance(value, str) for key, value in _instance(values["snapshots"], dict).items()
                },
                set_aside={job: float(at) for job, at in _instance(values["setAside"], dict).items()},
            )
            record._check(where.stem)
        except (KeyError, TypeError, ValueError, HostenvError) as error:
            raise HostenvError(
                f"{where} is not an environment's record ({error}); restore it from a backup"
            ) from error
        return record

    def _check(self, user: str) -> None:
        """Raises ValueError when a name in it could mean a path, an account or a unit of somebody else."""
        releases = [applied.release for applied in (self.applied, self.previous) if applied is not None]
        acceptable = {
            "user": self.user == user and is_user_name(user),
            "uid": is_uid(self.uid),
            "codebase": CODEBASE.fullmatch(self.codebase),
            "job": is_job(self.job),
            "setAside": all(map(is_job, self.set_aside)),
            "release": all(name is None or _RELEASE.fullmatch(name) for name in releases),
        }
        for key, accepted in acceptable.items():
            if not accepted:
                raise ValueError(f"{key} is not acceptable")


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


def _instance(value: object, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is not {kind.__name__}")
    return value

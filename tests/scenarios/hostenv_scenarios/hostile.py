"""Homes as no honest tenant leaves them, made up from a seed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

_APP = '"$(readlink -f ~/.local/share/app/current)"'
_STATE = "~/.local/state/hostenv"
_DATA = "~/.local/share"
_UNITS = "~/.config/systemd"
_SUMMARY = f"{_STATE}/backup-drupal-migrate.json"


@dataclass(frozen=True)
class Deed:
    """One thing done to a home: a shell command of its user's, or of root's in the home.

    It can be done again. `refused` is what a move's job must say when it is refused for it, `fails` a
    pattern of what a push must say that it lets fail: one that changes units or needs the database.
    """

    name: str
    command: str
    by_root: bool = False
    refused: str | None = None
    fails: str | None = None


@dataclass(frozen=True)
class Home:
    """One home and what is done to it, in order."""

    seed: int
    number: int
    deeds: tuple[Deed, ...]

    @property
    def refused(self) -> list[str]:
        """Of these a move's job must say one; none when a move may succeed."""
        return [deed.refused for deed in self.deeds if deed.refused is not None]

    @property
    def fails(self) -> list[str]:
        """Of these patterns one is in what a push says that fails for a deed; none when none can."""
        return [deed.fails for deed in self.deeds if deed.fails is not None]

    def __str__(self) -> str:
        return f"home {self.number} of seed {self.seed}: {', '.join(deed.name for deed in self.deeds)}"


def _instead(path: str, what: str) -> str:
    return f"mkdir -p $(dirname {path}); chmod -fR u+rwx {path} || true; rm -rf {path}; {what} {path}"


def _shut(path: str, mode: str) -> str:
    return f"mkdir -p {path}/in; touch {path}/in/a; chmod {mode} {path}/in"


DEEDS: Sequence[Deed] = (
    Deed("a folder of the release is 0555", _shut(f"{_APP}/own", "555")),
    Deed("a folder of the release is 0000", _shut(f"{_APP}/shut", "0")),
    Deed("the folder of releases is 0555", f"chmod 555 {_DATA}/app"),
    Deed("names in the release are not UTF-8", f"touch {_APP}/$(printf 'odd\\377\\001name')"),
    Deed("a pipe in the release", f"rm -f {_APP}/pipe; mkfifo {_APP}/pipe"),
    Deed("a link out of the release", f"ln -sfn ~ {_APP}/out"),
    Deed("current is a folder", _instead(f"{_DATA}/app/current", "mkdir")),
    Deed("an unfinished release is locked", _shut(f"{_DATA}/app/.left.new", "0")),
    Deed("files is 0555", f"chmod 555 {_DATA}/files"),
    Deed("private_files is 0500", f"chmod 500 {_DATA}/private_files"),
    Deed("a pipe among the private files", _instead(f"{_DATA}/private_files/pipe", "mkfifo")),
    Deed("odd names among the private files", f"touch {_DATA}/private_files/$(printf 'odd\\377\\001name')"),
    Deed(
        "files is a link",
        f"mkdir -p ~/elsewhere; cp -a {_DATA}/files/. ~/elsewhere;"
        f" {_instead(f'{_DATA}/files', 'ln -s ~/elsewhere')}",
        refused="is a symbolic link",
    ),
    Deed(
        "private_files is missing",
        f"chmod -R u+rwx {_DATA}/private_files; rm -rf {_DATA}/private_files",
        refused="private_files is",
    ),
    Deed("private_files is a file", _instead(f"{_DATA}/private_files", "touch"), refused="private_files is"),
    Deed("an old restore is locked", _shut(f"{_DATA}/restore/files", "0")),
    Deed("started.json is a pipe", _instead(f"{_STATE}/started.json", "mkfifo")),
    Deed("rendered.json is a folder", _instead(f"{_STATE}/rendered.json", "mkdir")),
    Deed("started.json is nonsense", f"rm -rf {_STATE}/started.json; echo '[[{{' > {_STATE}/started.json"),
    Deed("the backup's summary is a pipe", _instead(_SUMMARY, "mkfifo")),
    Deed("the backup's errors are a folder", _instead(f"{_SUMMARY}.errors", "mkdir")),
    Deed("the state's folder is 0500", f"chmod 500 {_STATE}"),
    Deed("the units' folder is 0500", f"chmod 500 {_UNITS}/user"),
    Deed(
        "MariaDB is stopped by a signal",
        "systemctl --user kill --signal=STOP mysql.service",
        fails="does not answer",
    ),
    Deed("mysql.service is masked", f"ln -sf /dev/null {_UNITS}/user/mysql.service"),
    Deed("a unit's file is a folder", _instead(f"{_UNITS}/user/mysql-restore.service", "mkdir")),
    Deed(
        "nginx.service is masked for good",
        f"mkdir -p {_UNITS}/user.control; ln -sf /dev/null {_UNITS}/user.control/nginx.service;"
        " systemctl --user daemon-reload",
    ),
    Deed(
        "the target is another unit",
        f"printf '[Unit]\\nAssertPathExists=/none\\n' > {_UNITS}/user/hostenv-environment.target",
    ),
    Deed(
        "a mount in the release",
        "mkdir -p own; for release in .local/share/app/*-*; do mkdir -p $release/mounted;"
        " mount --bind own $release/mounted; done",
        by_root=True,
    ),
    Deed(
        "files is a mount point",
        "mount --bind .local/share/files .local/share/files",
        by_root=True,
        refused="is a mount point",
    ),
    Deed(
        "a locked file in the release",
        "for release in .local/share/app/*-*; do touch $release/locked; chattr +i $release/locked; done",
        by_root=True,
    ),
    Deed(
        "the state's file system is full",
        "state=.local/state/hostenv; rm -rf kept; cp -a $state kept; mount -t tmpfs -o size=1m full $state;"
        " cp -a kept/. $state; head -c 2M /dev/zero > $state/full 2>/dev/null || true",
        by_root=True,
        # A folder cannot be moved off it.
        fails="No space left on device|on another file system",
    ),
    Deed("the home is closed", "chmod 0 .", by_root=True),
)

MENDED = """
systemctl kill --signal=CONT "user@$(stat -c %u .).service" 2>/dev/null || true
for path in $(findmnt -rno TARGET | grep "^$PWD/"); do umount "$path"; done
chattr -R -i . 2>/dev/null || true
chmod -R u+rwX .
rm -rf .config/systemd/user.control .config/systemd/user/nginx.service
cd .local/share
if test -L files; then rm files; mv ../../elsewhere files; fi
test -d private_files || rm -f private_files
mkdir -p private_files
chown --reference . private_files
"""
"""A shell script of root's that undoes in a home what no deploy may undo."""


def homes(seed: int, count: int) -> list[Home]:
    """The same for the same seed; each deed comes up before one does again."""
    chance = random.Random(seed)
    made: list[Home] = []
    left: list[Deed] = []
    for number in range(count):
        deeds: list[Deed] = []
        for _ in range(chance.randint(1, 3)):
            left = left or chance.sample(DEEDS, len(DEEDS))
            deeds.append(left.pop())
        # What root does comes last, for the user must still get in.
        made.append(Home(seed, number, tuple(sorted(set(deeds), key=lambda deed: (deed.by_root, deed.name)))))
    return made

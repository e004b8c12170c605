"""The evaluation of a project's flake, untrusted code, in a box that holds nothing else (contract 3).

The box is `hostenv-evaluate@.service`: one for each evaluation, without a network, the provider's data or a
Nix store, as an account that owns nothing. `ask` is the provider's side of its socket, `answer` runs inside.
"""

import json
import platform
import re
import resource
import socket
import tarfile
import tempfile
import time
from pathlib import Path
from typing import IO

from hostenv_core.errors import HostenvError, InvalidData
from hostenv_core.lines import one_line
from hostenv_core.processes import CommandTimedOut, Completed, OutputTooLong, run

from hostenv_provider.config import Config
from hostenv_provider.plan.flake_template import project_expression
from hostenv_provider.repository.mirror import Mirror

_TIMEOUT = 60
_ANSWER_TIMEOUT = 120
_MEMORY = 2 << 30
_PROCESSOR_TIME = 20
_MAX_OUTPUT = 1 << 20
_MAX_ANSWER = 4 * _MAX_OUTPUT
_MAX_MESSAGE = 500
_CHUNK = 1 << 16

_NIX_ERROR = re.compile(r"^\s*error: (?P<message>\S.*)$", re.MULTILINE)
_STORE_HASH = re.compile(r"\b[0-9a-df-np-sv-z]{32}-|sha256[:-][A-Za-z0-9+/=]+")


def ask(config: Config, mirror: Mirror, rev: str, where: str) -> object:
    """The environments that the flake of the commit `rev` defines, as plain data.

    Raises InvalidData, which begins with `where`, if it cannot be evaluated within the box's limits.
    """
    path = config.evaluation_socket
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
        except OSError as error:
            raise HostenvError(
                f"{path}: cannot be reached ({error.strerror}): systemctl start hostenv-evaluate.socket"
            ) from error
        mirror.archive(rev, connection.fileno())
        try:
            connection.shutdown(socket.SHUT_WR)
            said = json.loads(_read(connection))
        except (OSError, ValueError, RecursionError) as error:
            raise InvalidData(
                f"{where}: its evaluation ended without an answer within its limits of {_MEMORY >> 30} GiB of"
                f" memory and {_TIMEOUT} s"
            ) from error
    if "error" in said:
        raise InvalidData(f"{where}: {one_line(str(said['error']), _MAX_MESSAGE)}")
    return said["environments"]


def _read(connection: socket.socket) -> bytes:
    deadline = time.monotonic() + _ANSWER_TIMEOUT
    text = b""
    while len(text) <= _MAX_ANSWER:
        connection.settimeout(max(1.0, deadline - time.monotonic()))
        piece = connection.recv(_CHUNK)
        if not piece:
            break
        text += piece
    return text


def answer(config: Config, archive: IO[bytes]) -> dict[str, object]:
    """Runs in the box: what the flake in `archive`, a tar file, defines. The file is read to its end."""
    # These limits are also those of all processes that are started from here on.
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_PROCESSOR_TIME, _PROCESSOR_TIME))
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "source")
        try:
            _unpack(archive, tree)
            return {"environments": _evaluate(config, tree)}
        except (HostenvError, OSError, MemoryError, tarfile.TarError) as error:
            return {"error": _without_places(str(error) or "it needs too much memory", tree)}


def _unpack(archive: IO[bytes], tree: Path) -> None:
    tree.mkdir()
    with tarfile.open(fileobj=archive, mode="r|") as tar:
        for member in tar:
            target = tree / member.name
            if ".." in target.parts:
                raise InvalidData(f"its source has a file of the name {member.name}")
            target.parent.mkdir(parents=True, exist_ok=True)
            content = tar.extractfile(member) if member.isreg() else None
            if content is not None:
                with target.open("xb") as file:
                    while piece := content.read(_CHUNK):
                        file.write(piece)
            elif member.issym():
                target.symlink_to(member.linkname)
            elif member.isdir():
                target.mkdir(exist_ok=True)
    while archive.read(_CHUNK):
        pass


def _evaluate(config: Config, tree: Path) -> object:
    home = tree.parent / "home"
    arguments = f'{{ tree = /. + "{tree}"; system = "{platform.machine()}-linux"; }}'
    options = {
        # Nothing is read but the flake's own files, and nothing is fetched.
        "restrict-eval": "true",
        "allowed-uris": "",
        "allow-import-from-derivation": "false",
        "substitute": "false",
    }
    command = [config.tool("nix"), "--extra-experimental-features", "nix-command", "--store", "dummy://"]
    for name, value in options.items():
        command += ["--option", name, value]
    command += ["eval", "--json", "--read-only", "--impure", "-I", f"source={tree}"]
    try:
        done = run(
            [*command, "--expr", f"({project_expression()}) {arguments}"],
            timeout=_TIMEOUT,
            most=_MAX_OUTPUT,
            env={
                "HOME": str(home),
                "NIX_CONF_DIR": str(home),
                "NIX_STORE_DIR": f"{home}/store",
                "NIX_STATE_DIR": f"{home}/state",
                "LC_ALL": "C",
            },
            check=False,
        )
    except OutputTooLong:
        raise InvalidData(f"its evaluation writes more than {_MAX_OUTPUT >> 20} MiB") from None
    except CommandTimedOut:
        raise InvalidData(f"its evaluation takes longer than {_TIMEOUT} s") from None
    if done.returncode:
        raise InvalidData(_problem(done))
    try:
        return json.loads(done.text)
    except (ValueError, RecursionError) as error:
        raise InvalidData(f"Nix answers no JSON ({error})") from error


def _problem(done: Completed) -> str:
    message = nix_error(done)
    if done.returncode < 0 or done.returncode > 128:
        return f"its evaluation was stopped after {_PROCESSOR_TIME} s of processor time"
    if "out of memory" in message:
        return f"its evaluation needs more than {_MEMORY >> 20} MiB of memory"
    if message.endswith(".drv' is not valid"):
        return (
            "it builds something in order to be evaluated (import from derivation), which a project may not"
        )
    return f"cannot be evaluated: {message}"


def nix_error(done: Completed) -> str:
    """What Nix said last, on one line."""
    messages = _NIX_ERROR.findall(done.error_text)
    text = messages[-1] if messages else done.error_text[-_MAX_MESSAGE:].strip() or "no message"
    return one_line(text, _MAX_MESSAGE)


def _without_places(message: str, tree: Path) -> str:
    """A message without hashes and paths that are ours and not the project's."""
    for place in (f"{tree.parent}/home/store/", f"{tree}/", str(tree), str(tree.parent)):
        message = message.replace(place, "")
    return _STORE_HASH.sub("…", message)

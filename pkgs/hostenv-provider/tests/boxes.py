"""A stand-in for hostenv-evaluate.socket: the same program and the same Nix, without systemd's walls."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hostenv_provider.config import PATH_VARIABLE

PROGRAM = "import sys; from hostenv_provider.cli import main; sys.exit(main(['evaluate']))"


@contextmanager
def boxes(path: Path, tools: dict[str, str]) -> Iterator[None]:
    """Gives every connection to `path` an evaluation of its own."""
    settings = path.with_suffix(".json")
    settings.write_text(json.dumps({"publicUrl": "http://provider", "tools": tools}))
    env = {"PYTHONPATH": os.pathsep.join(sys.path), PATH_VARIABLE: str(settings)}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    subprocess.run(
                        [sys.executable, "-c", PROGRAM],
                        stdin=connection,
                        stdout=connection,
                        env=env,
                        check=False,
                    )

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()

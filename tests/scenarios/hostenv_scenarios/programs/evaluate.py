"""What the box of hostenv-evaluate.socket says of flakes, and who is asked meanwhile.

usage: evaluate.py FLAKES.json, a list of {"files": {path: text}, "links": {path: target}}; `@port@` in them
becomes a port at which connections are counted.
Prints {"answers": [...], "connections": number}.
"""

import json
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path


def evaluate(folder: Path) -> object:
    """The answer of a box about the flake in a folder, None if there is none."""
    answer = b""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("/run/hostenv-evaluate.sock")
        subprocess.run(["tar", "-c", "-C", str(folder), "."], stdout=connection.fileno(), check=False)
        connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(1 << 16):
            answer += piece
    return json.loads(answer) if answer else None


def lay(folder: Path, flake: dict[str, dict[str, str]], port: str) -> None:
    """Make a flake's files and links."""
    for name, text in flake["files"].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text.replace("@port@", port))
    for name, target in flake["links"].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(target)


def main() -> None:
    connections = []
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:

        def count() -> None:
            while True:
                connection, _ = listener.accept()
                connection.close()
                connections.append(1)

        threading.Thread(target=count, daemon=True).start()
        port = str(listener.getsockname()[1])
        answers = []
        for flake in json.loads(Path(sys.argv[1]).read_text()):
            with tempfile.TemporaryDirectory() as name:
                lay(Path(name), flake, port)
                answers.append(evaluate(Path(name)))
        # One that is known to come, so that a zero means something.
        socket.create_connection(("127.0.0.1", int(port))).close()
        while not connections:
            pass
        print(json.dumps({"answers": answers, "connections": len(connections) - 1}))


if __name__ == "__main__":
    main()

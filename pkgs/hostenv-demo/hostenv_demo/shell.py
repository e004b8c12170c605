"""The shell of a run: `./hostenv-demo/enter`, or `nix develop` in that folder, with the run's own tools.

`ssh` knows the machines, `curl` the site; `hostenv-provider` and `trigger-webhook` work as on the provider.
"""

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from hostenv_lab import run

from hostenv_demo.machines import Machine
from hostenv_demo.names import ENVIRONMENT, ROOT, VIRTUAL_HOST

SITE_NAMES = (VIRTUAL_HOST, f"{ENVIRONMENT}.demo.hostenv.test")
# the endpoints' suffix in pkgs/hostenv-demo/machines/machines.toml
_SSH = "-ssh"
_TIMEOUT = 60
# what the wizard's commands start, and its Debian package
_PROGRAMS = {"curl": "curl", "ssh-keygen": "openssh-client"}
_HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
_LOGIN = (
    "install -d -m 700 /root/.ssh && printf '%s\\n' {key} > /root/.ssh/authorized_keys"
    f" && (test -e {_HOST_KEY} || ssh-keygen -q -t ed25519 -N '' -f {_HOST_KEY})"
    f" && systemctl start ssh.service && cat {_HOST_KEY}.pub"
)


def missing_packages() -> tuple[str, ...]:
    """The Debian packages that the shell needs and this host lacks."""
    return tuple(package for program, package in _PROGRAMS.items() if not shutil.which(program))


def prepare(workdir: Path, endpoints: Mapping[str, str], site: str) -> None:
    """Write the shell's files. `site` is the site's address on this host. Raises HostenvError."""
    for name in ("bin", "ssh", "curl"):
        (workdir / name).mkdir()
    key = workdir / "ssh" / "key"
    run.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", workdir.name, "-f", str(key)], timeout=_TIMEOUT
    )
    (workdir / "ssh" / "config").write_text(ssh_config(workdir, endpoints))
    (workdir / "curl" / ".curlrc").write_text(curl_config(site, endpoints))
    (workdir / "hosts").write_text(hosts_line(site))
    (workdir / "flake.nix").write_text(flake(workdir))
    for path, text in scripts(workdir).items():
        (workdir / path).write_text(text)
        (workdir / path).chmod(0o755)
    if shutil.which("git"):
        # else Nix would copy the whole folder, sockets and disks included, to its store
        run.run(["git", "-C", str(workdir), "init", "--quiet"], timeout=_TIMEOUT)
        run.run(["git", "-C", str(workdir), "add", "flake.nix"], timeout=_TIMEOUT)


def let_in(workdir: Path, machines: Sequence[Machine], endpoints: Mapping[str, str]) -> None:
    """Start the machines' SSH servers, and let the run's key, and nobody else, in."""
    key = shlex.quote((workdir / "ssh" / "key.pub").read_text().strip())
    known = []
    for machine in machines:
        host_key = machine.succeed(_LOGIN.format(key=key)).split()
        address = urlsplit(endpoints[machine.name + _SSH])
        known.append(f"[{address.hostname}]:{address.port} {' '.join(host_key[:2])}\n")
    (workdir / "ssh" / "known_hosts").write_text("".join(known))


def is_open(workdir: Path) -> bool:
    """Whether the machines let the run's key in."""
    return (workdir / "ssh" / "known_hosts").exists()


def ssh_config(workdir: Path, endpoints: Mapping[str, str]) -> str:
    """The configuration of the run's `ssh`."""
    lines = []
    for name, endpoint in endpoints.items():
        if name.endswith(_SSH):
            address = urlsplit(endpoint)
            lines += [
                f"Host {name.removesuffix(_SSH)}",
                f"  HostName {address.hostname}",
                f"  Port {address.port}",
            ]
    return "\n".join(
        [
            *lines,
            "Host *",
            "  User root",
            f'  IdentityFile "{workdir}/ssh/key"',
            "  IdentitiesOnly yes",
            f'  UserKnownHostsFile "{workdir}/ssh/known_hosts"',
            "  StrictHostKeyChecking yes",
            "  BatchMode yes",
            "  LogLevel ERROR",
            "",
        ]
    )


def curl_config(site: str, endpoints: Mapping[str, str]) -> str:
    """What lets `curl` find the site and the nodes by their names."""
    door = urlsplit(site).netloc
    lines = [f'connect-to = "{name}::{door}"' for name in SITE_NAMES]
    for name, endpoint in endpoints.items():
        if not name.endswith(_SSH):
            lines.append(f'connect-to = "{name}::{urlsplit(endpoint).netloc}"')
    return "\n".join(lines) + "\n"


def hosts_line(site: str) -> str:
    """The line of a hosts file with which a browser finds the site by its names."""
    return f"{urlsplit(site).hostname} {' '.join(SITE_NAMES)}\n"


def scripts(workdir: Path) -> dict[str, str]:
    """The run's programs, by their path in the work folder."""
    here = shlex.quote(str(workdir))
    path = shlex.quote(":".join(f"{ROOT}/pkgs/hostenv-{name}" for name in ("demo", "lab", "core")))
    python = shlex.quote(sys.executable)
    # by its path: by its name it would find itself
    ssh = shlex.quote(shutil.which("ssh") or "/usr/bin/ssh")
    return {
        "bin/ssh": f'#!/bin/sh\nexec {ssh} -F {here}/ssh/config "$@"\n',
        "bin/hostenv-provider": "#!/usr/bin/env bash\n"
        f'exec {here}/bin/ssh provider "hostenv-provider ${{*@Q}}"\n',
        "bin/trigger-webhook": "#!/bin/sh\n"
        f'PYTHONPATH={path} exec {python} -m hostenv_demo.trigger --workdir {here} "$@"\n',
        "enter": "#!/usr/bin/env bash\n"
        "# A shell with the run's own tools; with arguments, runs them there.\n"
        f"export PATH={here}/bin:$PATH CURL_HOME={here}/curl\n"
        '[[ $# == 0 ]] || exec "$@"\n'
        "echo 'Here: hostenv-provider, trigger-webhook, ssh provider|node-a|node-b,"
        f" curl http://{VIRTUAL_HOST}/ (exit leaves)' >&2\n"
        'exec "${SHELL:-bash}" -i\n',
    }


def flake(workdir: Path) -> str:
    """The `flake.nix` of the work folder: the same shell by `nix develop`."""
    return f"""{{
  description = "The shell of one run of the hostenv demo";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    {{ nixpkgs, ... }}:
    {{
      devShells = nixpkgs.lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (
        system:
        let
          pkgs = nixpkgs.legacyPackages.${{system}};
        in
        {{
          default = pkgs.mkShellNoCC {{
            packages = [
              pkgs.curl
              pkgs.jq
              pkgs.openssh
            ];
            shellHook = ''
              export PATH={workdir}/bin:$PATH CURL_HOME={workdir}/curl
            '';
          }};
        }}
      );
    }};
}}
"""

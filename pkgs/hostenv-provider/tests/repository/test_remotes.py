"""From where projects may be fetched, and that Git goes there and nowhere else."""

import os
import socket
import subprocess
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from git_hosts import GIT, file_host, git_host, listener
from hostenv_core.errors import InvalidData
from hostenv_provider.config import Config
from hostenv_provider.repository import remotes
from hostenv_provider.repository.mirror import Mirror
from hostenv_provider.repository.remotes import FetchFailed
from hostenv_provider.repository.repository import Repository

KEY = "demo__drupal"
MAIN = "refs/heads/main"
LOOPBACK = (ip_network("127.0.0.0/8"),)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = Config(
        tmp_path / "data",
        tmp_path / "socket",
        "root",
        "http://127.0.0.1",
        source_folders=(tmp_path / "hosted",),
        tools={"git": GIT},
    )
    config.git_dir.mkdir(parents=True)
    (tmp_path / "hosted").mkdir()
    return config


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What names lead to, as the system's resolver says; it knows no others."""
    known: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def play(host: str, *arguments: Any, **options: Any) -> Any:
        if host[0].isalpha() and host not in known:
            raise socket.gaierror(-2, "Name or service not known")
        answers = (real(address, *arguments, **options) for address in known.get(host, [host]))
        return [each for answer in answers for each in answer]

    monkeypatch.setattr(socket, "getaddrinfo", play)
    return known


def refusal(config: Config, url: str) -> str:
    with pytest.raises(InvalidData) as error:
        remotes.route(config, url)
    text = str(error.value)
    assert text.startswith(f"{url}: ")
    assert text.isprintable()
    return text.removeprefix(f"{url}: ")


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("8.8.8.8", None),
        ("127.8.8.8", "a loopback address"),
        ("0.0.0.0", "no address of a host"),
        ("10.0.0.1", "a private address"),
        ("172.31.255.255", "a private address"),
        ("192.168.1.1", "a private address"),
        ("100.64.0.1", "a private address"),
        ("169.254.169.254", "a link-local address"),
        ("224.0.0.1", "a multicast address"),
        ("255.255.255.255", "a private address"),
        ("2606:4700::1", None),
        ("::1", "a loopback address"),
        ("::", "no address of a host"),
        ("fe80::1", "a link-local address"),
        ("fd00::1", "a private address"),
        ("fec0::1", "a private address"),
        ("ff02::1", "a multicast address"),
        ("2001:db8::1", "a private address"),
        ("2001:0:102:304::1", "a private address"),
        ("::ffff:127.0.0.1", "a loopback address"),
        ("::ffff:8.8.8.8", None),
        ("::127.0.0.1", "a loopback address"),
        ("64:ff9b::10.0.0.1", "a private address"),
        ("64:ff9b::8.8.8.8", None),
        ("64:ff9b:1::8.8.8.8", "a private address"),
        ("2002:7f00:1::", "a loopback address"),
        ("2002:808:808::", None),
    ],
)
def test_an_address_is_public_or_said_to_be_something_else(address: str, kind: str | None) -> None:
    assert remotes.kind_of(ip_address(address)) == kind


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "017700000001",
        "127.1",
        "0x7f.1",
        "0177.0.0.1",
        "127.0.0.01",
        "127.0.0.1.",
        "127.0.0.0x1",
        "1.2.3.256",
        "example.org.",
        "a..b",
        "-oProxyCommand=x",
        "[::1]",
        "[::ffff:7f00:1]",
        "ex%61mple.org",
        "a@b@example.org",
        "",
    ],
)
@pytest.mark.parametrize("scheme", ["https", "ssh"])
def test_a_host_has_one_form_which_all_programs_read_alike(config: Config, scheme: str, host: str) -> None:
    assert "in its usual form" in refusal(config, f"git+{scheme}://{host}/site")


@pytest.mark.parametrize("scheme", ["git", "ext", "ftp", "git+git", "git+ext", "git+ftp", "git+hg", "git+fd"])
def test_no_other_way_leads_anywhere(config: Config, scheme: str) -> None:
    assert "is not https, ssh or file" in refusal(config, f"{scheme}://example.org/site")


@pytest.mark.parametrize("scheme", ["https", "ssh"])
@pytest.mark.parametrize(
    "addresses", [["10.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["2606:4700::1", "::ffff:a00:1"]]
)
def test_a_name_that_leads_into_a_private_network_is_refused(
    config: Config, resolver: dict[str, list[str]], scheme: str, addresses: list[str]
) -> None:
    resolver["git.example.org"] = addresses

    text = refusal(config, f"git+{scheme}://git.example.org/site")

    assert text.startswith(f"git.example.org is at {addresses[-1]}, a private address: name its network in")


def test_an_operator_may_allow_a_network(config: Config, resolver: dict[str, list[str]]) -> None:
    resolver["git.example.org"] = ["10.1.2.3"]
    url = "git+https://git.example.org/site"

    assert remotes.route(replace(config, source_networks=(ip_network("10.1.0.0/16"),)), url)
    assert refusal(replace(config, source_networks=(ip_network("10.2.0.0/16"),)), url)


def test_what_is_not_encrypted_comes_from_allowed_networks_only(
    config: Config, resolver: dict[str, list[str]]
) -> None:
    resolver["git.example.org"] = ["8.8.8.8"]
    url = "git+http://git.example.org/site"

    assert "use git+https" in refusal(config, url)
    assert remotes.route(replace(config, source_networks=(ip_network("8.8.8.0/24"),)), url)


def test_the_providers_own_addresses_are_refused_though_they_are_public(
    config: Config, resolver: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver["git.example.org"] = resolver["provider.example.org"] = ["8.8.8.8"]
    url = "git+https://git.example.org/site"

    assert remotes.route(config, url)
    fronted = replace(config, public_url="https://provider.example.org")
    assert "8.8.8.8, an address of this provider" in refusal(fronted, url)
    monkeypatch.setattr(remotes, "_is_local", lambda address: str(address) == "8.8.8.8")
    assert "8.8.8.8, an address of this provider" in refusal(config, url)


def test_this_machine_knows_its_addresses() -> None:
    assert remotes._is_local(ip_address("127.0.0.1"))
    assert not remotes._is_local(ip_address("192.0.2.1"))


def test_a_name_without_an_address_may_have_one_later(config: Config, resolver: dict[str, list[str]]) -> None:
    assert not resolver
    with pytest.raises(FetchFailed, match="has no address"):
        remotes.route(config, "git+https://git.example.org/site")


@pytest.mark.parametrize(
    "path",
    [
        "/etc",
        "{hosted}",
        "{folder}/../data/git/demo__other.git",
        "{folder}/%2e%2e/data/git/demo__other.git",
        "{folder}/link",
        "{folder}/%ff",
        "{folder}/site/link/demo__other.git",
        "{folder}-beside/site",
        "{folder}/a%00b",
        "localhost{folder}/site",
    ],
)
def test_what_is_not_below_an_allowed_folder_is_refused(config: Config, path: str) -> None:
    folder = config.source_folders[0]
    config.git_dir.joinpath("demo__other.git").mkdir()
    folder.with_name("hosted-beside").mkdir()
    folder.joinpath("link").symlink_to(config.git_dir / "demo__other.git")
    os.symlink(config.git_dir, os.fsencode(folder) + b"/\xff")
    folder.joinpath("site").mkdir()
    folder.joinpath("site/link").symlink_to(config.git_dir)

    text = refusal(config, f"git+file://{path.format(folder=folder, hosted=folder.parent)}")

    assert "sourceFolders" in text or "is not the path of a folder" in text


def test_the_providers_own_data_are_no_source(config: Config) -> None:
    everything = replace(config, source_folders=(Path("/"),))

    assert "sourceFolders" in refusal(everything, f"git+file://{config.git_dir}/demo__other.git")
    assert remotes.route(everything, "git+file:///srv/site")


def test_git_takes_the_address_that_was_looked_at(config: Config, resolver: dict[str, list[str]]) -> None:
    """The name has no address for Git itself, as if it led elsewhere by now."""
    config = replace(config, source_networks=LOOPBACK)
    folder = config.source_folders[0] / "site"
    rev = commit(folder)
    resolver["git.example.org"] = ["127.0.0.1"]

    with git_host(folder.parent) as host:
        url = f"git+http://git.example.org:{host.port}/site"
        mirror = Mirror(Repository(config), KEY)
        assert mirror.head(url, MAIN).rev == rev
        mirror.obtain(url, MAIN, rev)

    assert mirror.has(rev)


@pytest.mark.parametrize(("port", "alias"), [("", "git.example.org"), (":2222", "[git.example.org]:2222")])
def test_ssh_takes_the_address_that_was_looked_at(
    config: Config,
    resolver: dict[str, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    port: str,
    alias: str,
) -> None:
    resolver["git.example.org"] = ["8.8.8.8", "8.8.4.4"]
    called = tmp_path / "called"
    ssh = tmp_path / "bin/ssh"
    ssh.parent.mkdir()
    ssh.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {called}\nexit 1\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}:{os.environ['PATH']}")

    with pytest.raises(FetchFailed):
        Mirror(Repository(config), KEY).head(f"git+ssh://git@git.example.org{port}/~user/site", MAIN)

    words = called.read_text().splitlines()
    assert "HostName=8.8.8.8" in words
    assert f"HostKeyAlias={alias}" in words
    assert "git@git.example.org" in words, "which the operator's configuration of ssh goes by"


def test_a_folder_has_the_name_that_git_reads(config: Config) -> None:
    folder = config.source_folders[0] / "a b"
    rev = commit(folder)
    url = f"git+file://{folder.parent}/a%20b"

    assert remotes.local_folder(url) == folder
    assert Mirror(Repository(config), KEY).head(url, MAIN).rev == rev


def test_a_host_without_gits_protocol_lends_no_objects_of_another(config: Config) -> None:
    """A host that hands out files may name others that have the objects (http-alternates)."""
    config = replace(config, source_networks=LOOPBACK)
    folder = config.source_folders[0] / "site"
    rev = commit(folder)
    git(folder, "update-server-info")
    elsewhere = folder / ".git/objects/info/http-alternates"
    (folder / ".git/objects" / rev[:2] / rev[2:]).unlink()

    with file_host(folder / ".git") as port, listener() as other:
        elsewhere.write_text(f"http://127.0.0.1:{other.port}/objects\n")
        with pytest.raises(FetchFailed):
            Mirror(Repository(config), KEY).obtain(f"git+http://127.0.0.1:{port}/", MAIN, rev)
        assert other.connections() == 0


def git(folder: Path, *arguments: str) -> str:
    command = [GIT, "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@localhost", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder: Path) -> str:
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "x")
    return git(folder, "rev-parse", "HEAD")

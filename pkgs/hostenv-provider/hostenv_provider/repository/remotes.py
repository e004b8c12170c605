"""A project's remote, its Git repository at a host, and whether the provider may fetch from there.

Operators decide what is fetched. But the owner of a host name decides where it leads, and may change that at
any moment; so the address that was checked is the one that is used.
"""

import re
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from urllib.parse import unquote, urlsplit

from hostenv_core.errors import HostenvError, InvalidData

from hostenv_provider.config import Config

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_REMOTE = re.compile(
    r"git\+(?P<scheme>https|http|ssh)://([A-Za-z0-9._~+-]+@)?(?P<host>[A-Za-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?/.*"
)
_PORTS = {"https": 443, "http": 80, "ssh": 22}
_LOCAL = "git+file://"
# What the system's resolver takes for a number: 127.1, 0x7f000001, 017700000001.
_NUMBER = re.compile(r"([0-9]+|0[xX][0-9A-Fa-f]*)")
_SSH = "ssh -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15 -o ServerAliveCountMax=2"
_CONFIGURATION = "in the provider's configuration"

# IPv6 addresses that stand for an IPv4 one, which is in their last 32 bits.
_TRANSLATED = (ip_network("64:ff9b::/96"), ip_network("::/96"))
_TRANSLATED_LOCALLY = ip_network("64:ff9b:1::/48")


class FetchFailed(HostenvError):
    """A project's Git host does not answer or refuses; this may be temporary."""


@dataclass(frozen=True)
class Route:
    """How Git reaches a remote and nothing else: its settings and its environment."""

    settings: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


def route(config: Config, url: str) -> Route:
    """The way to a remote, by the address that its host has now.

    Raises InvalidData if the provider may not fetch from there, FetchFailed if the host has no address.
    """
    if url.startswith(_LOCAL):
        _check_folder(config, url)
        return Route(environment={"GIT_ALLOW_PROTOCOL": "file"})
    found = _REMOTE.fullmatch(url)
    if found is None or not _is_plain(found["host"]):
        raise InvalidData(
            f"{url}: is not https, ssh or file with a host's name or address in its usual form: correct it"
        )
    scheme, host = found["scheme"], found["host"]
    port = int(found["port"] or _PORTS[scheme])
    addresses = _addresses(url, host)
    own = _own(config, addresses)
    for address in addresses:
        kind = "an address of this provider" if address in own else kind_of(address)
        if kind is not None and not _is_in(address, config.source_networks):
            raise InvalidData(
                f"{url}: {host} is at {address}, {kind}: name its network in sourceNetworks {_CONFIGURATION}"
                " if projects may be fetched from there"
            )
        if scheme == "http" and not _is_in(address, config.source_networks):
            raise InvalidData(
                f"{url}: what comes by http can be changed on its way: use git+https://, or name the network"
                f" of {address} in sourceNetworks {_CONFIGURATION}"
            )
    return _pinned(scheme, host, port, addresses)


def local_folder(url: str) -> Path | None:
    """The folder of a `git+file://` remote, None for any other."""
    if not url.startswith(_LOCAL):
        return None
    return Path(unquote(url.removeprefix(_LOCAL), errors="surrogateescape"))


def kind_of(address: Address) -> str | None:
    """What an address is that does not belong to the public Internet, None for one that does.

    An IPv6 address that stands for an IPv4 one is what that is.
    """
    if isinstance(address, IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour
        if embedded is None and any(address in network for network in _TRANSLATED):
            embedded = IPv4Address(int(address) & 0xFFFFFFFF)
        if embedded is not None and not (address.is_loopback or address.is_unspecified):
            return kind_of(embedded)
        if address.is_site_local or address in _TRANSLATED_LOCALLY:
            return "a private address"
    for is_so, kind in (
        (address.is_loopback, "a loopback address"),
        (address.is_link_local, "a link-local address"),
        (address.is_multicast, "a multicast address"),
        (address.is_unspecified, "no address of a host"),
        (not address.is_global, "a private address"),
    ):
        if is_so:
            return kind
    return None


def _check_folder(config: Config, url: str) -> None:
    folder = local_folder(url)
    assert folder is not None
    try:
        real = folder.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise InvalidData(f"{url}: is not the path of a folder: correct it") from error
    allowed = any(real.is_relative_to(each.resolve()) for each in config.source_folders)
    if not allowed or not folder.is_absolute() or real.is_relative_to(config.data_dir.resolve()):
        raise InvalidData(
            f"{url}: {real} is not in a folder from which projects may be fetched: name one in sourceFolders"
            f" {_CONFIGURATION}"
        )


def _is_plain(host: str) -> bool:
    """Whether all programs read `host` alike: a name, or an IPv4 address of four decimal numbers."""
    labels = host.split(".")
    if not _NUMBER.fullmatch(labels[-1]):
        return all(labels) and not host.startswith("-")
    try:
        return str(IPv4Address(host)) == host
    except ValueError:
        return False


def _addresses(url: str, host: str) -> list[Address]:
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise FetchFailed(f"{url}: the name {host} has no address ({error})") from error
    return [ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers]


def _own(config: Config, addresses: Collection[Address]) -> set[Address]:
    """Those of `addresses` that lead to this machine, or to where its nodes reach it."""
    own = {address for address in addresses if _is_local(address)}
    try:
        front = _addresses(config.public_url, urlsplit(config.public_url).hostname or "")
    except FetchFailed:
        front = []
    return own | set(front)


def _is_local(address: Address) -> bool:
    # Where any address may be bound (net.ipv4.ip_nonlocal_bind), sourceNetworks has to name all.
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


def _is_in(address: Address, networks: Collection[Network]) -> bool:
    return any(address in network for network in networks)


def _pinned(scheme: str, host: str, port: int, addresses: list[Address]) -> Route:
    if scheme == "ssh":
        # known_hosts and the user's configuration still go by the name.
        alias = host if port == _PORTS["ssh"] else f"[{host}]:{port}"
        ssh = f"{_SSH} -o HostName={addresses[0]} -o HostKeyAlias={alias}"
        environment = {"GIT_ALLOW_PROTOCOL": "ssh", "GIT_SSH_COMMAND": ssh, "GIT_SSH_VARIANT": "ssh"}
        return Route(environment=environment)
    listed = ",".join(f"[{each}]" if each.version == 6 else str(each) for each in addresses)
    return Route({"http.curloptResolve": f"{host}:{port}:{listed}"}, {"GIT_ALLOW_PROTOCOL": scheme})

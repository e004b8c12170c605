"""What the system's resolver says."""

import socket


def addresses_of(host: str) -> set[str]:
    """The IP addresses of `host`, a name or an address, by the system's resolver; empty if it has none."""
    try:
        return {str(answer[4][0]) for answer in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return set()


def names_of(host: str) -> set[str]:
    """All names on the way from `host` to its address, by the system's resolver; empty if it has none."""
    try:
        name, aliases, _ = socket.gethostbyname_ex(host)
    except (OSError, UnicodeError):
        return set()
    return {each.rstrip(".").lower() for each in (name, *aliases)}

"""Names and hashes made from an environment's coordinates (contract 2), and the names people may give.

What becomes an account, a path or a unit is checked with these wherever it comes from.
"""

import hashlib
import re
from ipaddress import ip_address
from typing import TypeGuard

from hostenv_core.errors import HostenvError, InvalidData
from hostenv_core.lines import shown

PROVIDER_NODE = "provider"
"""Stands for the service itself among the nodes of a job's actions (contract 7)."""

FIRST_UID, LAST_UID = 1002, 59999
"""The uids of environments; above them begin systemd's own, `nobody` and what a container may not have."""

APPLICATIONS = ("drupal", "php")
"""What code an environment can run."""

MAX_PROJECT_NAME = 48
"""Letters and digits of an organisation's or project's name: it also names a database on the node."""

_SLUG_LENGTH = 11
_HASH_PREFIX = 7
_HOST_NAME_LENGTH = 253
_USER_NAME_LENGTH = 2 * (_SLUG_LENGTH + 1) + _HASH_PREFIX
_REFERENCE_LENGTH = 200
_FILE_NAME_LENGTH = 255

# Not compiled: a start-up that needs none of them does not pay for them.
_HOST_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_NODE_NAME = r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?"
_ENVIRONMENT_NAME = r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,62}[A-Za-z0-9])?"
_KEY = r"[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?"
_PROFILE = r"[a-z][a-z0-9_]{0,63}"
_INPUT_NAME = r"(?P<organisation>[A-Za-z][A-Za-z0-9-]{0,62})__(?P<project>[A-Za-z][A-Za-z0-9-]{0,62})"
_MARIADB_OWN = r"mysql|sys|ibdata[0-9]+|ibtmp[0-9]+|undo[0-9]{3}"
_USER_NAME = r"[a-z][a-z0-9-]{0,10}-[a-z0-9-]{1,11}-[0-9a-f]{7}"
_JOB = r"[A-Za-z0-9][A-Za-z0-9-]{0,63}"
_DOCROOT = r"[A-Za-z0-9._][A-Za-z0-9._/-]*"
_PUBLIC_KEY = r"(ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,3}( [ -~]*)?"
_REVISION = r"[0-9a-f]{40}([0-9a-f]{24})?"
_NAR_HASH = r"sha256-[A-Za-z0-9+/]{43}="
_GIT_REFERENCE = r"[A-Za-z0-9_][A-Za-z0-9_./+-]*"


def normalise(text: str) -> str:
    """The form of an organisation's or project's name in hashes: its letters and digits, lower-cased."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


def slug(text: str) -> str:
    """A short form for user names: whole words of the part after the last `/`, 11 characters at most."""
    words = [word for word in re.split(r"[^A-Za-z0-9]+", text.rsplit("/", 1)[-1]) if word]
    if not words:
        return ""
    result = words[0][:_SLUG_LENGTH]
    if len(words[0]) <= _SLUG_LENGTH:
        for word in words[1:]:
            if len(result) + 1 + len(word) > _SLUG_LENGTH:
                break
            result = f"{result}-{word}"
    return result.lower()


def project_name_hash(organisation: str, project: str, environment: str) -> str:
    """The lower-case hex SHA-256 that names one environment in webhook addresses."""
    text = f"{normalise(organisation)}-{normalise(project)}-{environment}\n"
    return hashlib.sha256(text.encode()).hexdigest()


def user_name(organisation: str, project: str, environment: str) -> str:
    """The Unix user that owns the environment."""
    prefix = project_name_hash(organisation, project, environment)[:_HASH_PREFIX]
    return f"{slug(project)}-{slug(environment)}-{prefix}"


def project_key(organisation: str, project: str) -> str:
    """`<organisation>__<project>`: the project's name in jobs, in files and in addresses of repositories."""
    return f"{normalise(organisation)}__{normalise(project)}"


def parse_input_name(name: str) -> tuple[str, str]:
    """Organisation and project, normalised, of a flake input that is a project.

    Raises HostenvError if `name` is not `<organisation>__<project>`.
    """
    match = re.fullmatch(_INPUT_NAME, name)
    if match is None:
        raise HostenvError(
            f"project name {shown(name)} is not <organisation>__<project>, each a letter and then letters,"
            " digits and dashes: choose another"
        )
    organisation, project = normalise(match["organisation"]), normalise(match["project"])
    if max(len(organisation), len(project)) > MAX_PROJECT_NAME:
        raise HostenvError(
            f"project name {shown(name)}: organisation and project have {MAX_PROJECT_NAME} letters and digits"
            " at most each: choose another"
        )
    return organisation, project


def demand_database_name(key: str, project: str) -> None:
    """Raises InvalidData if a database named after `project` would be MariaDB's own or stand for its file."""
    if re.fullmatch(_MARIADB_OWN, project):
        raise InvalidData(
            f"{key}: its database would be called {project}, a name that MariaDB keeps for itself: give the"
            " project's input in flake.nix another name"
        )


def is_host_name(text: str) -> bool:
    """Whether `text` is a lower-case host name of RFC 1123 with at least two labels, in its ASCII form."""
    labels = text.split(".")
    return (
        len(text) <= _HOST_NAME_LENGTH
        and len(labels) > 1
        and all(re.fullmatch(_HOST_LABEL, label) for label in labels)
        and not labels[-1].isdigit()
    )


PROVED = "dns:"
"""Before a pattern: what it covers is had by the environment whose own name it is an alias (CNAME) of."""


def is_host_grant(text: str) -> bool:
    """Whether `text` can be granted to a project: a host name, `*.` and a domain, or `*` for any name.

    Before each of them may stand PROVED.
    """
    pattern = text.removeprefix(PROVED)
    return pattern == "*" or is_host_name(pattern.removeprefix("*."))


def is_project(text: str) -> bool:
    """Whether `text` can be an organisation or a project in its normal form."""
    return re.fullmatch(rf"[a-z0-9]{{1,{MAX_PROJECT_NAME}}}", text) is not None


def is_project_key(text: str) -> bool:
    """Whether `text` has the form of a project's key."""
    return re.fullmatch(r"[a-z0-9]+__[a-z0-9]+", text) is not None


def is_domain_of_environments(text: str) -> bool:
    """Whether `<userName>.<text>` is a host name for every environment."""
    return is_host_name(text) and len(text) + 1 + _USER_NAME_LENGTH <= _HOST_NAME_LENGTH


def is_address(text: str) -> bool:
    """Whether `text` is an IP address or a host name, of one label or more."""
    try:
        ip_address(text)
    except ValueError:
        return is_host_name(text) or re.fullmatch(_HOST_LABEL, text) is not None
    return True


def is_node_name(text: str) -> bool:
    """Whether `text` can name a node: one lower-case label of a host name that begins with a letter.

    PROVIDER_NODE is none.
    """
    return re.fullmatch(_NODE_NAME, text) is not None and text != PROVIDER_NODE


def is_user_name(value: object) -> TypeGuard[str]:
    """Whether `value` has the form `<project>-<environment>-<hash>`: no account of the system has it."""
    return isinstance(value, str) and re.fullmatch(_USER_NAME, value) is not None


def is_uid(value: object) -> TypeGuard[int]:
    """Whether `value` is a uid that the plan may give to an environment."""
    return isinstance(value, int) and not isinstance(value, bool) and FIRST_UID <= value <= LAST_UID


def is_job(value: object) -> TypeGuard[str]:
    """Whether `value` can be a job's id, which names files and folders."""
    return isinstance(value, str) and re.fullmatch(_JOB, value) is not None


def is_environment_name(text: str) -> bool:
    """Whether `text` can name an environment: letters, digits and `._/-`; 64 characters at most."""
    return re.fullmatch(_ENVIRONMENT_NAME, text) is not None and ".." not in text and slug(text) != ""


def is_key(text: str) -> bool:
    """Whether `text` can be part of a unit's or file's name, as that of a migration is."""
    return re.fullmatch(_KEY, text) is not None


def is_profile(text: str) -> bool:
    """Whether `text` can name an installation profile, which is a PHP identifier in Drupal."""
    return re.fullmatch(_PROFILE, text) is not None


def is_docroot(text: str) -> bool:
    """Whether `text` is a folder at or below a project's root, safe in configuration files."""
    parts = text.split("/")
    return (
        re.fullmatch(_DOCROOT, text) is not None
        and ".." not in parts
        and all(len(part) <= _FILE_NAME_LENGTH for part in parts)
    )


def is_public_key(text: str) -> bool:
    """Whether `text` is a line of OpenSSH's `authorized_keys` without options."""
    return re.fullmatch(_PUBLIC_KEY, text) is not None


def is_revision(text: str) -> bool:
    """Whether `text` is a whole commit id of Git, in lower-case hexadecimal."""
    return re.fullmatch(_REVISION, text) is not None


def is_nar_hash(text: str) -> bool:
    """Whether `text` is Nix's SHA-256 of a tree, in SRI form."""
    return re.fullmatch(_NAR_HASH, text) is not None


def is_snapshot(text: str) -> bool:
    """Whether `text` is the id of a snapshot of restic, whole or its beginning."""
    return re.fullmatch(r"[0-9a-f]{8,64}", text) is not None


def branch(ref: str) -> str:
    """The branch's name of a Git reference, however it is spelled."""
    return ref.removeprefix("refs/heads/")


def is_git_reference(text: str) -> bool:
    """Whether `text` is a branch name that is safe in commands and addresses (see git-check-ref-format)."""
    return (
        len(text) <= _REFERENCE_LENGTH
        and re.fullmatch(_GIT_REFERENCE, text) is not None
        and ".." not in text
        and not text.endswith((".", "/"))
        and not any(part.startswith(".") or part.endswith(".lock") or not part for part in text.split("/"))
    )

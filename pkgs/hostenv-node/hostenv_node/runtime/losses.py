"""What a move changes in a database, or leaves behind, in words for the job. Pure."""

from collections.abc import Mapping, Sequence

from hostenv_core.lines import tail

from hostenv_node.errors import OperationFailed

_NAMED = 10
_NAME_CHARACTERS = 130


def judge(user: str, found: object, *, physical: bool, accepted: bool) -> str | None:
    """What people must know of this move, from what the user's side found; None when nothing is lost.

    A `physical` copy holds everything that is on the disk.
    `found` is the answer of `steps.FindLosses`, which the user may have made up.
    Raises OperationFailed when something is left behind and that was not accepted.
    """
    if not isinstance(found, Mapping):
        raise OperationFailed(f"the user's side of {user} does not say what a move leaves behind")
    memory = _texts(found.get("memory"))
    words = [f"a move empties MEMORY tables, as each restart does, here {_names(memory)}"] if memory else []
    if physical:
        return "; ".join(words) or None
    left = [
        f"{what} {_names(names)}"
        for what, key in (
            ("the databases", "databases"),
            ("the database accounts", "accounts"),
            ("the history of the tables", "histories"),
        )
        if (names := _texts(found.get(key)))
    ]
    if left:
        behind = f"a move between different series of MariaDB leaves behind {', '.join(left)}"
        if not accepted:
            raise OperationFailed(
                f"{behind}: remove them or bring them over by hand, and start it with migrate --accept-loss"
            )
        words.append(behind)
    floats = _texts(found.get("floats"))
    if floats:
        words.append(
            f"a move between different series of MariaDB rounds FLOAT columns to 6 digits, here"
            f" {_names(floats)}; DOUBLE keeps all"
        )
    return "; ".join(words) or None


def _texts(value: object) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(tail(name, _NAME_CHARACTERS) for name in names[:_NAMED]) + more

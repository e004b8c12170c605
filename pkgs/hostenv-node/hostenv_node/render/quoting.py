"""Values in files that other programs read."""

import re

from hostenv_node.errors import OperationFailed


def environment_file(values: dict[str, str]) -> str:
    """Lines that both systemd's `EnvironmentFile=` and a shell's `.` read back as the same values."""
    return "".join(f"{name}={_double_quoted(name, values[name])}\n" for name in sorted(values))


def php_string(value: str) -> str:
    """A PHP literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _double_quoted(name: str, value: str) -> str:
    if any(character < " " or character == "\x7f" for character in value):
        raise OperationFailed(
            f"the value of {name} has control characters; set the secret again without them"
        )
    return '"' + re.sub(r'(["\\$`])', r"\\\1", value) + '"'

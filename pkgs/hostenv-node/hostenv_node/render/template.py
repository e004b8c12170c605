"""Files of this package in which names stand for values: `@layout.home@`. Pure."""

import re
from importlib import resources

_REMARK = re.compile(r"^ *#@ .*\n", re.MULTILINE)
_NAMES = re.compile(r"^( *)@(\w+)@\n|@([a-z_]+(?:\.[a-z_-]+)*)@", re.MULTILINE)


def filled(name: str, **values: object) -> str:
    """The template `name` with values for the names in it.

    `@port@` is a value, `@layout.home@` an attribute of one, `@tool.nginx@` what a function returns for
    "nginx". A name alone on its line stands for whole lines, which are indented as it is. Lines that begin
    with `#@` are for readers of the template.
    """

    def value(found: re.Match[str]) -> str:
        if found[2] is not None:
            lines = str(values[found[2]]).splitlines(keepends=True)
            return "".join(f"{found[1]}{line}" if line.strip() else line for line in lines)
        first, *others = found[3].split(".")
        looked_up = values[first]
        for other in others:
            looked_up = looked_up(other) if callable(looked_up) else getattr(looked_up, other)
        return str(looked_up)

    return _NAMES.sub(value, _REMARK.sub("", text(name)))


def text(name: str) -> str:
    """A file of the folder `templates`."""
    return resources.files("hostenv_node.render").joinpath("templates", name).read_text(encoding="utf-8")

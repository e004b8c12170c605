"""How names in templates become values."""

from pathlib import Path

import pytest
from hostenv_node.render import template
from hostenv_node.render.template import filled


@pytest.mark.parametrize(
    ("text", "filled_in"),
    [
        ("a @port@ b@port@", "a 80 b80"),
        ("@path.name@ @tool.php-fpm@", "b php-fpm!"),
        ("error_page 503 @frozen;\nlocation @frozen {", "error_page 503 @frozen;\nlocation @frozen {"),
        ("{\n  @lines@\n}\n", "{\n  one\n\n    two\n}\n"),
        ("{\n  @nothing@\n}\n", "{\n}\n"),
        ("#@ for readers\n  #@ again\n# for all\n", "# for all\n"),
        ("@hostile@", "@port@"),
    ],
)
def test_names_become_values(monkeypatch: pytest.MonkeyPatch, text: str, filled_in: str) -> None:
    monkeypatch.setattr(template, "text", lambda _name: text)
    values = {
        "port": 80,
        "path": Path("/a/b"),
        "tool": lambda name: f"{name}!",
        "lines": "one\n\n  two\n",
        "nothing": "",
        "hostile": "@port@",
    }
    assert filled("any", **values) == filled_in


def test_a_name_without_a_value_is_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "text", lambda _name: "@port@")
    with pytest.raises(KeyError, match="port"):
        filled("any")

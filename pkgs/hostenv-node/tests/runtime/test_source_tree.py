"""How much of a source a node takes."""

import io

import pytest
from hostenv_node.errors import OperationFailed
from hostenv_node.runtime import source_tree
from hostenv_node.runtime.source_tree import entries

ID = "a" * 40


def listed(*lines: tuple[str, int, str]) -> io.BytesIO:
    return io.BytesIO("".join(f"{mode} blob {ID} {size}\t{path}\0" for mode, size, path in lines).encode())


def test_files_and_links_are_in_the_order_of_their_names() -> None:
    found = entries(listed(("100755", 3, "d-/x"), ("120000", 4, "d/x"), ("100644", 5, "c")), "it")
    assert [entry.parts for entry in found] == [(b"c",), (b"d", b"x"), (b"d-", b"x")]
    assert [(entry.is_link, entry.is_executable) for entry in found] == [
        (False, False),
        (True, False),
        (False, True),
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([("100644", 1 << 29, "a"), ("100644", 3 << 29, "b")], "it has 2048 MiB, 1024 are the most"),
        ([("100644", 0, "d/" * 65 + "a")], "it has 65 folders in one another, 64 are the most"),
        ([("100644", 0, str(number)) for number in range(200_001)], "it has 200001 files, 200000 are"),
        ([("160000", 0, "sub")], "it: sub is neither a file nor a link"),
    ],
    ids=["bytes", "depth", "files", "submodule"],
)
def test_too_much_is_refused_with_what_to_do(lines: list[tuple[str, int, str]], message: str) -> None:
    with pytest.raises(OperationFailed, match=message):
        entries(listed(*lines), "it")


def test_a_listing_without_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_tree, "_MAX_LISTING", 100)
    with pytest.raises(OperationFailed, match="too many files"):
        entries(io.BytesIO(b"x" * 1000), "it")

import json
import os
from pathlib import Path

import pytest
from hostenv_core.errors import HostenvError
from hostenv_core.files import read_json, read_strings, replace_file, stamp, write_durably, write_json


def test_content_and_name_are_on_disk_before_the_write_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor: int) -> None:
        steps.append("sync " + Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def note_replace(source: Path, target: Path) -> None:
        steps.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    write_durably(tmp_path / "record", b"content")
    assert steps == ["sync .record.new", "rename", f"sync {tmp_path.name}"]
    assert (tmp_path / "record").stat().st_mode & 0o777 == 0o600


def test_a_write_that_fails_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_durably(path, b"old")

    def no_space(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(HostenvError, match=f"^{path}: cannot be written .No space left on device.: free"):
        write_durably(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_that_is_missing_is_made_for_the_owner_alone(tmp_path: Path) -> None:
    write_json(tmp_path / "folder" / "file", {"b": 1, "a": [2]})
    assert read_json(tmp_path / "folder" / "file") == {"a": [2], "b": 1}
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o700


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("untouched")
    for name in ("file", ".file.new"):
        (tmp_path / name).symlink_to("other")
    replace_file(tmp_path / "file", b"new", 0o644)
    assert (tmp_path / "file").read_text() == "new"
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "other").read_text() == "untouched"


def test_a_stamp_tells_one_content_from_the_next(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert stamp(path) is None
    write_durably(path, b"one")
    before = stamp(path)
    write_durably(path, b"two")
    assert stamp(path) != before


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b"[" * 100_000])
def test_what_is_no_json_object_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(HostenvError, match=f"^{tmp_path}/file: .*: correct or restore it$"):
        read_json(tmp_path / "file")


def test_a_file_that_is_missing_holds_no_strings(tmp_path: Path) -> None:
    assert read_json(tmp_path / "file") is None
    assert read_strings(tmp_path / "file") == {}


def test_an_error_about_a_string_does_not_show_the_others(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(json.dumps({"key": "secret", "other": ["secret"]}))
    with pytest.raises(HostenvError) as caught:
        read_strings(tmp_path / "file")
    assert str(caught.value) == f"{tmp_path}/file: other: must be a string: restore it"

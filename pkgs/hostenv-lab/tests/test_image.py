"""The cache of images: what makes one, and what a broken one leaves."""

import dataclasses
import os
import re
import struct
import time
from pathlib import Path

import pytest
from hostenv_core.errors import HostenvError
from hostenv_lab import image
from hostenv_lab.description import ImageDescription
from hostenv_lab.image import BuildFailed

_BROKEN_TOOL = """#!/bin/sh
for last; do :; done
mkdir -p "$last/half"
echo "I: $*" >&2
echo 'W: Failed to fetch: no mirror' >&2
echo 'E: mmdebstrap failed to run' >&2
exit 25
"""
# Stands for `unshare … mmdebstrap …`: a root in which a shell runs, and one folder of files.
_TOOL = """#!/bin/sh -e
for root; do :; done
mkdir -p "$root/boot" "$root/etc/apt/apt.conf.d" "$root/etc/systemd/system" "$root/usr/bin" "$root{folder}"
: > "$root/boot/vmlinuz-1"
: > "$root{folder}/of-the-image"
for program in sh rm ln env; do
  cp "$(command -v "$program")" "$root/usr/bin/$program"
  for library in $(ldd "$(command -v "$program")" | grep -o '/[^ ]*'); do
    mkdir -p "$root${library%/*}"
    cp "$library" "$root$library"
  done
done
ln -s usr/bin "$root/bin"
echo "$*" > "{command}"
"""
DESCRIBED = ImageDescription("trixie", ("systemd",), (), (), ())


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "hostenv-lab"


def test_every_ingredient_makes_another_image() -> None:
    variants = [
        DESCRIBED,
        dataclasses.replace(DESCRIBED, suite="forky"),
        dataclasses.replace(DESCRIBED, packages=("systemd", "git")),
        dataclasses.replace(DESCRIBED, mask=("a.service",)),
        dataclasses.replace(DESCRIBED, disable=("a.service",)),
        dataclasses.replace(DESCRIBED, remove=("/a",)),
    ]
    assert len({image.image_key(variant) for variant in variants}) == len(variants)
    assert image.image_key(dataclasses.replace(DESCRIBED)) == image.image_key(DESCRIBED)


@pytest.mark.parametrize("recipe", ["_FINISH", "_LEFT_OUT"])
def test_an_image_of_another_recipe_is_not_used(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = image.image_key(DESCRIBED)
    monkeypatch.setattr(image, recipe, getattr(image, recipe)[:-1])
    assert image.image_key(DESCRIBED) != before


def test_a_cached_image_is_used_without_any_program(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / image.image_key(DESCRIBED)).mkdir(parents=True)
    monkeypatch.setenv("PATH", "/nonexistent")
    assert image.ensure(DESCRIBED, print).root.parent.parent == cache


def test_an_image_that_cannot_be_made_leaves_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "bin" / "unshare"
    tool.parent.mkdir()
    tool.write_text(_BROKEN_TOOL)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    # what a maker that was killed left is in nobody's way
    stale = cache / f"{image.image_key(DESCRIBED)}.partial"
    stale.mkdir(parents=True)
    apt = tool.parent / "apt-config"
    apt.write_text(
        "#!/bin/sh\n"
        "echo 'Acquire::http::Proxy \"http://cache:3142\";'\n"
        "echo 'Acquire::http::Proxy::deb.example.org \"DIRECT\";'\n"
        "echo 'Acquire::https::Proxy \"\";'\n"
        "echo 'Acquire::http::Timeout \"9\";'\n"
    )
    apt.chmod(0o755)
    with pytest.raises(BuildFailed, match=r"made: W: Failed to fetch: no mirror; see") as failed:
        image.ensure(DESCRIBED, print)
    assert [path.name for path in cache.iterdir()] == ["lock"]
    assert '--aptopt=Acquire::http::Proxy "http://cache:3142" ' in failed.value.output
    assert '--aptopt=Acquire::http::Proxy::deb.example.org "DIRECT" ' in failed.value.output
    assert "https::Proxy" not in failed.value.output
    assert "Timeout" not in failed.value.output


@pytest.mark.skipif(os.geteuid() != 0, reason="the root of an image needs root")
def test_an_image_depends_neither_on_the_hosts_files_nor_on_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "rc2.d"
    folder.mkdir()
    (folder / "of-the-host").touch()
    command = tmp_path / "command"
    tool = tmp_path / "bin" / "unshare"
    tool.parent.mkdir()
    tool.write_text(_TOOL.replace("{folder}", str(folder)).replace("{command}", str(command)))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", "/of/the/host")
    monkeypatch.setenv("https_proxy", "http://cache:3142")
    # unit names are no patterns either
    monkeypatch.chdir(folder)
    described = dataclasses.replace(DESCRIBED, mask=("of-*",), remove=(f"{folder}/*",))
    root = image.ensure(described, print).root
    assert list((root / folder.relative_to("/")).iterdir()) == []
    assert [path.name for path in (root / "etc/systemd/system").iterdir()] == ["of-*"]
    assert [path.name for path in folder.iterdir()] == ["of-the-host"]
    assert re.search(
        r" /usr/bin/env -i (\S+=\S* )*https_proxy=http://cache:3142 mmdebstrap ", command.read_text()
    )
    assert "/of/the/host" not in command.read_text()


def test_only_images_go_that_nobody_needs(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used = dataclasses.replace(DESCRIBED, suite="forky")
    (cache / image.image_key(used)).mkdir(parents=True)
    image.ensure(used, print)
    ages = {
        image.image_key(used): 90,
        "1" * 16: 2,
        "2" * 16: 40,
        "3" * 16: 50,
        "4" * 16: 0.9,
        "of-others": 99,
    }
    for name, days in ages.items():
        (cache / name / "root").mkdir(parents=True, exist_ok=True)
        os.utime(cache / name, (time.time() - days * 24 * 3600,) * 2)
    (cache / "5555555555555555.partial").mkdir()
    monkeypatch.setattr(image, "_NEEDED_MIB", 1 << 40)
    with pytest.raises(HostenvError, match="make room"):
        image.ensure(DESCRIBED, print)
    assert {path.name for path in cache.iterdir()} == {image.image_key(used), "4" * 16, "of-others", "lock"}


def test_a_full_disk_is_said_before_anything_is_made(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "_NEEDED_MIB", 1 << 40)
    with pytest.raises(HostenvError, match=r"hostenv-lab: \d+ MiB free, \d+ needed; make room there"):
        image.ensure(DESCRIBED, print)
    assert [path.name for path in cache.iterdir()] == ["lock"]


def test_the_partition_table_holds_one_partition_and_its_identity() -> None:
    table = image.partition_table()
    assert len(table) == 512
    assert table[510:] == b"\x55\xaa"
    (signature,) = struct.unpack_from("<I", table, 440)
    assert f"{signature:08x}-01" == image.ROOT_PARTITION
    kind, start, length = table[446 + 4], *struct.unpack_from("<II", table, 446 + 8)
    assert (kind, start, (start + length) * 512) == (0x83, 2048, 16 * 1024**3)
    assert table[446 + 16 : 510] == bytes(48)

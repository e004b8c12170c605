"""Work folders of runs that go on, were cut short, or ended in order; a sleeping process drives one."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hostenv_demo import cli, workdir
from hostenv_lab import record


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of /tmp; the demo is started in a folder beside it."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setattr(workdir, "PARENT", tmp_path / "tmp")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "tmp"


@pytest.fixture
def sleeper() -> Iterator[int]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process.pid
        process.kill()


def run(folder: Path, driver: int | None = None) -> Path:
    """The folder of a run that this process drives, or a cut one, or another process'."""
    made = record.create(folder)
    (folder / "logs").mkdir()
    started = record._started(driver) if driver else 1
    changed = replace(made, driver=driver or made.driver, started=started)
    (folder / record.FILE).write_text(json.dumps(asdict(changed)))
    return folder


def teardown(*flags: str) -> int:
    return cli.main(["--teardown", *flags])


def test_folders_are_below_tmp_whatever_tmpdir_says(
    parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "here"))
    assert workdir.make(None).parent == parent


def test_teardown_takes_what_was_cut_short_only(parent: Path, sleeper: int, tmp_path: Path) -> None:
    cut, kept = run(parent / f"{workdir.PREFIX}cut"), run(parent / f"{workdir.PREFIX}kept")
    driven = run(parent / f"{workdir.PREFIX}driven", sleeper)
    elsewhere = run(tmp_path / "elsewhere")
    Path("hostenv-demo").symlink_to(elsewhere)
    workdir.keep(kept)
    assert teardown() == 0
    assert [path for path in (cut, elsewhere, kept, driven) if path.exists()] == [kept, driven]
    assert not Path("hostenv-demo").is_symlink()
    # as the end of a run promises
    assert teardown("--workdir", str(kept)) == 0
    assert not kept.exists()


def test_one_bad_record_does_not_keep_the_others(parent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = parent / f"{workdir.PREFIX}a"
    bad.mkdir()
    (bad / record.FILE).write_text("{")
    cut = run(parent / f"{workdir.PREFIX}b")
    assert teardown() == 1
    assert bad.exists()
    assert not cut.exists()
    assert f"{bad}: is not a lab's work folder" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
def test_other_users_folders_are_not_trusted(parent: Path) -> None:
    cut = run(parent / f"{workdir.PREFIX}other")
    os.chown(cut, 65534, 65534)
    assert teardown() == 0
    assert cut.exists()


@pytest.mark.parametrize("name", ["hostenv-demo", "../tmp/work"])
def test_a_folder_may_be_named_by_the_link_or_relatively(parent: Path, name: str) -> None:
    cut = run(parent / "work")
    assert workdir.link(cut)
    assert teardown("--workdir", name) == 0
    assert not cut.exists()
    assert list(Path().iterdir()) == []


def test_the_link_goes_to_a_new_run_unless_one_goes_on(parent: Path, sleeper: int, tmp_path: Path) -> None:
    link = Path("hostenv-demo")
    one, two = run(parent / "one"), run(parent / "two", sleeper)
    assert workdir.link(one)
    assert workdir.link(two)
    assert not workdir.link(one)
    assert link.resolve() == two
    link.unlink()
    link.symlink_to(tmp_path / "here")
    assert not workdir.link(one)


def test_the_record_goes_last(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = run(parent / f"{workdir.PREFIX}cut")

    def full(*_: object, **__: object) -> None:
        raise OSError("cut")

    with monkeypatch.context() as broken:
        broken.setattr(record.shutil, "rmtree", full)
        with pytest.raises(OSError, match="cut"):
            record.remove_folder(cut)
    assert workdir.left_behind() == [cut]


def test_a_run_whose_machines_never_started_leaves_no_evidence(parent: Path) -> None:
    folder = run(parent / "work")
    (folder / "evidence").mkdir()
    kept = workdir.keep_logs(folder)
    assert kept
    assert [path.name for path in kept.iterdir()] == ["logs"]
    (folder / "evidence" / "run.json").touch()
    assert workdir.keep_logs(folder) == kept
    assert (kept / "evidence").is_dir()

import os
import stat
import threading
from pathlib import Path

import pytest

from gateway.identity.key_files import KeyFileUnusable, load_or_create


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "a.key"


def test_a_key_is_made_once_for_the_owner_alone(file: Path) -> None:
    assert load_or_create(file, lambda: b"first") == b"first"
    assert load_or_create(file, lambda: b"second") == b"first"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [found.name for found in file.parent.iterdir()] == ["a.key"]


def test_processes_that_start_together_get_the_same_key(file: Path) -> None:
    together = threading.Barrier(8)
    found: list[bytes] = []

    def start(number: int) -> None:
        def create() -> bytes:
            together.wait(5)  # everybody has seen that there is none
            return b"%d" % number

        found.append(load_or_create(file, create))

    threads = [threading.Thread(target=start, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert found[0] == file.read_bytes()
    assert len(list(file.parent.iterdir())) == 1


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o644])
def test_a_key_that_others_can_read_is_refused_with_the_command_that_mends_it(file: Path, mode: int) -> None:
    load_or_create(file, lambda: b"key")
    file.chmod(mode)
    with pytest.raises(KeyFileUnusable, match=f"chmod 600 {file}"):
        load_or_create(file, lambda: b"other")


def test_a_folder_that_others_can_enter_is_refused(file: Path) -> None:
    file.parent.mkdir(mode=0o755)
    with pytest.raises(KeyFileUnusable, match=f"chmod 700 {file.parent}"):
        load_or_create(file, lambda: b"key")
    assert not file.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_key_of_somebody_else_is_refused(file: Path) -> None:
    load_or_create(file, lambda: b"key")
    os.chown(file, 12345, -1)
    with pytest.raises(KeyFileUnusable, match="belongs to user 12345"):
        load_or_create(file, lambda: b"other")


def test_a_link_or_a_pipe_is_no_key(file: Path, tmp_path: Path) -> None:
    file.parent.mkdir(mode=0o700)
    (tmp_path / "elsewhere").write_bytes(b"theirs")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        load_or_create(file, lambda: b"key")
    file.unlink()
    os.mkfifo(file, 0o600)
    with pytest.raises(KeyFileUnusable, match="no regular file"):
        load_or_create(file, lambda: b"key")


def test_a_huge_file_is_no_key(file: Path) -> None:
    load_or_create(file, lambda: b"x" * (64 * 1024))
    with file.open("ab") as opened:
        opened.write(b"x")
    with pytest.raises(KeyFileUnusable, match="too large"):
        load_or_create(file, lambda: b"key")


def test_a_creation_that_fails_leaves_nothing(file: Path) -> None:
    def fail() -> bytes:
        raise RuntimeError("no entropy")

    with pytest.raises(RuntimeError):
        load_or_create(file, fail)
    assert list(file.parent.iterdir()) == []

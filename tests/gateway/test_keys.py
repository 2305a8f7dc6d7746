"""The folder of keys: made whole, and never forgetting whom it once believed."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway import keys
from gateway.config import BadConfiguration, Tls
from gateway.identity.key_files import KeyFileUnusable


def now() -> datetime:
    return datetime.now(UTC)


def test_a_second_start_finds_the_same_keys(tmp_path: Path) -> None:
    first, second = (keys.load(tmp_path / "keys", Tls(), now) for _ in range(2))
    assert first.client_ca.certificate == second.client_ca.certificate
    assert first.ssh_user_ca.public_key_line() == second.ssh_user_ca.public_key_line()
    assert first.manifest_public_keys == second.manifest_public_keys == (first.manifests.public_key,)
    assert {file.stat().st_mode & 0o077 for file in (tmp_path / "keys").glob("*.key")} == {0}


def test_a_new_manifest_key_does_not_disown_the_old_one(tmp_path: Path) -> None:
    old = keys.load(tmp_path / "keys", Tls(), now).manifests
    (tmp_path / "keys" / "manifests.key").rename(tmp_path / "manifests.key.old")
    rotated = keys.load(tmp_path / "keys", Tls(), now)
    assert rotated.manifests.public_key != old.public_key
    assert set(rotated.manifest_public_keys) == {old.public_key, rotated.manifests.public_key}


def test_what_is_no_public_key_is_refused(tmp_path: Path) -> None:
    keys.load(tmp_path / "keys", Tls(), now)
    (tmp_path / "keys" / "manifest-public-keys" / "x.pem").write_text("nothing")
    with pytest.raises(KeyFileUnusable, match=r"x\.pem holds no Ed25519 or P-256 public key"):
        keys.load(tmp_path / "keys", Tls(), now)


def test_half_a_tls_pair_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="belong together"):
        keys.load(tmp_path / "keys", Tls(certificate=tmp_path / "c.pem"), now)


def test_gateways_that_share_a_folder_and_start_together_get_the_same_keys(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(keys.load, tmp_path / "keys", Tls(), now) for _ in range(8)]
        loaded = [future.result() for future in futures]
    assert len({each.client_ca.certificate_pem() for each in loaded}) == 1
    assert len({each.ssh_user_ca.public_key_line() for each in loaded}) == 1
    assert len({each.manifests.key_id for each in loaded}) == 1
    assert len({each.recordings.key_id for each in loaded}) == 1

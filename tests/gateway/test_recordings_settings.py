"""What is said of S3 and KMS is taken as written, or refused by name at the start."""

from pathlib import Path

import pytest

from gateway.config import BadConfiguration, load

S3 = "[recordings.s3]\nbucket = 'recordings'\n"
KMS = "[recordings.kms]\nkey_id = 'alias/recordings'\n"
ROLE = "arn:aws:iam::123456789012:role/jitgate"
GROUP = "arn:aws:logs:us-east-1:123456789012:log-group:/jitgate"


def refused(tmp_path: Path, text: str) -> str:
    file = tmp_path / "jitgate.toml"
    file.write_text(text)
    with pytest.raises(BadConfiguration) as refusal:
        load(file, {})
    return str(refusal.value)


def test_both_sections_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "jitgate.toml"
    file.write_text(f"[recordings]\nstore = 's3'\nkey_provider = 'aws_kms'\n{S3}{KMS}")
    said = load(
        file, {"JITGATE_RECORDINGS__S3__PREFIX": "a/b/", "JITGATE_RECORDINGS__KMS__ROLE_ARN": ROLE}
    ).recordings
    assert said.s3 is not None
    assert said.kms is not None
    assert (said.s3.bucket, said.s3.prefix, said.s3.conditional_put) == ("recordings", "a/b/", True)
    assert (said.kms.key_id, said.kms.role_arn, said.kms.playback_role_arn) == ("alias/recordings", ROLE, None)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("store = 's3'", "needs a section recordings.s3"),
        (S3, "section recordings.s3, and store is not s3"),
        (f"store = 's3'\ndirectory = '/x'\n{S3}", "directory"),
        ("key_provider = 'aws_kms'", "needs a section recordings.kms"),
        (KMS, "section recordings.kms, and key_provider is not aws_kms"),
        ("store = 'gcs'", "recordings.store"),
        ("store = 's3'\n[recordings.s3]", "recordings.s3.bucket"),
        ("key_provider = 'aws_kms'\n[recordings.kms]", "recordings.kms.key_id"),
    ],
)
def test_what_is_missing_or_contradicts_is_named(tmp_path: Path, text: str, named: str) -> None:
    assert named in refused(tmp_path, f"[recordings]\n{text}\n")


def test_locks_of_preferences_are_bounded_unless_somebody_says_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "jitgate.toml"
    file.write_text("")
    said = load(file, {}).recordings
    assert said.longest_object_lock_days == 3650
    said = load(file, {"JITGATE_RECORDINGS__LONGEST_OBJECT_LOCK_DAYS": "36500"}).recordings
    assert said.longest_object_lock_days == 36500
    for wrong in ("0", "36501", "'for ever'"):
        text = f"[recordings]\nlongest_object_lock_days = {wrong}\n"
        assert "recordings.longest_object_lock_days" in refused(tmp_path, text)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("buket = 'x'", "recordings.s3.buket: unknown key"),
        ("bucket = 'Not_A_Bucket'", "recordings.s3.bucket"),
        ("prefix = 'no-slash'", "recordings.s3.prefix"),
        ("prefix = '../'", "recordings.s3.prefix"),
        ("expected_bucket_owner = 'me'", "recordings.s3.expected_bucket_owner"),
        ("endpoint_url = 'http://s3.example.org'", "recordings.s3.endpoint_url"),
        ("endpoint_url = 'https://user:password@s3.example.org'", "recordings.s3.endpoint_url"),
        ("object_lock_days = 30", "belong together"),
        ("object_lock_mode = 'compliance'", "belong together"),
        ("object_lock_mode = 'off'\nobject_lock_days = 3", "recordings.s3.object_lock_mode"),
        ("object_lock_mode = 'compliance'\nobject_lock_days = 0", "recordings.s3.object_lock_days"),
        ("encryption = 'rot13'", "recordings.s3.encryption"),
        ("encryption_key_id = 'alias/x'", "encryption_key_id needs encryption"),
        ("encryption = 'AES256'\nencryption_key_id = 'alias/x'", "encryption_key_id needs encryption"),
        ("conditional_put = false", "needs endpoint_url"),
        ("role_arn = 'jitgate'", "recordings.s3.role_arn"),
        ("external_id = 'ours'", "external_id needs role_arn"),
    ],
)
def test_a_bucket_that_cannot_be_is_refused(tmp_path: Path, line: str, named: str) -> None:
    section = line if "bucket = " in line else f"bucket = 'recordings'\n{line}"
    assert named in refused(tmp_path, f"[recordings]\nstore = 's3'\n[recordings.s3]\n{section}\n")


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("key = 'x'", "recordings.kms.key: unknown key"),
        ("key_id = 'alias/a b'", "recordings.kms.key_id"),
        ("former_key_ids = ['alias/recordings']", "a key twice"),
        ("former_key_ids = ['alias/a', 'alias/a']", "a key twice"),
        ("endpoint_url = 'http://10.0.0.1'", "recordings.kms.endpoint_url"),
        ("region = 'EU'", "recordings.kms.region"),
        ("external_id = 'ours'", "external_id needs role_arn"),
        ("playback_role_arn = 'x'", "recordings.kms.playback_role_arn"),
        ("signing_key_id = 'alias/manifests'", "signing_key_id and signing_public_key belong together"),
        ("signing_public_key = '/x.pem'", "signing_key_id and signing_public_key belong together"),
    ],
)
def test_a_key_that_cannot_be_is_refused(tmp_path: Path, line: str, named: str) -> None:
    section = line if line.startswith("key_id") else f"key_id = 'alias/recordings'\n{line}"
    assert named in refused(tmp_path, f"[recordings]\nkey_provider = 'aws_kms'\n[recordings.kms]\n{section}\n")


@pytest.mark.parametrize(
    ("section", "named"),
    [
        ("target = 'syslog'", "session_log.target"),
        ("target = 'file'", "file and target = file belong together"),
        ("file = '/x'", "file and target = file belong together"),
        ("target = 'cloudwatch'", "belong together"),
        ("target = 'cloudwatch'\nlog_group = '/jitgate'", "session_log.log_group"),
        (f"target = 'stdout'\nlog_group = '{GROUP}'", "belong together"),
        ("target = 'stdout'\nendpoint_url = 'https://logs.example'", "are for target = cloudwatch"),
        (f"target = 'cloudwatch'\nlog_group = '{GROUP}'\nexternal_id = 'ours'", "external_id needs role_arn"),
        (f"target = 'cloudwatch'\nlog_group = '{GROUP}'\nendpoint_url = 'http://10.0.0.1'", "endpoint_url"),
    ],
)
def test_a_target_of_session_logs_that_cannot_be_is_refused(tmp_path: Path, section: str, named: str) -> None:
    assert named in refused(tmp_path, f"[session_log]\n{section}\n")

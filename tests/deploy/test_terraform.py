"""What our Terraform lets roles do is what the code does, no less and no more; what it prints can be used."""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from gateway.config import load
from gateway.places.model import Allowance, AllowanceKind
from tests.deploy.terraform import FILES, FOLDER, document, documents_of
from tests.sources import parsed
from tests.test_docs import REPOSITORY, parse

OBJECTS, BUCKET = "local.objects", "aws_s3_bucket.recordings.arn"
DATA_KEYS, MANIFESTS, ENCRYPTION = (f"aws_kms_key.{name}.arn" for name in ("recordings", "manifests", "bucket"))
LOGS = '"${aws_cloudwatch_log_group.sessions[0].arn}:log-stream:*"'
PUT, GET = (("kms:GenerateDataKey", ENCRYPTION), ("kms:Decrypt", ENCRYPTION))
"""What S3 asks KMS for, in the name of whoever puts and gets."""

OPERATIONS: dict[str, tuple[tuple[str, str], ...]] = {
    "put_object": (("s3:PutObject", OBJECTS), ("s3:PutObjectRetention", OBJECTS), PUT),
    "get_object": (("s3:GetObject", OBJECTS), GET),
    "list_objects_v2": (("s3:ListBucket", BUCKET),),
    "list_object_versions": (("s3:ListBucketVersions", BUCKET),),
    "delete_object": (("s3:DeleteObject", OBJECTS), ("s3:DeleteObjectVersion", OBJECTS)),
    "get_object_lock_configuration": (("s3:GetBucketObjectLockConfiguration", BUCKET),),
    "generate_data_key": (("kms:GenerateDataKey", DATA_KEYS),),
    "decrypt": (("kms:Decrypt", DATA_KEYS),),
    "sign": (("kms:Sign", MANIFESTS),),
    "create_log_stream": (("logs:CreateLogStream", LOGS),),
    "put_log_events": (("logs:PutLogEvents", LOGS),),
}
"""Calls of AWS, and what each must be allowed to do, to what."""
AUDITOR = ("list_objects_v2", "get_object", "decrypt")
"""`aws s3 sync`, and `aws kms decrypt` for a program that reads recordings without a gateway."""
ONLY_SOMETIMES = {
    "s3:PutObjectRetention": "local.retention == null",
    "s3:DeleteObject": "var.deletes_recordings",
    "s3:DeleteObjectVersion": "var.deletes_recordings",
    "s3:ListBucketVersions": "var.deletes_recordings",
}


def called() -> dict[str, set[str]]:
    """Role -> the operations that recorder and gateway call in it."""
    found: dict[str, set[str]] = defaultdict(set)
    for package in ("recorder", "gateway"):
        for path in (REPOSITORY / package).rglob("*.py"):
            for node in ast.walk(parsed(path)):
                match node:
                    case ast.Call(
                        func=ast.Attribute(attr="call" | "_call" | "_request", value=client),
                        args=[ast.Constant(value=str(operation)), *_],
                    ):
                        role = "playback" if ast.unparse(client).endswith("_reader") else "writer"
                        found[role].add(operation)
    return dict(found)


def allowed(role: str) -> set[tuple[str, str]]:
    statements = [each for name in documents_of(role) for each in document(name) if each.effect == "Allow"]
    return {(action, on) for each in statements for action in each.actions for on in each.resources}


def test_roles_may_do_what_the_code_calls_and_nothing_else() -> None:
    calls = {**called(), "auditor": set(AUDITOR)}
    assert calls["playback"] == {"decrypt"}
    assert set(OPERATIONS) == calls["writer"] | calls["playback"]
    for role, operations in calls.items():
        assert allowed(role) == {need for operation in operations for need in OPERATIONS[operation]}, role


def test_what_few_gateways_need_is_given_to_those_only() -> None:
    text = FILES["roles.tf"]
    for action, condition in ONLY_SOMETIMES.items():
        before = text[: text.index(f'"{action}"')]
        assert condition in before[before.rindex('dynamic "statement"') :], action


def test_the_policies_of_the_keys_let_the_same_roles_do_the_same() -> None:
    roles = ("writer", "playback", "auditor")
    for key, policy in ((DATA_KEYS, "recordings_key"), (MANIFESTS, "manifests_key"), (ENCRYPTION, "bucket_key")):
        by_policy = {
            (role, action)
            for each in document(policy)
            for role in roles
            if f"aws_iam_role.{role}" in each.principals
            for action in each.actions
        }
        assert by_policy == {(role, action) for role in roles for action, on in allowed(role) if on == key}, key


def test_the_key_of_the_bucket_serves_no_other_bucket() -> None:
    contexts = re.search(r"contexts_of_bucket = \[(.*)\]", FILES["keys.tf"])
    assert contexts is not None
    assert contexts[1] == f'{BUCKET}, "${{{BUCKET}}}/*"'
    for each in document("bucket_key"):
        assert each.conditions["kms:EncryptionContext:aws:s3:arn"] == "local.contexts_of_bucket"
        assert each.conditions["kms:ViaService"].startswith('"s3.')


def test_retention_has_an_end_and_one_mode() -> None:
    denied = {
        variable: (each.actions, value)
        for each in document("writer")
        if each.effect == "Deny"
        for variable, value in each.conditions.items()
    }
    both = frozenset({"s3:PutObject", "s3:PutObjectRetention"})
    actions, days = denied["s3:object-lock-remaining-retention-days"]
    assert (actions, days) == (both, "local.retention.days + 1")
    actions, mode = denied["s3:object-lock-mode"]
    assert actions == both
    assert "local.retention.mode" in mode


ROLE = "arn:aws:iam::111122223333:role/jitgate-"
KEY = "arn:aws:kms:eu-central-1:111122223333:"
MADE = {
    "aws_kms_alias": {name: {"arn": f"{KEY}alias/{name}"} for name in ("recordings", "manifests")},
    "aws_kms_key": {"recordings": {"arn": f"{KEY}key/1234"}},
    "aws_s3_bucket": {"recordings": {"id": "recordings"}},
    "aws_region": {"here": {"name": "eu-central-1"}},
    "aws_caller_identity": {"here": {"account_id": "111122223333"}},
    "aws_iam_role": {
        "writer": {"arn": f"{ROLE}writer"},
        "playback": {"arn": f"{ROLE}playback"},
        "auditor": [{"arn": f"{ROLE}auditor"}],
    },
    "aws_cloudwatch_log_group": {"sessions": []},
}
"""What AWS would have made."""


def printed(folder: Path, **variables: str) -> dict[str, str]:
    """The outputs, by Terraform itself; what comes from AWS is a local value."""
    text = re.sub(r"\b(?:data\.)?(aws_[a-z0-9_]+)\.", r"local.\1.", FILES["outputs.tf"])
    (folder / "outputs.tf").write_text(text)
    (folder / "variables.tf").write_text(FILES["variables.tf"])
    (folder / "made.tf.json").write_text(json.dumps({"locals": MADE}))
    given = {"bucket": "recordings", "administrators": ["a"], "gateways": ["g"], **variables}
    (folder / "terraform.tfvars.json").write_text(json.dumps(given))
    for command in ("apply -auto-approve -input=false", "output -json"):
        done = subprocess.run(
            ["terraform", f"-chdir={folder}", *command.split()],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
    return {name: output["value"] for name, output in json.loads(done.stdout).items()}


def test_who_must_send_an_external_id_is_told_wherever_it_is_set() -> None:
    """Whatever names a role names it as well."""
    lines = [line for line in FILES["outputs.tf"].splitlines() if re.search(r"^ +(role_arn|jit .* role) ", line)]
    assert len(lines) == 4
    kms = FILES["outputs.tf"].partition("[recordings.kms]")[2].partition("TOML")[0]
    assert "${local.external_id_line}" in kms
    assert all("${local.external_id" in line for line in lines if line not in kms)


if shutil.which("terraform"):  # no Debian has it, so what needs it is not asked of everybody

    def test_the_files_are_formed_as_terraform_forms_them() -> None:
        done = subprocess.run(["terraform", "fmt", "-check", "-diff", FOLDER], capture_output=True, check=False)
        assert done.returncode == 0, done.stdout.decode()

    @pytest.mark.parametrize("external_id", [None, "jitgate-shop"])
    def test_a_gateway_takes_what_is_printed_for_its_configuration(
        tmp_path: Path, external_id: str | None
    ) -> None:
        said = {} if external_id is None else {"external_id": external_id}
        file = tmp_path / "jitgate.toml"
        file.write_text(printed(tmp_path, organization="acme", prefix="eu/", **said)["configuration"])
        recordings = load(file, {}).recordings
        assert recordings.organization == "acme"
        assert recordings.s3 is not None
        assert recordings.kms is not None
        assert recordings.s3.model_dump(exclude_defaults=True) == {
            "bucket": "recordings",
            "prefix": "eu/",
            "region": "eu-central-1",
            "expected_bucket_owner": "111122223333",
            "role_arn": f"{ROLE}writer",
            **said,
        }
        assert recordings.kms.model_dump(exclude_defaults=True) == {
            "key_id": f"{KEY}alias/recordings",
            "region": "eu-central-1",
            "role_arn": f"{ROLE}writer",
            "playback_role_arn": f"{ROLE}playback",
            **said,
        }

    @pytest.mark.parametrize("external_id", ["", "jitgate-shop"])
    def test_allowances_are_taken_as_they_are_printed(tmp_path: Path, external_id: str) -> None:
        said = {"external_id": external_id} if external_id else {}
        lines = [shlex.split(line) for line in printed(tmp_path, **said)["allowances"].splitlines()]
        found = []
        for words in lines:
            parse(words)
            options = dict(zip(words[5::2], words[6::2], strict=True))
            owner, region, sent = (options.get(name, "") for name in ("--owner", "--aws-region", "--external-id"))
            found.append(Allowance("shop", AllowanceKind(words[3]), words[4], owner, region, sent))
        assert found == [
            Allowance("shop", AllowanceKind.BUCKET, "recordings", "111122223333", "eu-central-1"),
            Allowance("shop", AllowanceKind.KEY, f"{KEY}key/1234"),
            Allowance("shop", AllowanceKind.ROLE, f"{ROLE}writer", external_id=external_id),
            Allowance("shop", AllowanceKind.ROLE, f"{ROLE}playback", external_id=external_id),
        ]

    def test_below_a_prefix_no_account_is_allowed_anything(tmp_path: Path) -> None:
        said = printed(tmp_path, prefix="eu/")["allowances"]
        assert "jit " not in said
        assert "without a prefix" in said

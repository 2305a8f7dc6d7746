"""What KMS says and what the recorder makes of it; the ways moto does not go are a stand-in's."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from recorder.aws import Client
from recorder.errors import KeyProblem, KeyRefused, KeyUnavailable, RecordingFailed
from recorder.key_providers.aws_kms import AwsKms
from recorder.key_providers.local_file import LocalKeyFile
from recorder.model import SessionInfo
from recorder.object_stores.local_folder import LocalFolder
from recorder.service import Recorder
from recorder.signing import LocalSigner
from tests.aws.making import BRIEF, ONCE, TWICE, kms_client, new_key, new_kms
from tests.aws.trouble import Answer, Call, Hang, Reset, Troubled, kms_error
from tests.recorder.conftest import session

pytestmark = pytest.mark.usefixtures("aws_environment")
CONTEXT = {"session": "s-1", "account": "default"}
ROLE = "arn:aws:iam::123456789012:role/jitgate-writer"


def refusing(code: str, message: str = "", status: int = 400) -> Callable[[Call, Callable[[], Answer]], Answer]:
    def trouble(call: Call, ask: Callable[[], Answer]) -> Answer:
        return kms_error(code, message, status) if call.operation in {"GenerateDataKey", "Decrypt"} else ask()

    return trouble


async def test_an_alias_wraps_and_its_new_key_opens_what_the_former_wrapped(moto: str) -> None:
    async with kms_client(moto) as client:
        first, second = await new_key(client), await new_key(client)
        alias = f"alias/recordings-{time.monotonic_ns()}"
        await client.call("create_alias", AliasName=alias, TargetKeyId=first.split("/")[1])
        before = AwsKms(alias, client, client)
        old = await before.generate_data_key(CONTEXT)
        await client.call("update_alias", AliasName=alias, TargetKeyId=second.split("/")[1])
        with pytest.raises(KeyRefused, match="former_key_ids"):
            await before.unwrap(old.wrapped, CONTEXT)
        after = AwsKms(alias, client, client, [first])
        new = await after.generate_data_key(CONTEXT)
        assert await after.unwrap(old.wrapped, CONTEXT) == old.plaintext
        assert await after.unwrap(new.wrapped, CONTEXT) == new.plaintext


async def test_a_key_that_kms_rotates_opens_what_it_wrapped_before(moto: str) -> None:
    async with kms_client(moto) as client:
        keys = AwsKms(await new_key(client), client, client)
        before = await keys.generate_data_key(CONTEXT)
        await client.call("rotate_key_on_demand", KeyId=keys.key_id)
        after = await keys.generate_data_key(CONTEXT)
        for key in (before, after):
            assert await keys.unwrap(key.wrapped, CONTEXT) == key.plaintext


async def test_what_kms_gave_opens_in_kms_without_us(moto: str) -> None:
    async with kms_client(moto) as client:
        keys = AwsKms(await new_key(client), client, client)
        key = await keys.generate_data_key(CONTEXT)
        opened = await client.call("decrypt", CiphertextBlob=key.wrapped, EncryptionContext=CONTEXT)
        assert opened["Plaintext"] == key.plaintext


CURABLE = [
    ("DisabledException", "", "enable", KeyProblem.DISABLED),
    ("KMSInvalidStateException", "arn:… is pending deletion.", "cancel-key-deletion", KeyProblem.PENDING_DELETION),
    ("KMSInvalidStateException", "arn:… is pending import.", "no state to be used", KeyProblem.UNUSABLE),
    ("AccessDeniedException", "User: arn:… is not authorized to perform: kms:…", "key policy", KeyProblem.DENIED),
    ("ThrottlingException", "Rate exceeded", "throttling", KeyProblem.THROTTLED),
    ("KeyUnavailableException", "", "now", KeyProblem.UNUSABLE),
    ("KMSInternalException", "", "KMS", KeyProblem.UNUSABLE),
    ("DependencyTimeoutException", "", "KMS", KeyProblem.UNUSABLE),
    ("ExpiredTokenException", "", "ExpiredToken", KeyProblem.UNUSABLE),
    ("SomethingNewException", "", "SomethingNew", KeyProblem.UNUSABLE),
]
FINAL = [
    ("NotFoundException", "Key does not exist", "no such key"),
    ("InvalidKeyUsageException", "", "something else"),
    ("ValidationException", "", "understand"),
]


@pytest.mark.parametrize(("code", "message", "told", "problem"), CURABLE)
async def test_what_a_person_or_time_can_cure_is_tried_again(
    troubled_moto: Troubled, code: str, message: str, told: str, problem: KeyProblem
) -> None:
    async with new_kms(troubled_moto.url, ONCE) as keys:
        key = await keys.generate_data_key(CONTEXT)
        troubled_moto.trouble = refusing(code, message)
        with pytest.raises(KeyUnavailable, match=told) as generating:
            await keys.generate_data_key(CONTEXT)
        with pytest.raises(KeyUnavailable, match=told):
            await keys.unwrap(key.wrapped, CONTEXT)
        assert keys.key_id in str(generating.value)
        assert generating.value.problem is problem
        troubled_moto.trouble = lambda _, ask: ask()
        assert await keys.unwrap(key.wrapped, CONTEXT) == key.plaintext


@pytest.mark.parametrize(("code", "message", "told"), FINAL)
async def test_what_nothing_cures_is_refused(troubled_moto: Troubled, code: str, message: str, told: str) -> None:
    async with new_kms(troubled_moto.url, TWICE) as keys:
        troubled_moto.trouble = refusing(code, message)
        with pytest.raises(KeyRefused, match=told) as generating:
            await keys.generate_data_key(CONTEXT)
        assert (generating.value.problem is KeyProblem.MISSING) == (code == "NotFoundException")
        with pytest.raises(KeyRefused, match=told):
            await keys.unwrap(b"wrapped", CONTEXT)


async def test_a_ciphertext_of_a_key_that_is_not_ours_is_refused(troubled_moto: Troubled) -> None:
    words = "The ciphertext refers to a customer master key that does not exist"
    async with new_kms(troubled_moto.url, TWICE) as keys:
        troubled_moto.trouble = refusing("AccessDeniedException", words)
        with pytest.raises(KeyRefused, match="another key"):
            await keys.unwrap(b"wrapped", CONTEXT)


async def test_an_error_of_a_moment_is_got_over(troubled_moto: Troubled) -> None:
    async with new_kms(troubled_moto.url, TWICE) as keys:
        left = [1]

        def once(call: Call, ask: Callable[[], Answer]) -> Answer:
            if left:
                left.pop()
                return kms_error("ThrottlingException")
            return ask()

        troubled_moto.trouble = once
        assert len((await keys.generate_data_key(CONTEXT)).plaintext) == 32


@pytest.mark.parametrize("failure", [Hang, Reset])
async def test_a_kms_that_does_not_answer_is_unavailable_within_the_budget(
    troubled_moto: Troubled, failure: type[Exception]
) -> None:
    patience = replace(BRIEF, silence_seconds=0.5)
    async with kms_client(troubled_moto.url) as client:
        key_id = await new_key(client)
    async with kms_client(troubled_moto.url, patience) as client:
        keys = AwsKms(key_id, client, client)

        def trouble(call: Call, ask: Callable[[], Answer]) -> Answer:
            raise failure

        troubled_moto.trouble = trouble
        began = time.monotonic()
        with pytest.raises(KeyUnavailable, match="cannot be reached") as caught:
            await keys.generate_data_key(CONTEXT)
        assert caught.value.problem is KeyProblem.UNREACHABLE
        assert time.monotonic() - began < patience.total_seconds + 2
        assert (
            len([call for call in troubled_moto.calls if call.operation == "GenerateDataKey"]) <= patience.attempts
        )


async def test_a_kms_that_is_not_there_is_unavailable() -> None:
    async with kms_client("http://127.0.0.1:9", TWICE) as client:
        with pytest.raises(KeyUnavailable, match="cannot be reached"):
            await AwsKms("alias/x", client, client).generate_data_key(CONTEXT)


async def test_without_credentials_it_is_unavailable_and_finds_them_later(
    moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kms_client(moto) as administrator:
        key_id = await new_key(administrator)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    async with kms_client(moto, TWICE) as client, kms_client(moto, TWICE, role_arn=ROLE) as acting:
        for each in (client, acting):
            with pytest.raises(KeyUnavailable, match="credentials"):
                await AwsKms(key_id, each, each).generate_data_key(CONTEXT)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE123456789")
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto)
        for each in (client, acting):
            assert await AwsKms(key_id, each, each).generate_data_key(CONTEXT)


async def test_roles_are_assumed_apart_and_renewed(
    troubled_moto: Troubled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stand-in gives credentials that are about to expire, so each call assumes the role anew."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", troubled_moto.url)
    assumed: list[str] = []

    def trouble(call: Call, ask: Callable[[], Answer]) -> Answer:
        answer = ask()
        if b"Action=AssumeRole" in call.body:
            assumed.append(call.body.decode())
            begin, _, rest = answer.body.partition(b"<Expiration>")
            answer.body = begin + b"<Expiration>2000-01-01T00:00:00Z" + rest[rest.index(b"</Expiration>") :]
        return answer

    async with kms_client(troubled_moto.url) as administrator:
        key_id = await new_key(administrator)
    async with (
        kms_client(troubled_moto.url, role_arn=ROLE, external_id="ours/1") as writer,
        kms_client(troubled_moto.url, role_arn=ROLE.replace("writer", "playback")) as reader,
    ):
        keys = AwsKms(key_id, writer, reader)
        key = await keys.generate_data_key(CONTEXT)
        assert await keys.unwrap(key.wrapped, CONTEXT) == key.plaintext
        signed = {call.operation: signer(call) for call in troubled_moto.calls if call.operation}
        # Three identities: whoever made the key, the writer, the playback role.
        assert len(set(signed.values())) == len(signed) == 3
        troubled_moto.calls.clear()
        await keys.generate_data_key(CONTEXT)
        assert not [call for call in troubled_moto.calls if b"AssumeRole" in call.body]  # still valid
    troubled_moto.trouble = trouble
    async with kms_client(troubled_moto.url, TWICE, role_arn=ROLE, external_id="ours/1") as writer:
        with pytest.raises(KeyUnavailable):  # already over: botocore refuses to use them
            await AwsKms(key_id, writer, writer).generate_data_key(CONTEXT)
        troubled_moto.trouble = lambda _, ask: ask()
        assert await AwsKms(key_id, writer, writer).generate_data_key(CONTEXT)
    assert assumed
    assert all("ExternalId=ours%2F1" in body and "RoleSessionName=jitgate" in body for body in assumed)


def signer(call: Call) -> str:
    return call.headers["authorization"].partition("Credential=")[2].partition("/")[0]


async def test_what_comes_back_must_be_a_data_key(troubled_moto: Troubled) -> None:
    def short(call: Call, ask: Callable[[], Answer]) -> Answer:
        answer = ask()
        said = json.loads(answer.body)
        if "Plaintext" in said:
            answer.body = json.dumps({**said, "Plaintext": "c2hvcnQ="}).encode()
        return answer

    async with new_kms(troubled_moto.url) as keys:
        key = await keys.generate_data_key(CONTEXT)
        troubled_moto.trouble = short
        with pytest.raises(KeyUnavailable, match="no data key"):
            await keys.generate_data_key(CONTEXT)
        with pytest.raises(KeyRefused, match="no data key"):
            await keys.unwrap(key.wrapped, CONTEXT)


async def test_no_key_is_ever_logged(moto: str, caplog: pytest.LogCaptureFixture) -> None:
    """botocore's DEBUG would write KMS's whole answer down."""
    caplog.set_level(logging.DEBUG)
    async with new_kms(moto) as keys:
        key = await keys.generate_data_key(CONTEXT)
        await keys.unwrap(key.wrapped, CONTEXT)
    assert "Plaintext" not in caplog.text
    assert not [record for record in caplog.records if record.name.startswith(("botocore", "aiobotocore"))]


class World:
    """A recorder whose keys are KMS's, everything else local."""

    def __init__(self, root: Path, client: Client, key_id: str) -> None:
        LocalKeyFile.create(root / "unused")
        self.store = LocalFolder(root / "objects")
        self.keys = AwsKms(key_id, client, client)
        self.recorder = Recorder(root / "spool", self.store, self.keys, LocalSigner.create(root / "signing.pem"))


async def test_each_session_has_a_data_key_of_its_own_before_its_first_byte(
    troubled_moto: Troubled, tmp_path: Path
) -> None:
    async with kms_client(troubled_moto.url, TWICE) as client:
        world = World(tmp_path, client, await new_key(client))
        await world.recorder.start()
        manifests = []
        for number in (1, 2):
            recording = await world.recorder.open(session(number, record_input_content=True))
            made = contexts(troubled_moto)
            assert len(made) == 2 * number  # one for everything, one for what is typed
            recording.output(b"hello", 0)
            manifests.append(await recording.close("exit"))
        wrapped = [
            key
            for each in manifests
            for epoch in each.epochs
            for key in (epoch.wrapped_key, epoch.wrapped_input_key)
        ]
        assert len(set(wrapped)) == 4
        info: SessionInfo = session(1)
        assert contexts(troubled_moto)[0] == {
            "organization": "acme",
            "account": info.account,
            "region": info.region,
            "request": info.request_id,
            "session": info.session_id,
            "epoch": "1",
            "purpose": "recording",
        }
        await world.recorder.stop()


async def test_without_a_key_nothing_is_recorded_and_a_key_that_goes_later_loses_nothing(
    troubled_moto: Troubled, tmp_path: Path
) -> None:
    async with kms_client(troubled_moto.url, TWICE) as client:
        world = World(tmp_path, client, await new_key(client))
        await world.recorder.start()
        recording = await world.recorder.open(session(1))
        recording.output(b"before ", 0)
        troubled_moto.trouble = refusing("DisabledException")
        with pytest.raises(RecordingFailed, match="disabled"):
            await world.recorder.open(session(2))
        recording.output(b"and after", 7)
        assert (await recording.close("exit")).bytes_out == 16
        await world.recorder.stop()
        assert not list((tmp_path / "spool").rglob("*.journal"))


def contexts(proxy: Troubled) -> list[dict[str, str]]:
    made = [json.loads(call.body) for call in proxy.calls if call.operation == "GenerateDataKey"]
    return [each["EncryptionContext"] for each in made]

"""Data keys of AWS KMS: made and wrapped there (GenerateDataKey), opened there (Decrypt), bound to their context.

A wrapped key is KMS's ciphertext as it came, so that `aws kms decrypt` opens it as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from recorder.aws import Client, NoAnswer, Patience, SaidNo
from recorder.errors import KeyFailed, KeyProblem, KeyRefused, KeyUnavailable
from recorder.ports import DataKey

PATIENCE: Final = Patience(connect_seconds=3, silence_seconds=5, total_seconds=10)
"""Somebody waits for a session to open meanwhile."""

_KEY_BYTES: Final = 32
_MAX_WRAPPED: Final = 6144  # the longest CiphertextBlob that KMS takes

_FOR_GOOD: Final = {
    "NotFoundException": "there is no such key; look at its id, account and Region",
    "InvalidArnException": "this is no key's ARN",
    "InvalidKeyUsageException": "the key is made for something else",
    "ValidationException": "KMS does not understand what was asked of it",
    "InvalidCiphertextException": "the data key belongs to another recording, or it is damaged",
    "IncorrectKeyException": "the data key was wrapped by another key; name it in former_key_ids",
    "UnsupportedOperationException": "the key cannot do this",
}
# A person can undo each of these, and the recordings that wait for it are then finished: none is a "never".
_UNTIL_SOMEBODY_ACTS: Final = {
    "DisabledException": "the key is disabled; enable it (aws kms enable-key)",
    "KMSInvalidStateException": "the key is in no state to be used; if its deletion is scheduled, cancel that "
    "(aws kms cancel-key-deletion, then enable-key): once it is deleted its recordings are lost",
    "AccessDeniedException": "the gateway may not do this; look at the key policy and at the role's policies",
    "AccessDenied": "the gateway may not assume the role; look at its trust policy and its external id",
    "KeyUnavailableException": "KMS cannot use the key now",
    "ThrottlingException": "KMS is throttling; ask AWS for a higher request quota if this goes on",
    "LimitExceededException": "a quota of KMS is exceeded",
}
_PROBLEMS: Final = {
    "NotFoundException": KeyProblem.MISSING,
    "DisabledException": KeyProblem.DISABLED,
    "AccessDeniedException": KeyProblem.DENIED,
    "AccessDenied": KeyProblem.DENIED,  # of STS, which lets nobody into the role
    "ThrottlingException": KeyProblem.THROTTLED,
    "LimitExceededException": KeyProblem.THROTTLED,
}
_UNAUTHORIZED: Final = "is not authorized to perform"


class AwsKms:
    """A key provider over one KMS key; nothing is cached, so no data key ever serves two recordings.

    `key_id` is an id, an ARN or an alias. It wraps; it and `former_key_ids` unwrap, and no other key does (KMS's
    own rotation keeps the id). `writer` makes data keys, `reader` opens them: two roles where they are kept apart.
    """

    name: Final = "aws-kms"

    def __init__(self, key_id: str, writer: Client, reader: Client, former_key_ids: Sequence[str] = ()) -> None:
        self.key_id = key_id
        self._writer = writer
        self._reader = reader
        self._readable = (key_id, *former_key_ids)

    async def generate_data_key(self, context: Mapping[str, str]) -> DataKey:
        try:
            answer = await self._writer.call(
                "generate_data_key", KeyId=self.key_id, KeySpec="AES_256", EncryptionContext=dict(context)
            )
        except (SaidNo, NoAnswer) as failure:
            raise explained(failure, self.key_id) from None
        plaintext, wrapped = answer.get("Plaintext", b""), answer.get("CiphertextBlob", b"")
        if len(plaintext) != _KEY_BYTES or not 0 < len(wrapped) <= _MAX_WRAPPED:
            raise KeyUnavailable(f"KMS key {self.key_id}: what KMS answers is no data key", KeyProblem.UNUSABLE)
        return DataKey(plaintext, wrapped, self.name)

    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        if not 0 < len(wrapped) <= _MAX_WRAPPED:
            raise KeyRefused("this is no data key that KMS wrapped")
        for key_id in self._readable:
            try:
                return await self._decrypt(key_id, wrapped, context)
            except (SaidNo, NoAnswer) as failure:
                if not _is_of_another_key(failure):
                    raise explained(failure, key_id) from None
        raise KeyRefused(f"KMS key {self.key_id}: {_FOR_GOOD['IncorrectKeyException']}")

    async def _decrypt(self, key_id: str, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        answer = await self._reader.call(
            "decrypt", KeyId=key_id, CiphertextBlob=wrapped, EncryptionContext=dict(context)
        )
        plaintext = bytes(answer.get("Plaintext", b""))
        if len(plaintext) != _KEY_BYTES:
            raise KeyRefused(f"KMS key {key_id}: what was wrapped is no data key of a recording")
        return plaintext


def explained(failure: SaidNo | NoAnswer, key_id: str) -> KeyFailed:
    """KeyRefused only where no later try can work; everything else, the unknown too, is KeyUnavailable."""
    about = f"KMS key {key_id}"
    if isinstance(failure, NoAnswer):
        return KeyUnavailable(f"{about}: KMS cannot be reached: {failure}", KeyProblem.UNREACHABLE)
    unknown = KeyProblem.OTHER if failure.code in _FOR_GOOD else KeyProblem.UNUSABLE
    problem = _PROBLEMS.get(failure.code, unknown)
    if failure.code == "KMSInvalidStateException" and "pending deletion" in failure.message:
        problem = KeyProblem.PENDING_DELETION
    if failure.code in _FOR_GOOD:
        return KeyRefused(f"{about}: {_FOR_GOOD[failure.code]} ({failure})", problem)
    if failure.code in _UNTIL_SOMEBODY_ACTS:
        return KeyUnavailable(f"{about}: {_UNTIL_SOMEBODY_ACTS[failure.code]} ({failure})", problem)
    return KeyUnavailable(f"{about}: KMS refuses ({failure})", problem)


def _is_of_another_key(failure: SaidNo | NoAnswer) -> bool:
    """KMS denies access, too, where a ciphertext names a key that is not ours; who lacks a permission is named."""
    if not isinstance(failure, SaidNo):
        return False
    if failure.code == "AccessDeniedException":
        return _UNAUTHORIZED not in failure.message
    return failure.code == "IncorrectKeyException"

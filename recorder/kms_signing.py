"""Manifests signed by an asymmetric key of AWS KMS (ECC_NIST_P256): the private key never leaves it."""

from __future__ import annotations

import hashlib

from recorder.aws import Client, NoAnswer, SaidNo
from recorder.errors import KeyUnavailable
from recorder.key_providers.aws_kms import explained
from recorder.signatures import is_valid, key_id_of


class KmsSigner:
    """Signs by `kms_key_id`; `public_key` is its public half, known beforehand so that nothing waits for KMS.

    What KMS signs is checked by that half: no manifest is stored that nobody could verify.
    """

    def __init__(self, client: Client, kms_key_id: str, public_key: bytes) -> None:
        self.kms_key_id = kms_key_id
        self._client = client
        self._public_key = public_key

    @property
    def key_id(self) -> str:
        return key_id_of(self._public_key)

    @property
    def public_key(self) -> bytes:
        return self._public_key

    async def sign(self, message: bytes) -> bytes:
        # KMS takes messages of 4 KiB at most; a digest says the same.
        digest = hashlib.sha256(message).digest()
        try:
            answer = await self._client.call(
                "sign",
                KeyId=self.kms_key_id,
                Message=digest,
                MessageType="DIGEST",
                SigningAlgorithm="ECDSA_SHA_256",
            )
        except (SaidNo, NoAnswer) as failure:
            raise explained(failure, self.kms_key_id) from None
        signature = bytes(answer.get("Signature", b""))
        if not is_valid(self._public_key, signature, message):
            raise KeyUnavailable(
                f"KMS key {self.kms_key_id}: its signature does not fit signing_public_key; put the key's own "
                "there (aws kms get-public-key)"
            )
        return signature

"""Signs manifests as KMS does; moto hashes a digest once more."""

import base64
import json

from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.aws.trouble import Answer, Ask, Call, kms_error

KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC = KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def signing(call: Call, ask: Ask) -> Answer:
    """KMS's Sign for ECDSA_SHA_256."""
    said = json.loads(call.body)
    message = base64.b64decode(said["Message"])
    if (call.operation, said["SigningAlgorithm"]) != ("Sign", "ECDSA_SHA_256") or len(message) > 4096:
        return kms_error("ValidationException")
    hashed = utils.Prehashed(SHA256()) if said["MessageType"] == "DIGEST" else SHA256()
    signature = KEY.sign(message, ec.ECDSA(hashed))
    body = json.dumps({"KeyId": said["KeyId"], "Signature": base64.b64encode(signature).decode()})
    return Answer(200, {"Content-Type": "application/x-amz-json-1.1"}, body.encode())

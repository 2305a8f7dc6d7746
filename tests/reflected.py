"""A client that knows nothing of Jitgate: it learns every service from the gateway's reflection."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SECONDS = 20.0


class ReflectedClient:
    """Calls methods by name with plain dictionaries; with a key and a certificate it is somebody."""

    def __init__(self, address: str, ca_file: Path, identity: tuple[bytes, bytes] | None = None) -> None:
        """`identity` is the key and the certificate chain, PEM."""
        key, chain = identity or (None, None)
        credentials = grpc.ssl_channel_credentials(ca_file.read_bytes(), key, chain)
        # A gateway that was started again is found soon, however often it was gone before.
        options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
        self.channel = grpc.secure_channel(address, credentials, options)
        self._database = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = DescriptorPool(self._database)

    def services(self) -> list[str]:
        return [name for name in self._database.get_services() if name.startswith("jitgate.")]

    def methods(self) -> list[MethodDescriptor]:
        return [m for name in self.services() for m in self.pool.FindServiceByName(name).methods]

    def message(self, name: str, fields: dict[str, Any]) -> Any:
        return ParseDict(
            fields, GetMessageClass(self.pool.FindMessageTypeByName(name))(), descriptor_pool=self.pool
        )

    def call(self, method: str, **fields: Any) -> dict[str, Any]:
        """One answer to one question: `call("AccessService/StartAccessRequest", nodes=["web-1"])`."""
        service, _, name = method.partition("/")
        found = self.pool.FindServiceByName(f"jitgate.v1.{service}").FindMethodByName(name)
        answer = self.channel.unary_unary(
            f"/jitgate.v1.{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(found.output_type).FromString,
        )(self.message(found.input_type.full_name, fields), timeout=SECONDS)
        return MessageToDict(answer, preserving_proto_field_name=True, descriptor_pool=self.pool)

    def receive(self, method: str, **fields: Any) -> Iterator[Any]:
        """Many answers to one question."""
        service, _, name = method.partition("/")
        found = self.pool.FindServiceByName(f"jitgate.v1.{service}").FindMethodByName(name)
        yield from self.channel.unary_stream(
            f"/jitgate.v1.{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(found.output_type).FromString,
        )(self.message(found.input_type.full_name, fields), timeout=SECONDS)

    def session(self, frames: Iterator[dict[str, Any]]) -> Any:
        """SessionService.Connect: dictionaries in, messages out."""
        frame = GetMessageClass(self.pool.FindMessageTypeByName("jitgate.v1.SessionFrame"))
        return self.channel.stream_stream(
            "/jitgate.v1.SessionService/Connect",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=frame.FromString,
        )((self.message("jitgate.v1.SessionFrame", fields) for fields in frames), timeout=SECONDS)

    def close(self) -> None:
        self.channel.close()


def new_key() -> tuple[bytes, bytes]:
    """A client's new key, PEM, and the request to certify it, DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, SHA256())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem, request.public_bytes(Encoding.DER)

"""Whom to trust as the gateway: the CA of a file, or of a fingerprint among the certificates that it shows."""

import base64
import hashlib
import hmac
import os
import re
import socket
import ssl
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from clients.agent.state import Unusable

_SECONDS = 15.0
_LONGEST_ANSWER = 8192


def establish(address: str, ca_file: Path | None, fingerprint: str) -> bytes:
    """The CA's certificate, PEM. Raises Unusable."""
    if ca_file is not None:
        try:
            return ca_file.read_bytes()
        except OSError as error:
            raise Unusable(f"{ca_file}: {error.strerror}") from None
    wanted = fingerprint.lower().removeprefix("sha256:").replace(":", "")
    if not re.fullmatch(r"[0-9a-f]{64}", wanted):
        raise Unusable("--ca-fingerprint is sha256: and 64 hex digits; the gateway prints it when it starts")
    try:
        shown = _presented(address)
    except (OSError, ValueError) as error:
        raise Unusable(f"{address} cannot be reached: {error}. Is it the gateway's sign-in address?") from None
    for certificate in shown:
        if hmac.compare_digest(hashlib.sha256(certificate).hexdigest(), wanted):
            return ssl.DER_cert_to_PEM_cert(certificate).encode("ascii")
    raise Unusable(
        f"{address} shows no certificate with that fingerprint. Compare it with what the gateway printed; "
        "if it is right, this is not your gateway"
    )


def _presented(address: str) -> list[bytes]:
    """The certificates that a server shows, DER. Nothing about them is verified yet."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with _dial(host, int(port)) as plain, context.wrap_socket(plain, server_hostname=host) as shown:
        # Public since Python 3.13; before, only the object beneath has it.
        source = shown if hasattr(shown, "get_unverified_chain") else shown._sslobj  # type: ignore[attr-defined] # noqa: SLF001
        chain = source.get_unverified_chain() or []
    return [item if isinstance(item, bytes) else ssl.PEM_cert_to_DER_cert(item.public_bytes()) for item in chain]


def _dial(host: str, port: int) -> socket.socket:
    """Directly, or through the proxy that gRPC will take. Raises OSError, ValueError."""
    proxy = _first_of("grpc_proxy", "https_proxy", "http_proxy")
    if not proxy or _is_exempt(host):
        return socket.create_connection((host, port), _SECONDS)
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    connection = socket.create_connection((parts.hostname or "", parts.port or 80), _SECONDS)
    try:
        _ask(connection, host, port, parts)
    except BaseException:
        connection.close()
        raise
    return connection


def _ask(proxy: socket.socket, host: str, port: int, parts: SplitResult) -> None:
    """Has the proxy connect. Raises OSError where it does not."""
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if parts.username:
        secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(secret).decode()}")
    proxy.sendall("\r\n".join([*lines, "", ""]).encode("ascii"))
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        byte = proxy.recv(1)  # nothing of what follows may be taken
        if not byte or len(answer) > _LONGEST_ANSWER:
            raise OSError("the proxy broke off")
        answer += byte
    status = answer.split(b"\r\n", 1)[0].split()
    if len(status) < 2 or status[1] != b"200":
        raise OSError(f"the proxy answered {answer.splitlines()[0].decode('latin-1')!r}")


def _first_of(*names: str) -> str:
    return next((os.environ[name] for name in names if os.environ.get(name)), "")


def _is_exempt(host: str) -> bool:
    exempt = _first_of("no_grpc_proxy", "no_proxy")
    return any(
        host == item or host.endswith(f".{item.lstrip('.')}")
        for item in exempt.replace(" ", "").split(",")
        if item
    )

"""An issuer of our own that does whatever a test wants: lies, floods, answers nonsense."""

import base64
import contextlib
import functools
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwt
from joserfc.jwk import ECKey, Key, RSAKey
from joserfc.jws import JWSRegistry

Answer = tuple[int, bytes]


def unpadded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class Hostile:
    """`answers` maps paths to what is said there instead of the honest thing. `asked` counts questions by path."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.key: Key = _key()
        self.keys: list[dict[str, Any]] = [dict(self.key.as_dict(private=False))]
        self.token = ""
        self.access_token = "opaque"
        self.answers: dict[str, Answer] = {}
        self.asked: dict[str, int] = {}
        self.forms: list[dict[str, str]] = []

    def signed(
        self, claims: Mapping[str, Any], key: Key | None = None, algorithm: str = "RS256", **header: Any
    ) -> str:
        """A token that is signed with the issuer's key, or another one."""
        key = key or self.key
        full = {"alg": algorithm, "kid": key.kid, **header}
        registry = JWSRegistry(algorithms=[algorithm], strict_check_header=False)
        kept = {name: value for name, value in full.items() if value is not None}
        return jwt.encode(kept, dict(claims), key, registry=registry)

    def unsigned(self, claims: Mapping[str, Any], algorithm: str = "none") -> str:
        header = json.dumps({"alg": algorithm, "kid": "one"}).encode()
        return f"{unpadded(header)}.{unpadded(json.dumps(dict(claims)).encode())}."

    def by_public_key(self, claims: Mapping[str, Any]) -> str:
        """HS256 with what everybody knows as the secret: the public key's PEM."""
        public = self.key.public_key
        assert isinstance(public, RSAPublicKey)
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        signed = self.unsigned(claims, "HS256").removesuffix(".")
        return f"{signed}.{unpadded(hmac.digest(pem, signed.encode(), hashlib.sha256))}"

    def says(self, path: str, document: Any, status: int = 200) -> None:
        self.answers[path] = (status, document if isinstance(document, bytes) else json.dumps(document).encode())

    def discovery(self, **changed: Any) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "device_authorization_endpoint": f"{self.issuer}/device",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
        } | changed

    def answer(self, path: str) -> Answer:
        self.asked[path] = self.asked.get(path, 0) + 1
        honest: dict[str, Any] = {
            "/.well-known/openid-configuration": self.discovery(),
            "/keys": {"keys": self.keys},
            "/token": {"access_token": self.access_token, "token_type": "Bearer", "id_token": self.token},
            "/device": self.device(),
        }
        if path in self.answers:
            return self.answers[path]
        return (200, json.dumps(honest[path]).encode()) if path in honest else (404, b"{}")

    def device(self, **changed: Any) -> dict[str, Any]:
        return {
            "device_code": "dc",
            "user_code": "ABCD-EFGH",
            "verification_uri": f"{self.issuer}/verify",
            "expires_in": 300,
            "interval": 5,
        } | changed


@contextlib.contextmanager
def hostile_issuer() -> Iterator[Hostile]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            issuer.forms.append({name: values[0] for name, values in parse_qs(form).items()})
            self._answer()

        def _answer(self) -> None:
            status, body = issuer.answer(self.path.partition("?")[0])
            self.send_response(status)
            if status == 302:
                self.send_header("Location", f"{issuer.issuer}/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):  # whoever asked had enough
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    issuer = Hostile(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@functools.cache
def _key() -> Key:
    """The issuers' own, made once: an RSA key takes longer than a test with it."""
    return RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"})


@functools.cache
def other_key(kid: str = "one") -> Key:
    return RSAKey.generate_key(2048, {"kid": kid})


def elliptic_key() -> Key:
    return ECKey.generate_key("P-256", {"kid": "ec"})

"""Signing in: whom to trust, proving who we are, a new key, its certificate."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from clients.cli import profile, providers, trust
from clients.cli.asking import ask, ask_new_secret, ask_secret
from clients.cli.details import Details
from clients.cli.errors import USAGE, Failure
from clients.cli.profile import Profile, write_private
from clients.cli.providers import Providers
from clients.cli.wire.channel import Channel, split_address
from clients.cli.wire.failure import CallFailed
from jitgate.v1.identity_pb2 import IdentityProvider, SignInRequest, SignInResponse

SHORTEST_PASSWORD = 12
_FILES = ("profile.json", "provider.json", "ca.pem", "client.pem", "client.key", "tokens.json")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the person gave; what is missing is taken from the last sign-in, or asked."""

    address: str
    user_id: str
    ca_file: Path | None
    ca_fingerprint: str
    by_code: bool
    new_password: bool
    provider: str = ""
    way: str = ""  # providers.BROWSER or DEVICE; empty: what suits

    @property
    def by_password(self) -> bool:
        return self.by_code or self.new_password or bool(self.user_id)

    @property
    def by_provider(self) -> bool:
        return bool(self.provider or self.way)


def sign_in(wanted: Wanted) -> SignInResponse:
    """Signs in and keeps the result as the profile. Raises Failure or CallFailed; then nothing was changed."""
    if wanted.by_password and wanted.by_provider:
        raise Failure(
            "a provider knows its own people: there is no user to name and no code or password to give",
            "Leave out --provider, --browser and --device, or the other options.",
            USAGE,
        )
    before = _before()
    address = wanted.address or (before.sign_in_address if before else "")
    if not address:
        raise Failure("which gateway?", "Name its sign-in address: jit login --gateway HOST:PORT", USAGE)
    try:
        split_address(address)
    except ValueError as error:
        raise Failure(str(error), "Write the sign-in address as HOST:PORT.", USAGE) from None
    again = before if before and before.sign_in_address == address else None
    anchors = trust.establish(address, wanted.ca_file, wanted.ca_fingerprint, again.ca_file if again else None)
    key = ec.generate_private_key(ec.SECP256R1())
    context = trust.context(anchors)
    provider = _provider(Providers(address, context), wanted, again)
    if provider is not None:
        answer = Providers(address, context).prove(provider, wanted.way, _certificate_request(key))
        user_id = answer.identity.user_id
    else:
        user_id = wanted.user_id or (before.user_id if before else "") or ask("User: ").strip()
        answer = _prove(address, context, user_id, key, wanted)
    signed_in = Profile(profile.folder(), address, answer.gateway_address, user_id, answer.expires_at.seconds)
    _keep(signed_in, anchors, key, answer)
    providers.remember(signed_in.folder, provider.name if provider else "", answer.sign_out_url)
    return answer


def _provider(known: Providers, wanted: Wanted, before: Profile | None) -> IdentityProvider | None:
    """Where to prove oneself: as asked for, as the last time, else where it can be. None: with a password here."""
    if wanted.by_password:
        return None
    last = providers.remembered(before.folder)[0] if before else ""
    if before is not None and not last and not wanted.by_provider:
        return None
    return known.choose(wanted.provider or last, needed=wanted.by_provider)


def forget() -> str:
    """Removes the profile's files. Where a browser ends the session at the identity provider, or ""."""
    where = profile.folder()
    sign_out_url = providers.remembered(where)[1]
    for name in _FILES:
        (where / name).unlink(missing_ok=True)
    return sign_out_url


def _before() -> Profile | None:
    try:
        return profile.load()
    except Failure:
        return None


def _prove(
    address: str, context: ssl.SSLContext, user_id: str, key: ec.EllipticCurvePrivateKey, wanted: Wanted
) -> SignInResponse:
    request = SignInRequest(certificate_request=_certificate_request(key))
    if wanted.by_code:
        request.administrator_code.code = ask_secret("Administrator code: ").strip()
        request.administrator_code.user_id = user_id
        request.administrator_code.new_password = ask_new_secret("New password: ", _judge)
    else:
        request.password.user_id = user_id
        request.password.password = ask_secret(f"Password of {user_id}: ")
        if wanted.new_password:
            request.password.new_password = ask_new_secret("New password: ", _judge)
    try:
        return _ask(address, context, request)
    except CallFailed as failed:
        if wanted.by_code or wanted.new_password or Details(failed.details).reason != "PASSWORD_CHANGE_REQUIRED":
            raise
    request.password.new_password = ask_new_secret(
        "Your password was set by somebody else. New password: ", _judge
    )
    return _ask(address, context, request)


def _ask(address: str, context: ssl.SSLContext, request: SignInRequest) -> SignInResponse:
    channel = Channel(address, context)
    try:
        return channel.unary("/jitgate.v1.SignInService/SignIn", request, SignInResponse)
    finally:
        channel.close()


def _judge(password: str) -> str:
    return "" if len(password) >= SHORTEST_PASSWORD else f"A password has at least {SHORTEST_PASSWORD} characters."


def _certificate_request(key: ec.EllipticCurvePrivateKey) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "jit")])  # the gateway decides who we are
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.DER)


def _keep(signed_in: Profile, anchors: str, key: ec.EllipticCurvePrivateKey, answer: SignInResponse) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    # Tokens are bound to the key that is replaced here. The profile comes last: it names a complete set.
    (signed_in.folder / "tokens.json").unlink(missing_ok=True)
    write_private(signed_in.ca_file, anchors.encode())
    write_private(signed_in.key_file, pem)
    write_private(signed_in.certificate_file, answer.certificate_chain.encode())
    signed_in.save()

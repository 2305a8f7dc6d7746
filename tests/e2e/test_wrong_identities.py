"""Every RPC against every wrong identity: refused with a clear code, nothing changed, nothing taken down.

The methods are found by reflection, so that a new one is covered by itself: by identities at once, and by roles
once `Things.payload` knows a request that the right person could make.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from gateway.identity.authority import CertificateAuthority, common_name, private_key_pem
from gateway.identity.client_certificates import ClientCertificates
from jitgate.v1.annotations_pb2 import Permission, permission
from tests.e2e.live import run
from tests.e2e.stage import FAR, HOME, Somebody, Stage, code_and_reason
from tests.processes import wait_for
from tests.reflected import ReflectedClient

Identity = tuple[bytes, bytes] | None
Outcome = tuple[str, str]

CUT_OFF = ("UNAVAILABLE", "")
"""TLS lets nobody through whose certificate is not the client CA's: there is no call that could be answered."""
STRANGER = ("UNAUTHENTICATED", "SIGN_IN_REQUIRED")
REMOVED = ("PERMISSION_DENIED", "USER_REMOVED")
LOCKED = ("PERMISSION_DENIED", "USER_LOCKED")
NOT_PERMITTED = ("PERMISSION_DENIED", "NOT_PERMITTED")
NOT_THERE = ("NOT_FOUND", "REQUEST_NOT_FOUND")
NO_ACTIVATION = "act-000000000000"
NO_SUCH_ACTIVATION = ("NOT_FOUND", "ACTIVATION_NOT_FOUND")
EMPTY = ("OK", "")
"""It answers, and the answer holds nothing that is anybody else's."""

# What the methods answer that any signed-in person may call, to somebody who has no role at all.
WITHOUT_ROLE = {
    "IdentityService/WhoAmI": EMPTY,
    "AccessService/GetAccessRequest": NOT_THERE,
    "AccessService/ListAccessRequests": EMPTY,
    "AccessService/WatchAccessRequest": NOT_THERE,
    "ApprovalService/Revoke": NOT_THERE,
    "AdministrationService/ListTargets": EMPTY,
    "NoticeService/ListContacts": EMPTY,
    "NoticeService/CreateChatLink": ("NOT_FOUND", "NO_SUCH_CHAT"),
    "NoticeService/RemoveChatLink": ("NOT_FOUND", "NOT_LINKED"),
    "AdministrationService/Diagnose": EMPTY,
    "PolicyService/ValidatePolicy": EMPTY,
    "SessionService/ListSessions": EMPTY,
}


@dataclass
class Things:
    """What is there to be taken, seen or broken in the account and Region of others."""

    on: Stage
    pending: str
    approved: str
    session: str
    token: str

    @property
    def secrets(self) -> list[bytes]:
        """What must not be in any answer to a stranger."""
        names = [self.pending, self.approved, self.session, "alice", "web-1", "db-1", "databases"]
        return [name.encode() for name in names]

    def payload(self, method: str) -> dict[str, Any]:
        """A request that somebody with the right role could make."""
        manual = "name: strange\naccessHours: 1\ntargets: all\nlevels: [{approvers: [{user: bob}]}]\n"
        bucket = {
            "kind": "ALLOWANCE_KIND_BUCKET",
            "name": "recordings-of-a-stranger",
            "owner": "123456789012",
            "aws_region": "eu-west-1",
        }
        by_id = {"id": self.pending}
        by_request = {"access_request_id": self.pending}
        by_session = {"session_id": self.session}
        at = {"scope": HOME}
        payloads: dict[str, dict[str, Any]] = {
            "AccessService/StartAccessRequest": {"nodes": ["web-1"], "reason": "strange", **at},
            "AccessService/GetAccessRequest": by_id,
            "AccessService/ListAccessRequests": {},
            "AccessService/WatchAccessRequest": by_id,
            "AccessService/CancelAccessRequest": by_id,
            "AccessService/ReturnAccess": {"id": self.approved},
            "AccessService/GetAccessToken": {"access_request_id": self.approved},
            "ApprovalService/Approve": by_request,
            "ApprovalService/Deny": by_request,
            "ApprovalService/Revoke": by_request,
            "AllowanceService/Allow": {"allowance": bucket},
            "AllowanceService/Disallow": {"kind": bucket["kind"], "name": bucket["name"]},
            "NoticeService/DiscardNotices": {"ids": ["d-0123456789abcdef01234567"]},
            "NoticeService/PutContact": {"user_id": "alice", "kind": "email", "address": "mallory@example.org"},
            "NoticeService/RemoveContact": {"user_id": "alice", "kind": "email"},
            "NoticeService/CreateChatLink": {"kind": "slack"},
            "NoticeService/RemoveChatLink": {"kind": "slack"},
            "AdministrationService/CreateUser": {"id": "stranger"},
            "AdministrationService/UpdateUser": {"id": "alice", "display_name": "Mallory"},
            "AdministrationService/RemoveUser": {"id": "victim"},
            "AdministrationService/GrantRole": {"grant": {"user_id": "bob", "role": "ROLE_AUDITOR"}},
            "AdministrationService/RevokeRole": {"grant": {"user_id": "carol", "role": "ROLE_APPROVER"}},
            "AdministrationService/Lock": {"node": "web-2", "reason": "strange", **at},
            "AdministrationService/Unlock": {"node": "web-2", **at},
            "AdministrationService/SetTarget": {"scope": {"account": "a", "region": "b"}, "enabled": True},
            "AdministrationService/GetPreferences": at,
            "AdministrationService/PutPreferences": {"preferences": {"idle_timeout_minutes": 9, **at}},
            "PolicyService/PutPolicy": {"kind": "POLICY_KIND_MANUAL", "text": manual, **at},
            "PolicyService/GetPolicy": {"kind": "POLICY_KIND_MANUAL", "name": "databases", **at},
            "PolicyService/DeletePolicy": {"kind": "POLICY_KIND_MANUAL", "name": "vaults", **at},
            "PolicyService/ValidatePolicy": {"kind": "POLICY_KIND_MANUAL", "text": manual, **at},
            "PolicyService/Explain": {"user_id": "alice", "node": "web-1", **at},
            "NodeService/AddNode": {
                "name": "stranger",
                "skip_check": True,
                "ssh": {"host": "127.0.0.1", "host_keys": [self.on.sshd.host_key], "login": "root"},
                **at,
            },
            "NodeService/GetNode": {"node": "web-1", **at},
            "NodeService/UpdateNode": {"node": "web-2", "set_tags": {"Owner": "mallory"}, **at},
            "NodeService/RemoveNode": {"node": "web-2", **at},
            "NodeService/CheckNode": {"node": "web-1", **at},
            "NodeService/DiagnoseNode": {"node": "web-1", **at},
            "NodeService/GetNodeTrust": {"node": "web-1", **at},
            "ActivationService/CreateActivation": {"default_name": "stranger", **at},
            "ActivationService/DeleteActivation": {"id": NO_ACTIVATION},
            "ScimService/CreateScimToken": {"provider": "corp"},
            "ScimService/DeleteScimToken": {"id": "scim-000000000000"},
            "SessionService/Connect": {
                "open": {
                    "access_token": self.token,
                    "node": "web-1",
                    "kind": "SESSION_KIND_EXEC",
                    "command": "id",
                    "credit": 1000,
                }
            },
            "SessionService/TerminateSession": by_session,
            "RecordingService/GetRecording": by_session,
            "RecordingService/PlayRecording": by_session,
            "RecordingService/ExportRecording": {**by_session, "format": "EXPORT_FORMAT_TEXT"},
            "RecordingService/DownloadRecording": by_session,
            "RecordingService/VerifyRecording": by_session,
            "RecordingService/DeleteRecording": {**by_session, "reason": "not wanted"},
            "UploadService/RetryUpload": by_session,
        }
        return payloads.get(method, {})


@pytest.fixture(scope="module")
def things(on: Stage) -> Things:
    on.add_user("victim")
    approved = on.window()["id"]
    token = on.alice.token(approved)
    session = run(on.alice.client, token, "echo seen").id
    wait_for(lambda: _is_complete(on, session), what="the recording")
    return Things(on, on.alice.request("db-1")["id"], approved, session, token)


def _is_complete(on: Stage, session: str) -> bool:
    found = on.dave.call("RecordingService/GetRecording", session_id=session)["recording"]
    return bool(found["status"] == "RECORDING_STATUS_COMPLETE")


@pytest.fixture(scope="module")
def methods(on: Stage) -> list[MethodDescriptor]:
    found = on.alice.client.methods()
    assert len(found) > 40
    return found


# -- who is wrong -------------------------------------------------------------------------------------------------


def _now() -> datetime:
    return datetime.now(UTC)


def _real_ca(on: Stage) -> CertificateAuthority:
    file = on.gateway.data_dir / "keys" / "client-ca.key"
    before = file.read_bytes()
    authority = CertificateAuthority.load_or_create(file, "unused", _now)
    assert file.read_bytes() == before
    return authority


def _issued(authority: CertificateAuthority, user_id: str, at: timedelta = timedelta()) -> Identity:
    """What that authority's gateway would have issued so long from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    issued = ClientCertificates(authority, lambda: _now() + at).issue(key.public_key(), user_id)
    return private_key_pem(key), issued.chain.encode()


def _signed(authority: CertificateAuthority, *names: x509.GeneralName, usage: x509.ObjectIdentifier) -> Identity:
    """A certificate of the authority with other contents than it gives clients."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(common_name("alice"))
        .public_key(key.public_key())
        .not_valid_before(_now() - timedelta(minutes=1))
        .not_valid_after(_now() + timedelta(hours=1))
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    chain = authority.sign(builder).public_bytes(Encoding.PEM) + authority.certificate_pem()
    return private_key_pem(key), chain


ALICE = x509.UniformResourceIdentifier("jitgate://user/alice")


def nobody(on: Stage, folder: Path) -> Identity:
    return None


def of_another_ca(on: Stage, folder: Path) -> Identity:
    """The other authority even has the right name."""
    return _issued(
        CertificateAuthority.load_or_create(folder / "other" / "ca", "Jitgate client CA", _now), "alice"
    )


def self_made(on: Stage, folder: Path) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(common_name("alice"))
        .issuer_name(_real_ca(on).certificate.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(_now() - timedelta(minutes=1))
        .not_valid_after(_now() + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([ALICE]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=True)
        .sign(key, SHA256())
    )
    return private_key_pem(key), certificate.public_bytes(Encoding.PEM)


def expired(on: Stage, folder: Path) -> Identity:
    return _issued(_real_ca(on), "alice", timedelta(hours=-13))


def not_valid_yet(on: Stage, folder: Path) -> Identity:
    return _issued(_real_ca(on), "alice", timedelta(hours=1))


def for_servers(on: Stage, folder: Path) -> Identity:
    return _signed(_real_ca(on), ALICE, usage=ExtendedKeyUsageOID.SERVER_AUTH)


def of_the_tls_ca(on: Stage, folder: Path) -> Identity:
    """A certificate like the gateway's own, which proves servers to clients."""
    authority = CertificateAuthority.load_or_create(on.gateway.data_dir / "keys" / "tls-ca.key", "unused", _now)
    return _signed(authority, ALICE, usage=ExtendedKeyUsageOID.SERVER_AUTH)


def unknown(on: Stage, folder: Path) -> Identity:
    return _issued(_real_ca(on), "nobody.knows")


def named_by_subject_only(on: Stage, folder: Path) -> Identity:
    return _signed(_real_ca(on), usage=ExtendedKeyUsageOID.CLIENT_AUTH)


def of_two_names(on: Stage, folder: Path) -> Identity:
    administrator = x509.UniformResourceIdentifier("jitgate://user/root-admin")
    return _signed(_real_ca(on), ALICE, administrator, usage=ExtendedKeyUsageOID.CLIENT_AUTH)


def removed(on: Stage, folder: Path) -> Identity:
    """Had every role, and a certificate that still holds."""
    somebody = on.add_user("removed", {"role": "ROLE_ORGANIZATION_ADMINISTRATOR"}, {"role": "ROLE_USER"})
    on.administrator.call("AdministrationService/RemoveUser", id=somebody.id)
    return somebody.identity


def locked(on: Stage, folder: Path) -> Identity:
    somebody = on.add_user("locked", {"role": "ROLE_ORGANIZATION_ADMINISTRATOR"}, {"role": "ROLE_USER"})
    on.administrator.call("AdministrationService/Lock", user_id=somebody.id, reason="a test")
    return somebody.identity


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        (nobody, CUT_OFF),
        (of_another_ca, CUT_OFF),
        (self_made, CUT_OFF),
        (expired, CUT_OFF),
        (not_valid_yet, CUT_OFF),
        (for_servers, CUT_OFF),
        (of_the_tls_ca, CUT_OFF),
        (unknown, STRANGER),
        (named_by_subject_only, STRANGER),
        (of_two_names, STRANGER),
        (removed, REMOVED),
        (locked, LOCKED),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.rule("R31")
@pytest.mark.rule("R32")
def test_no_method_serves_who_is_not_proven(
    on: Stage,
    things: Things,
    methods: list[MethodDescriptor],
    folder: Path,
    who: Callable[[Stage, Path], Identity],
    expected: Outcome,
) -> None:
    identity = who(on, folder)
    before = on.rows()
    found = outcomes(on, things, methods, identity, on.gateway.address)
    assert {name: outcome for name, (outcome, _) in found.items() if outcome != expected} == {}
    assert on.rows() == before
    assert on.is_alive()


def test_the_sign_in_address_serves_signing_in_only(
    on: Stage, things: Things, methods: list[MethodDescriptor]
) -> None:
    """With or without a certificate, a right one even."""
    with contextlib.closing(ReflectedClient(on.gateway.sign_in_address, on.gateway.ca_file)) as anonymous:
        there = anonymous.methods()
    assert {method.containing_service.name for method in there} == {"RegistrationService", "SignInService"}
    assert {needed(method) for method in there} == {Permission.PERMISSION_PUBLIC}
    before = on.rows()
    for identity in (None, on.administrator.identity):
        found = outcomes(on, things, methods, identity, on.gateway.sign_in_address)
        assert {outcome for outcome, _ in found.values()} == {("UNIMPLEMENTED", "")}
        # A certificate proves nobody there: a sign-in without a proof is refused.
        found = outcomes(on, things, there, identity, on.gateway.sign_in_address)
        assert found["SignInService/SignIn"][0] == ("INVALID_ARGUMENT", "INVALID_FIELD")
        assert {outcome[0] for outcome, _ in found.values()} <= {"OK", "INVALID_ARGUMENT", "NOT_FOUND"}
        assert_no_secret(things, found)
    assert on.rows() == before
    assert on.is_alive()


@pytest.mark.rule("R32")
def test_somebody_without_a_role(on: Stage, things: Things, methods: list[MethodDescriptor]) -> None:
    identity = on.add_user("plain").identity
    before = on.rows()
    found = outcomes(on, things, methods, identity, on.gateway.address)
    expected = {
        name(method): NOT_PERMITTED if needs_a_role(method) else WITHOUT_ROLE.get(name(method))
        for method in methods
    }
    assert {method: outcome for method, (outcome, _) in found.items()} == expected
    assert_no_secret(things, found)
    assert on.rows() == before
    assert on.is_alive()


def _gone(what: str) -> Outcome:
    return "NOT_FOUND", f"{what}_NOT_FOUND"


# What is not simply NOT_PERMITTED to somebody whose roles are elsewhere: a thing that is not to be seen is not
# there, and what lists things lists those of elsewhere.
ELSEWHERE = {
    **WITHOUT_ROLE,
    "AllowanceService/ListAllowances": EMPTY,
    "ActivationService/DeleteActivation": NO_SUCH_ACTIVATION,
    "ActivationService/ListActivations": EMPTY,
    "AccessService/CancelAccessRequest": NOT_THERE,
    "AccessService/ReturnAccess": NOT_THERE,
    "AccessService/GetAccessToken": NOT_THERE,
    "ApprovalService/Approve": NOT_THERE,
    "ApprovalService/Deny": NOT_THERE,
    "AdministrationService/ListEvents": EMPTY,
    "AdministrationService/Lock": _gone("NODE"),
    "AdministrationService/Unlock": _gone("NODE"),
    "NodeService/GetNode": _gone("NODE"),
    "NodeService/DiagnoseNode": _gone("NODE"),
    "NodeService/GetNodeTrust": _gone("NODE"),
    "NodeService/ListNodes": EMPTY,
    "RecordingService/ListRecordings": EMPTY,
    "RecordingService/GetRecording": _gone("RECORDING"),
    "RecordingService/PlayRecording": _gone("RECORDING"),
    "RecordingService/ExportRecording": _gone("RECORDING"),
    "RecordingService/DownloadRecording": _gone("RECORDING"),
    "RecordingService/VerifyRecording": _gone("RECORDING"),
    "RecordingService/InventoryRecordings": EMPTY,
    "SessionService/Connect": ("PERMISSION_DENIED", "TOKEN_UNKNOWN"),
    "SessionService/TerminateSession": _gone("SESSION"),
    "UploadService/ListUploads": EMPTY,
    "UploadService/RetryUpload": _gone("RECORDING"),
}
# People and their roles belong to the organization: who reads the directory anywhere reads all of it.
DIRECTORY = {"AdministrationService/ListUsers", "AdministrationService/ListRoles"}


@pytest.mark.rule("R1")
@pytest.mark.rule("R2")
@pytest.mark.rule("R32")
def test_somebody_with_every_role_in_another_account_and_region(
    on: Stage, things: Things, methods: list[MethodDescriptor]
) -> None:
    kinds = ["POLICY_KIND_AUTO", "POLICY_KIND_MANUAL"]
    identity = on.add_user(
        "foreign",
        {"role": "ROLE_USER", **FAR},
        {"role": "ROLE_APPROVER", **FAR},
        {"role": "ROLE_POLICY_ADMINISTRATOR", "policy_kinds": kinds, **FAR},
        {"role": "ROLE_NODE_ADMINISTRATOR", **FAR},
        {"role": "ROLE_AUDITOR", **FAR},
        {"role": "ROLE_INPUT_READER", **FAR},
    ).identity
    before = on.rows()
    found = outcomes(on, things, methods, identity, on.gateway.address)
    directory = {method: found.pop(method)[0] for method in DIRECTORY}
    assert set(directory.values()) == {EMPTY}
    expected = {method: ELSEWHERE.get(method, NOT_PERMITTED) for method in found}
    assert {method: outcome for method, (outcome, _) in found.items()} == expected
    assert_no_secret(things, found)
    assert b'"recordings":[],"scopes":[{"account":' in found["RecordingService/InventoryRecordings"][1]
    after = on.rows()
    # Looking at recordings is told, even where there are none to see, and so is showing somebody else's token.
    told = [row for row in after.pop("events") if row not in before["events"]]
    assert {row[1] for row in told} == {"recording.listed", "recording.inventoried", "access_token.refused"}
    del before["events"], before["sqlite_sequence"], after["sqlite_sequence"]
    assert after == before
    assert on.is_alive()


# Where even the right person is refused, for what the thing is and not for who asks.
RIGHT_BUT = {
    "NoticeService/CreateChatLink": ("NOT_FOUND", "NO_SUCH_CHAT"),
    "NoticeService/RemoveChatLink": ("NOT_FOUND", "NOT_LINKED"),
    "ScimService/CreateScimToken": ("NOT_FOUND", "PROVIDER_UNKNOWN"),
    "ScimService/DeleteScimToken": ("NOT_FOUND", "SCIM_TOKEN_NOT_FOUND"),
    "UploadService/RetryUpload": ("FAILED_PRECONDITION", "NOT_QUARANTINED"),
    "ActivationService/DeleteActivation": NO_SUCH_ACTIVATION,
    "ApprovalService/Revoke": ("FAILED_PRECONDITION", "NOTHING_TO_WITHDRAW"),
    "SessionService/TerminateSession": ("FAILED_PRECONDITION", "SESSION_ENDED"),
}


@pytest.mark.rule("R32")
def test_the_right_person_gets_through_with_the_same_requests(
    on: Stage, things: Things, methods: list[MethodDescriptor]
) -> None:
    """Last, since it changes things: without it, the refusals above could have any other cause."""
    found: dict[str, tuple[Outcome, bytes]] = {}
    right: dict[int, Somebody] = {
        Permission.PERMISSION_REQUEST_ACCESS: on.alice,
        Permission.PERMISSION_DECIDE_ACCESS: on.bob,
        Permission.PERMISSION_READ_RECORDINGS: on.dave,
        Permission.PERMISSION_EXPORT_RECORDINGS: on.dave,
    }
    for method in methods:
        approved = on.window()["id"]
        fresh = Things(on, on.alice.request("db-1")["id"], approved, things.session, on.alice.token(approved))
        if name(method) == "AccessService/WatchAccessRequest":
            on.alice.call("AccessService/CancelAccessRequest", id=fresh.pending)  # so that watching ends
        person = right.get(needed(method), on.administrator)
        found |= outcomes(on, fresh, [method], person.identity, on.gateway.address)
    expected = {method: RIGHT_BUT.get(method, ("OK", "")) for method in found}
    assert {method: outcome for method, (outcome, _) in found.items()} == expected


def outcomes(
    on: Stage, things: Things, methods: list[MethodDescriptor], identity: Identity, address: str
) -> dict[str, tuple[Outcome, bytes]]:
    """Method -> how the call ended, and what it answered. Each is called on a connection of its own."""
    key, chain = identity or (None, None)
    credentials = grpc.ssl_channel_credentials(on.gateway.ca_file.read_bytes(), key, chain)
    found = {}
    for method in methods:
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.secure_channel(address, credentials, options) as channel:
            found[name(method)] = _outcome(channel, method, things.payload(name(method)), on)
    return found


def _outcome(channel: grpc.Channel, method: MethodDescriptor, fields: dict[str, Any], on: Stage) -> Any:
    client = on.alice.client  # only to encode what is asked, not to ask
    request = client.message(method.input_type.full_name, fields)
    path = f"/{method.containing_service.full_name}/{method.name}"
    kind = ("stream" if method.client_streaming else "unary") + (
        "_stream" if method.server_streaming else "_unary"
    )
    call = getattr(channel, kind)(path, lambda message: message.SerializeToString(), bytes)
    try:
        answer = call(iter([request]) if method.client_streaming else request, timeout=10)
        return ("OK", ""), b"".join(answer) if method.server_streaming else answer
    except grpc.RpcError as error:
        return code_and_reason(error), b""


def assert_no_secret(things: Things, found: dict[str, tuple[Outcome, bytes]]) -> None:
    told = [
        (method, secret) for method, (_, answer) in found.items() for secret in things.secrets if secret in answer
    ]
    assert told == []


def name(method: MethodDescriptor) -> str:
    return f"{method.containing_service.name}/{method.name}"


def needed(method: MethodDescriptor) -> int:
    """The permission that the contract demands, a value of Permission."""
    options = MethodOptions.FromString(method.GetOptions().SerializeToString())
    return int(options.Extensions[permission])


def needs_a_role(method: MethodDescriptor) -> bool:
    return needed(method) != Permission.PERMISSION_SIGNED_IN

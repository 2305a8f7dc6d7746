"""Every RPC against every wrong identity: refused with a clear code, nothing changed, nothing taken down.

The methods are found by reflection, so that a new one is covered by itself: by identities at once, and by roles
once `Things.payload` knows a request that the right person could make.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf.descriptor import MethodDescriptor

from jitgate.v1.annotations_pb2 import Permission
from tests.e2e import impostors
from tests.e2e.calling import Identity, Outcome, Things, name, needed, needs_a_role, outcomes
from tests.e2e.live import run
from tests.e2e.stage import FAR, Somebody, Stage
from tests.processes import wait_for
from tests.reflected import ReflectedClient

CUT_OFF = ("UNAVAILABLE", "")
"""TLS lets nobody through whose certificate is not the client CA's: there is no call that could be answered."""
STRANGER = ("UNAUTHENTICATED", "SIGN_IN_REQUIRED")
REMOVED = ("PERMISSION_DENIED", "USER_REMOVED")
LOCKED = ("PERMISSION_DENIED", "USER_LOCKED")
NOT_PERMITTED = ("PERMISSION_DENIED", "NOT_PERMITTED")
NOT_THERE = ("NOT_FOUND", "REQUEST_NOT_FOUND")
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


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        (impostors.nobody, CUT_OFF),
        (impostors.of_another_ca, CUT_OFF),
        (impostors.self_made, CUT_OFF),
        (impostors.expired, CUT_OFF),
        (impostors.not_valid_yet, CUT_OFF),
        (impostors.for_servers, CUT_OFF),
        (impostors.of_the_tls_ca, CUT_OFF),
        (impostors.unknown, STRANGER),
        (impostors.named_by_subject_only, STRANGER),
        (impostors.of_two_names, STRANGER),
        (impostors.removed, REMOVED),
        (impostors.locked, LOCKED),
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


def assert_no_secret(things: Things, found: dict[str, tuple[Outcome, bytes]]) -> None:
    told = [
        (method, secret) for method, (_, answer) in found.items() for secret in things.secrets if secret in answer
    ]
    assert told == []

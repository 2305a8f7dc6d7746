"""A stage for end-to-end tests: a running gateway, people with roles, nodes on a real sshd, policies."""

import base64
import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from tests.processes import GatewayProcess, Person, wait_for
from tests.reflected import ReflectedClient, new_key
from tests.sshd import Sshd, current_login, running_sshd, unprivileged_login

HOME = {"account": "default", "region": "default"}
FAR = {"account": "emea", "region": "eu-west-1"}

AUTO = """\
permit(principal, action == AWS::SSM::Action::"getTokenForInstanceAccess", resource)
when { resource.hasTag("Environment") && resource.getTag("Environment") == "dev" };
"""
ONE_LEVEL = """\
name: databases
accessHours: 2
targets: [{tag: Environment, values: [prod]}]
levels: [{approvers: [{user: bob}, {user: carol}]}]
"""
TWO_LEVELS = """\
name: vaults
accessHours: 1
targets: [{tag: Tier, values: [vault]}]
levels: [{approvers: [{user: bob}]}, {approvers: [{user: carol}]}]
"""
NODES = {
    "web-1": ("mi-00000000000000001", {"Environment": "dev"}, HOME),
    "web-2": ("mi-00000000000000002", {"Environment": "dev"}, HOME),
    "db-1": ("mi-00000000000000003", {"Environment": "prod"}, HOME),
    "vault-1": ("mi-00000000000000004", {"Tier": "vault"}, HOME),
    "far-1": ("mi-00000000000000005", {"Environment": "dev"}, FAR),
}
PLAIN_LOGIN_NODE = "plain-1"
PLAIN_LOGIN_NODE_ID = "mi-00000000000000006"


@dataclass
class Somebody:
    """One person: by reflection and, once asked for, at the real command line."""

    id: str
    password: str = field(repr=False)
    gateway: GatewayProcess = field(repr=False)
    home: Path = field(repr=False)

    @cached_property
    def identity(self) -> tuple[bytes, bytes]:
        """Key and certificate chain, PEM, of the reflected client."""
        return self.signed_in_anew()

    @cached_property
    def client(self) -> ReflectedClient:
        return ReflectedClient(self.gateway.address, self.gateway.ca_file, self.identity)

    @cached_property
    def person(self) -> Person:
        person = Person(self.id, self.home / self.id)
        person.jit(
            *("login", "--gateway", self.gateway.sign_in_address, "--ca-file", self.gateway.ca_file),
            *("--user", self.id),
            stdin=f"{self.password}\n".encode(),
        )
        return person

    def signed_in_anew(self) -> tuple[bytes, bytes]:
        """A sign-in with a key of its own, as from another machine."""
        return sign_in(self.gateway, password={"user_id": self.id, "password": self.password})

    def call(self, method: str, **fields: Any) -> dict[str, Any]:
        return self.client.call(method, **fields)

    def refused(self, method: str, **fields: Any) -> tuple[str, str]:
        """Calls what must be refused: code and reason."""
        return refusal(lambda: self.client.call(method, **fields))

    def request(self, node: str, reason: str = "end to end", **fields: Any) -> dict[str, Any]:
        """The request, whatever its status."""
        wanted = {"nodes": [node], "reason": reason, **fields}
        answer: dict[str, Any] = self.call("AccessService/StartAccessRequest", **wanted)["request"]
        return answer

    def status(self, request_id: str) -> str:
        found = self.call("AccessService/GetAccessRequest", id=request_id)["request"]
        return str(found["status"]).removeprefix("ACCESS_REQUEST_STATUS_")

    def give_up(self) -> None:
        """Gives every open window back and cancels what is pending, as if nothing had been asked for."""
        endings = {"APPROVED": "AccessService/ReturnAccess", "PENDING": "AccessService/CancelAccessRequest"}
        for status, ending in endings.items():
            wanted = {"mine": True, "statuses": [f"ACCESS_REQUEST_STATUS_{status}"], "page": {"size": 1000}}
            for request in self.call("AccessService/ListAccessRequests", **wanted).get("requests", []):
                self.call(ending, id=request["id"])

    def token(self, request_id: str) -> str:
        answer = self.call("AccessService/GetAccessToken", access_request_id=request_id)
        return str(answer["token"]["value"])


@dataclass
class Stage:
    """Everybody and everything. alice gets web-1 at once, db-1 when bob or carol approve, vault-1 when both do."""

    gateway: GatewayProcess
    folder: Path
    sshd: Sshd
    people: dict[str, Somebody]
    environment: dict[str, str] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Somebody:
        try:
            return self.people[name]
        except KeyError:
            raise AttributeError(name) from None

    def token(self, node: str = "web-1", who: str = "alice") -> str:
        """A token of a fresh window, approved by whoever has to."""
        return self.people[who].token(self.window(node, who)["id"])

    def window(self, node: str = "web-1", who: str = "alice") -> dict[str, Any]:
        request = self.people[who].request(node)
        if request["status"] != "ACCESS_REQUEST_STATUS_APPROVED":
            approvers = {"db-1": ("bob",), "vault-1": ("bob", "carol"), PLAIN_LOGIN_NODE: ()}[node]
            for approver in approvers:
                self.people[approver].call("ApprovalService/Approve", access_request_id=request["id"])
            request = self.people[who].call("AccessService/GetAccessRequest", id=request["id"])["request"]
        assert request["status"] == "ACCESS_REQUEST_STATUS_APPROVED", request
        return request

    def session(self, session_id: str) -> dict[str, Any]:
        """What the gateway tells auditors of a session."""
        page = {"size": 1000}
        listed = self.dave.call("SessionService/ListSessions", page=page).get("sessions", [])
        return next(item for item in listed if item["id"] == session_id)

    def add_user(self, name: str, *grants: dict[str, Any], groups: list[str] | None = None) -> Somebody:
        """A user who has signed in once and holds these grants."""
        new = self.administrator.call("AdministrationService/CreateUser", id=name, groups=groups or [])
        for grant in grants:
            self.administrator.call("AdministrationService/GrantRole", grant={"user_id": name, **grant})
        somebody = Somebody(name, f"a long word for {name}", self.gateway, self.folder)
        proof = {"user_id": name, "password": new["initial_password"], "new_password": somebody.password}
        somebody.identity = sign_in(self.gateway, password=proof)
        self.people[name] = somebody
        return somebody

    def add_node(self, name: str, node_id: str, **fields: Any) -> None:
        ssh = {
            "host": self.sshd.host,
            "port": self.sshd.port,
            "login": self.sshd.login,
            "host_keys": [self.sshd.host_key],
            **fields.pop("ssh", {}),
        }
        self.administrator.call(
            "NodeService/AddNode", **{"name": name, "id": node_id, "skip_check": True, **fields, "ssh": ssh}
        )

    @contextlib.contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        """The gateway's database, while it runs."""
        connection = sqlite3.connect(self.gateway.data_dir / "jitgate.db", timeout=10, isolation_level=None)
        try:
            yield connection
        finally:
            connection.close()

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table, to compare, but for the outbox, which follows from events and is swept."""
        with self.database() as database:
            tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return {
                table: sorted(database.execute(f'SELECT * FROM "{table}"'), key=repr)
                for table in tables
                if table != "outbox"
            }

    def settled_rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """The rows once nothing goes on any more: sessions ended, recordings finished, nothing said to wait."""
        wait_for(self._is_settled, 30, "quiet")
        return self.rows()

    def _is_settled(self) -> bool:
        unfinished = "SELECT count(*) FROM {} WHERE {}"
        with self.database() as database:
            (live,) = database.execute(unfinished.format("sessions", "ended_at IS NULL")).fetchone()
            (open_,) = database.execute(
                unfinished.format("recordings", "status IN ('RECORDING', 'UPLOADING')")
            ).fetchone()
            (waiting,) = database.execute("SELECT count(*) FROM uploads").fetchone()
        return not live and not open_ and not waiting

    def is_alive(self) -> bool:
        """The gateway still answers, somebody who is known and somebody new."""
        self.alice.call("IdentityService/WhoAmI")
        with contextlib.closing(
            ReflectedClient(self.gateway.address, self.gateway.ca_file, self.alice.identity)
        ) as fresh:
            fresh.call("IdentityService/WhoAmI")
        return self.gateway.process is not None and self.gateway.process.poll() is None

    def resident_bytes(self) -> int:
        """Memory that the gateway's process holds now."""
        assert self.gateway.process is not None
        status = Path(f"/proc/{self.gateway.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def close(self) -> None:
        for somebody in self.people.values():
            if "client" in somebody.__dict__:
                somebody.client.close()


def sign_in(gateway: GatewayProcess, **proof: Any) -> tuple[bytes, bytes]:
    """Proves somebody with a new key; key and certificate chain, PEM."""
    key, request = new_key()
    with contextlib.closing(ReflectedClient(gateway.sign_in_address, gateway.ca_file)) as anonymous:
        answer = anonymous.call(
            "SignInService/SignIn", certificate_request=base64.b64encode(request).decode(), **proof
        )
    return key, answer["certificate_chain"].encode()


def refusal(call: Any) -> tuple[str, str]:
    """The code and the reason that a call is refused with; ("OK", "") when it is not."""
    try:
        call()
    except grpc.RpcError as error:
        return code_and_reason(error)
    return "OK", ""


def code_and_reason(error: Any) -> tuple[str, str]:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            info = ErrorInfo()
            for detail in Status.FromString(value).details:
                if detail.Unpack(info):
                    return str(error.code().name), info.reason
    return str(error.code().name), ""


def what_to_do(error: Any) -> str:
    """The advice that comes with a refusal."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            info = ErrorInfo()
            for detail in Status.FromString(value).details:
                if detail.Unpack(info):
                    return str(info.metadata.get("what_to_do", ""))
    return ""


@contextlib.contextmanager
def stage(gateway: GatewayProcess, folder: Path) -> Iterator[Stage]:
    """Sets everything up on a gateway that nobody has signed in to."""
    administrator = Somebody("root-admin", "correct horse staple", gateway, folder)
    proof = {
        "code": gateway.administrator_code(),
        "user_id": administrator.id,
        "new_password": administrator.password,
    }
    administrator.identity = sign_in(gateway, administrator_code=proof)
    call = administrator.call
    trust = call("NodeService/GetNodeTrust", login=current_login())
    with running_sshd(folder / "sshd", trust["user_ca"], pam=True) as sshd:
        found = Stage(gateway, folder, sshd, {"administrator": administrator})
        found.add_user("alice", {"role": "ROLE_USER"})
        found.add_user("bob", {"role": "ROLE_APPROVER"})
        found.add_user("carol", {"role": "ROLE_APPROVER"})
        found.add_user("dave", {"role": "ROLE_AUDITOR"})
        found.add_user("erin", {"role": "ROLE_USER", **FAR})
        call("AdministrationService/SetTarget", scope=FAR, enabled=True)
        _furnish(found)
        try:
            yield found
        finally:
            found.close()


def _furnish(found: Stage) -> None:
    principals = [f"{node_id}/{found.sshd.login}" for node_id, _, _ in NODES.values()]
    found.sshd.allow(found.sshd.login, *principals)
    for name, (node_id, tags, scope) in NODES.items():
        found.add_node(name, node_id, tags=tags, scope=scope)
    if plain := unprivileged_login():
        found.sshd.allow(
            plain, *(principals if plain == found.sshd.login else ()), f"{PLAIN_LOGIN_NODE_ID}/{plain}"
        )
        found.add_node(PLAIN_LOGIN_NODE, PLAIN_LOGIN_NODE_ID, tags={"Environment": "dev"}, ssh={"login": plain})
    put = found.administrator.call
    put("PolicyService/PutPolicy", kind="POLICY_KIND_AUTO", text=AUTO)
    put("PolicyService/PutPolicy", kind="POLICY_KIND_AUTO", text=AUTO, scope=FAR)
    put("PolicyService/PutPolicy", kind="POLICY_KIND_MANUAL", text=ONE_LEVEL)
    put("PolicyService/PutPolicy", kind="POLICY_KIND_MANUAL", text=TWO_LEVELS)

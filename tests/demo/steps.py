"""The demo's chapters, in order. Each shows one part of the way, and checks what it shows."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.demo.dialling import node_that_dials, session_that_goes_on
from tests.demo.play import REQUEST_ID, Play, found
from tests.demo.telling import told, told_the_outcome
from tests.processes import wait_for
from tests.sshd import current_login


def cloud(play: Play) -> None:
    if not play.stage.aws:
        return
    play.show.chapter(
        "A bucket and a key",
        "Recordings of this demo go to an S3 bucket, under data keys of KMS. Both are stand-ins on this machine: "
        "rclone serves the bucket from files, moto plays KMS.",
    )
    play.stage.start_cloud()
    shown = {name: value for name, value in play.stage.cloud.environment.items() if name.startswith("JITGATE_")}
    play.show.output("\n".join(f"{name}={value}" for name, value in sorted(shown.items())))
    play.show.remark("With AWS itself the endpoints are left out, and roles are named: docs/aws.md.")


def first_administrator(play: Play) -> None:
    play.show.chapter(
        "The first administrator",
        "A fresh gateway has no user and no default password. Its first start prints a code on the host: one use, "
        "one hour.",
    )
    stage = play.stage
    stage.start_services()
    greeting = stage.start_gateway()
    play.show.command("operator", ("jitgate", "serve"))
    play.show.output(greeting)
    code = found(r"^The code: (\S+)$", greeting)
    play.runs(
        "admin",
        *("login", "--gateway", stage.gateway.sign_in_address, "--ca-fingerprint", stage.gateway.ca_fingerprint()),
        *("--user", "admin", "--administrator-code"),
        stdin=f"{code}\n{stage.passwords['admin']}\n",
        shows=("Signed in as admin",),
    )
    play.show.remark("The code and a new password were asked for. From here on a key and a certificate speak.")
    play.runs("admin", "whoami", shows=("organization administrator",))


def people(play: Play) -> None:
    play.show.chapter("People and roles", "Who asks, who approves, who looks at it later.")
    printed = play.runs("admin", "users", "add", "alice", "--name", "Alice", "--group", "developers")
    _signs_in(play, "alice", printed, seen=True)
    for name, *groups in (("bob", "approvers"), ("carol", "approvers"), ("dave",)):
        options = [word for group in groups for word in ("--group", group)]
        _signs_in(play, name, play.quietly("admin", "users", "add", name, *options), seen=False)
    play.show.remark("bob, carol and dave are added in the same way.")
    play.runs("admin", "roles", "grant", "user", "--group", "developers")
    play.runs("admin", "roles", "grant", "approver", "--group", "approvers")
    play.runs("admin", "roles", "grant", "auditor", "--user", "dave", "--account", "*", "--region", "*")
    play.runs("admin", "users", "list", shows=("alice", "bob", "carol", "dave"))


def nodes(play: Play) -> None:
    play.show.chapter(
        "Nodes",
        "Any OpenSSH server will do. It is told to trust the gateway's certificates for this one node and login.",
    )
    login = current_login()
    tags = {
        "web-1": ("Environment=dev", "Workload=web"),
        "pay-1": ("Environment=dev", "DataClass=payment"),
        "db-1": ("Environment=prod", "Workload=db"),
        "report-1": ("Environment=prod", "DataClass=financial"),
    }
    for name, tagged in tags.items():
        seen = name == "web-1"
        trust = _call(play, seen, "admin", "nodes", "trust", "--login", login)
        node_id, user_ca = found(r"^# node id: (\S+)$", trust), found(r"^(ssh-ed25519 .*)$", trust)
        principal = found(rf"^({node_id}/\S+)$", trust)
        node = play.stage.start_node(name, node_id, user_ca, principal)
        if seen:
            play.show.remark(f"An sshd of this machine is set up so, on port {node.port}, run by {login}.")
        key = play.stage.beside(node.directory / "host_key.pub")
        options = [word for tag in tagged for word in ("--tag", tag)]
        where = (name, f"{node.host}:{node.port}", "--id", node_id, "--login", login, "--host-key", key)
        added = _call(play, seen, "admin", "nodes", "add", *where, *options)
        play.check("✓ shell" in added and "✗" not in added, f"{name} does not pass its checks:\n{added}")
    play.show.remark("The other three likewise, each with its own sshd.")
    play.runs("admin", "nodes", "list", shows=tuple(tags))


def policies(play: Play) -> None:
    play.show.chapter(
        "Policies",
        "What goes at once, what never goes at once, who is asked. A policy that is not valid is refused, "
        "with the text to write instead.",
    )
    folder = play.stage.folder.name
    play.runs(
        "admin",
        *("policies", "validate", f"{folder}/policies/faulty.cedar"),
        shows=('AWS::SSM::Action::"getTokenForInstanceAccess"',),
        exit_code=1,
    )
    play.show.output((play.stage.folder / "policies" / "auto-approval.cedar").read_text())
    play.runs("admin", "policies", "put", f"{folder}/policies/auto-approval.cedar", shows=("version 1",))
    play.runs("admin", "policies", "put", "--deny", f"{folder}/policies/deny-access.cedar", shows=("version 1",))
    for name in ("production", "financial-data", "everything-else"):
        play.runs("admin", "policies", "put", f"{folder}/policies/{name}.yaml", shows=("version 1",))
    play.runs("admin", "policies", "list", shows=("deny-access", "auto-approval", "production"))
    play.runs(
        "admin",
        *("preferences", "set", "--maximum-duration", "120", "--idle-timeout", "30"),
        *("--shell-profile", "export HISTFILE="),
        shows=("strict",),
    )


def auto_approved(play: Play) -> None:
    play.show.chapter("Approved at once", "alice is a developer and web-1 a development node: no human is needed.")
    play.runs(
        "alice",
        *("exec", "web-1", "--reason", "see what runs there", "--", "id -un; uname -srm"),
        shows=("Approved at once", current_login()),
    )
    play.runs("alice", "exec", "web-1", "--", "exit 3", exit_code=3)
    play.show.remark("The window is open for an hour: no reason is asked for again. Exit codes come through.")
    play.runs("alice", "requests", "list", "--mine", shows=("Approved", "web-1"))


def two_levels(play: Play) -> None:
    play.show.chapter("Two levels of approval, by hand", "Production asks bob, then carol; nobody else counts.")
    printed = play.runs(
        "alice",
        *("request", "db-1", "--reason", "slow queries, ticket 4711"),
        shows=("Pending", "level 1 of 2"),
    )
    request_id = play.facts["db-1"] = found(REQUEST_ID, printed)
    play.runs("alice", "approve", request_id, exit_code=4)
    play.runs("bob", "requests", "list", "--for-me", shows=(request_id,))


def decided(play: Play) -> None:
    play.show.chapter("Approved by two, one after the other", "bob first; only then does carol count.")
    request_id = play.facts["db-1"]
    play.runs("bob", "approve", request_id, "--comment", "go ahead", shows=("Pending", "1 of 1"))
    play.runs("carol", "approve", request_id, shows=("Approved",))
    told_the_outcome(play)
    play.show.remark("Now she connects. What she types is what you would.")
    with play.shell("alice", "db-1") as terminal:
        terminal.types('echo "I am $(whoami), on db-1"')
        terminal.sees(f"I am {current_login()}, on db-1")
        terminal.types("exit")
        ended_with = terminal.ends()
        play.show.output(terminal.takes())
    play.check(ended_with == 0, f"the shell ended with {ended_with}")


def denied_yet_approvable(play: Play) -> None:
    play.show.chapter(
        "Denied by deny-access, yet approvable by hand",
        "pay-1 is a development node, so auto-approval would let alice in. The deny-access policy takes that "
        "away, and only that.",
    )
    play.runs(
        "admin",
        *("policies", "explain", "alice", "pay-1"),
        shows=("needs approval", "payment-data-by-hand", "everything-else"),
    )
    printed = play.runs("alice", "request", "pay-1", "--reason", "check a refund", shows=("Pending",))
    play.runs("bob", "approve", found(REQUEST_ID, printed), shows=("Approved",))
    play.runs("alice", "exec", "pay-1", "--", "echo in, with the say of a person", shows=("in, with the say",))


def conflict(play: Play) -> None:
    play.show.chapter(
        "A conflict, explained",
        "report-1 has two tags, and two manual policies each claim one. Nobody guesses: the request fails and "
        "says which policies met.",
    )
    printed = play.runs(
        "alice",
        *("request", "report-1", "--reason", "quarterly numbers"),
        shows=("production", "financial-data", "Environment=prod", "DataClass=financial"),
        exit_code=1,
    )
    play.runs("dave", "requests", "show", found(REQUEST_ID, printed), shows=("Failed", "conflict"), at_most=14)


def recorded(play: Play) -> None:
    play.show.chapter(
        "Recorded, replayed, verified",
        "Every session was recorded, sealed before it was passed on. dave may look; alice may not.",
    )
    session = play.facts["session"] = play.recording(play.facts["db-1"])
    play.runs("alice", "recordings", "list", exit_code=4)
    play.runs("dave", "recordings", "list", shows=(session,))
    play.runs("dave", "recordings", "play", session, "--speed", "100", shows=(f"I am {current_login()}, on db-1",))
    play.runs("dave", "recordings", "verify", session, shows=("intact",))
    if play.stage.aws:
        play.show.remark("The bucket has it, sealed; the key that opens it, KMS opened for dave's look.")
        objects = sorted(play.stage.recordings.glob(f"**/{session}/*"))
        play.show.output("\n".join(f"{path.stat().st_size:>8}  {play.stage.beside(path)}" for path in objects))
        play.check(len(objects) >= 2, "the bucket has no such recording")
        play.runs("admin", "doctor", shows=(f"s3://{play.stage.cloud.bucket}/", play.stage.cloud.key))


def tampered(play: Play) -> None:
    play.show.chapter(
        "One byte changed",
        "Somebody who can write to the store flips one bit of the recording.",
    )
    session = play.facts["session"]
    stored = next(play.stage.recordings.glob(f"**/{session}/*.seg"))
    mode, whole = stored.stat().st_mode, stored.read_bytes()
    place = len(whole) // 2
    changed = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    play.show.note(f"\nflipped a bit of byte {place} of {play.stage.beside(stored)}")
    stored.chmod(0o600)
    stored.write_bytes(changed)
    try:
        play.runs("dave", "recordings", "verify", session, shows=(stored.name,), exit_code=1)
    finally:
        stored.write_bytes(whole)
        stored.chmod(mode)
    play.show.note("\nput it back")
    play.runs("dave", "recordings", "verify", session, shows=("intact",))


def revoked(play: Play) -> None:
    play.show.chapter(
        "A live session, ended",
        "alice works on db-1. bob takes his approval back: her window closes, and so does her session.",
    )
    request_id = play.facts["db-1"]
    with play.shell("alice", "db-1") as terminal:
        terminal.types('echo "still at $(echo work)"')
        terminal.sees("still at work")
        play.show.output(terminal.takes())
        play.runs("bob", "revoke", request_id, "--comment", "the incident is over", shows=("Revoked",))
        terminal.ends()
        read = terminal.takes()
    play.show.note("\nand alice reads, in her terminal:")
    play.show.output(read.strip())
    play.check("revoked by bob: the incident is over" in read, "she does not read who ended it and why")
    # The session's last entry follows its end.
    after = wait_for(lambda: _seconds_to_end(play, request_id), 30, "the session's end in the audit log")
    play.show.remark(f"By the gateway's own clock the session ended {after:.2f} s after the revocation.")
    play.runs("dave", "events", "list", "--subject", request_id, shows=("access_request.revoked",), at_most=6)
    play.runs("alice", "exec", "db-1", "--", "true", exit_code=255)


CHAPTERS: tuple[Callable[[Play], None], ...] = (
    cloud,
    first_administrator,
    people,
    nodes,
    policies,
    auto_approved,
    node_that_dials,
    two_levels,
    told,
    decided,
    denied_yet_approvable,
    conflict,
    recorded,
    tampered,
    session_that_goes_on,
    revoked,
)


def _signs_in(play: Play, name: str, added: str, *, seen: bool) -> None:
    """With the first password, which has to be changed at once."""
    gateway = play.stage.gateway
    first = found(r"^First password.*: (\S+)$", added)
    login = ("login", "--gateway", gateway.sign_in_address, "--ca-fingerprint", gateway.ca_fingerprint())
    stdin = f"{first}\n{play.stage.passwords[name]}\n"
    if seen:
        play.runs(name, *login, "--user", name, stdin=stdin, shows=(f"Signed in as {name}",))
    else:
        play.quietly(name, *login, "--user", name, stdin=stdin)


def _call(play: Play, seen: bool, who: str, *arguments: str | Path) -> str:
    return play.runs(who, *arguments) if seen else play.quietly(who, *arguments)


def _seconds_to_end(play: Play, request_id: str) -> float | None:
    """From the revocation to the end of the session that it ended."""
    [session] = play.json("dave", "sessions", "list", "--request", request_id, "--limit", "1")["sessions"]
    if not session.get("ended_at"):
        return None
    events: list[Any] = play.json("dave", "events", "list", "--subject", request_id)["events"]
    revoked_at = next(event["at"] for event in events if event["type"] == "access_request.revoked")
    return (_moment(session["ended_at"]) - _moment(revoked_at)).total_seconds()


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)

"""What people wait for in the life of a session, and what many sessions cost."""

import re
import string
import threading
import time
from math import ceil
from pathlib import Path
from statistics import median

from jitgate.v1.access_pb2 import (
    ACCESS_REQUEST_STATUS_PENDING,
    ListAccessRequestsRequest,
    ListAccessRequestsResponse,
)
from tests.bench.figure import Cpu, Figure
from tests.bench.fleet import Fleet, Way, others
from tests.bench.terminal import PROMPT, Terminal
from tests.bench.upstream import running_upstream
from tests.bench.world import (
    ASKED_NODE,
    NODE,
    World,
    approve,
    call,
    profile_of,
    request_access,
    revoke,
    running_world,
    take_token,
)
from tests.processes import BIN
from tests.sshd import current_login

REVOKED = 100
APPROVED = 40
TYPISTS = 150
KEYS_A_SECOND = 10
TYPING_SECONDS = 12.0
IDLE = 1000
SETTLING_SECONDS = 3.0
CLIENTS = 32
ASKING_SECONDS = 8.0
ECHO_NODE_ID = "mi-00000000000000003"


def rows() -> dict[str, Figure]:
    """By name."""
    with running_world() as world:
        figures = {
            "session.revoke_to_end_p99_ms": p99(revoke_to_end(world)),
            "session.approval_to_usable_p99_ms": p99(approval_to_usable(world)),
            "session.typing_150_p99_ms": typing(world),
            "requests.per_second_sqlite": Figure(requests_a_second(world), "1/s"),
        }
    principal = f"{ECHO_NODE_ID}/{current_login()}"
    with running_world() as world, running_upstream(world.user_ca, principal) as (port, key):
        world.add_node("echo", ECHO_NODE_ID, "bench", port, key, "--skip-check")
        figures["session.idle_1000_kib"] = Figure(idle_kib(world), "KiB")
    return figures


def p99(samples: list[float]) -> Figure:
    """The smallest that 99 of 100 do not exceed."""
    in_order = sorted(samples)
    where = f"of {len(in_order)}: median {median(in_order):.1f}, longest {in_order[-1]:.1f} ms"
    return Figure(in_order[ceil(len(in_order) * 0.99) - 1], "ms", where)


def revoke_to_end(world: World) -> list[float]:
    """Milliseconds from the answer to a revocation to the end of the call of its session, others going on."""
    alice, bob = world.channel(world.alice), world.channel(world.bob)
    requests = []
    for _ in range(REVOKED):
        requests.append(request_access(alice, ASKED_NODE).id)
        approve(bob, requests[-1])
    samples = []
    with Fleet() as fleet:
        profile = profile_of(world.alice)
        fleet.open([Way(profile, ASKED_NODE, take_token(alice, each)) for each in requests])
        for request, session in zip(requests, fleet.sessions, strict=True):
            revoke(bob, request)
            answered = time.perf_counter()
            while not session.call.ended:
                session.call.receive()
            samples.append((time.perf_counter() - answered) * 1000)
    return samples


def approval_to_usable(world: World) -> list[float]:
    """Milliseconds from the answer to the approval to the prompt of the `jit shell` that waits for it."""
    alice, bob = world.channel(world.alice), world.channel(world.bob)
    command: list[str | Path] = [BIN / "jit", "shell", ASKED_NODE, "--reason", "to measure"]
    samples = []
    for _ in range(APPROVED):
        with Terminal(command, world.alice.environment) as terminal:
            terminal.read_until(re.compile(rb"Ctrl-C"))
            statuses = [ACCESS_REQUEST_STATUS_PENDING]
            wanted = ListAccessRequestsRequest(mine=True, node=ASKED_NODE, statuses=statuses)
            [pending] = call(alice, "Access/ListAccessRequests", wanted, ListAccessRequestsResponse).requests
            time.sleep(0.3)  # nobody approves what was asked for in the same moment
            approve(bob, pending.id)
            answered = time.perf_counter()
            terminal.read_until(PROMPT)
            samples.append((time.perf_counter() - answered) * 1000)
        revoke(bob, pending.id)
    return samples


def typing(world: World) -> Figure:
    """Milliseconds from key to echo, in many recorded sessions at once on a real sshd."""
    assert world.gateway.process is not None
    alice = world.channel(world.alice)
    token = take_token(alice, request_access(alice, NODE).id)
    samples = []
    with Fleet() as fleet:
        fleet.open([Way(profile_of(world.alice), NODE, token)] * TYPISTS)
        typed = [0.0] * TYPISTS
        interval = 1 / KEYS_A_SECOND / TYPISTS
        began = time.perf_counter() + 0.5
        keys = int(TYPING_SECONDS / interval)
        number = 0
        spent = Cpu(world.gateway.process.pid)
        while number < keys:
            due = began + number * interval
            now = time.perf_counter()
            if now >= due:
                who = number % TYPISTS
                typed[who] = now
                fleet.sessions[who].put_input(string.ascii_lowercase[number % 26].encode())
                number += 1
                continue
            for who, frame in fleet.frames(due - now):
                if frame.HasField("data"):
                    samples.append((time.perf_counter() - typed[who]) * 1000)
        loop, others = (each / keys * 1e6 for each in spent.spent())
    figure = p99(samples)
    where = f"{figure.where}; gateway's CPU a key: event loop {loop:.0f}, gRPC's threads {others:.0f} µs"
    return figure._replace(where=where)


def idle_kib(world: World) -> float:
    """KiB of resident memory of the gateway a session that is open, recorded, and does nothing."""
    alice = world.channel(world.alice)
    token = take_token(alice, request_access(alice, "echo").id)
    with others(world.alice, "echo", token, 16):  # makes whatever is made once
        before = _resident_kib(world)
        with others(world.alice, "echo", token, IDLE):
            time.sleep(SETTLING_SECONDS)
            return (_resident_kib(world) - before) / IDLE


def _resident_kib(world: World) -> int:
    assert world.gateway.process is not None
    status = Path(f"/proc/{world.gateway.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1])


def requests_a_second(world: World) -> float:
    """Access requests that are decided and durable, a second, asked for by several clients at once."""
    done = [0] * CLIENTS
    stop = threading.Event()

    def ask(number: int) -> None:
        channel = world.channel(world.alice)
        while not stop.is_set():
            request_access(channel, NODE)
            done[number] += 1
        channel.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    before, began = sum(done), time.perf_counter()
    time.sleep(ASKING_SECONDS)
    rate = (sum(done) - before) / (time.perf_counter() - began)
    stop.set()
    for thread in threads:
        thread.join()
    return rate

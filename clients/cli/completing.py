"""What only the gateway knows, for completion in shells: names of nodes, ids of access requests.

Someone waits between two keys, and the answer goes to a shell that evaluates it. So all of it takes two seconds at
most, a failure is no words at all, and only words of harmless characters are passed on.
"""

import contextlib
import os
import re
import threading
from collections.abc import Callable

import typer

from clients.cli.gateway import gateway
from clients.cli.wire.channel import Channel
from jitgate.v1 import access_pb2 as access
from jitgate.v1 import node_pb2 as node

Words = list[tuple[str, str]]
"""Each with a short explanation, for shells that show one; "" for none."""

SECONDS = 2.0
MOST_NODES = 200
MOST_REQUESTS = 100
_HARMLESS = re.compile(r"[A-Za-z0-9._-]*")


def node_names(ctx: typer.Context, incomplete: str) -> Words:
    """Nodes whose name begins like that, of the account and Region that the line names so far."""
    wanted = node.ListNodesRequest()
    if incomplete:
        wanted.filters.append(f"name={incomplete}*")
    wanted.page.size = MOST_NODES
    account, region = ctx.params.get("account") or "", ctx.params.get("region") or ""
    if account or region:
        wanted.scope.account, wanted.scope.region = account, region

    def ask(channel: Channel) -> Words:
        path = "/jitgate.v1.NodeService/ListNodes"
        return [(each.name, "") for each in channel.unary(path, wanted, node.ListNodesResponse, SECONDS).nodes]

    return _asked(ctx, incomplete, ask)


def request_ids(ctx: typer.Context, incomplete: str) -> Words:
    """The newest access requests that the user may see and whose id begins like that, with their node."""
    wanted = access.ListAccessRequestsRequest()
    wanted.page.size = MOST_REQUESTS

    def ask(channel: Channel) -> Words:
        path = "/jitgate.v1.AccessService/ListAccessRequests"
        found = channel.unary(path, wanted, access.ListAccessRequestsResponse, SECONDS).requests
        return [(each.id, each.node_name) for each in found]

    return _asked(ctx, incomplete, ask)


def _asked(ctx: typer.Context, incomplete: str, ask: Callable[[Channel], Words]) -> Words:
    if not _HARMLESS.fullmatch(incomplete):
        return []
    if profile := ctx.find_root().params.get("profile"):
        os.environ["JIT_PROFILE"] = profile
    found: Words = []

    def run() -> None:
        # Whatever goes wrong, this is not the place to say it.
        with contextlib.suppress(Exception), gateway() as channel:
            found.extend(ask(channel))

    # Names are looked up and connections made without a limit that could be set: so nobody waits for the thread.
    asking = threading.Thread(target=run, daemon=True)
    asking.start()
    asking.join(SECONDS)
    return [
        (word, what if _HARMLESS.fullmatch(what) else "")
        for word, what in list(found)
        if word.startswith(incomplete) and _HARMLESS.fullmatch(word)
    ]

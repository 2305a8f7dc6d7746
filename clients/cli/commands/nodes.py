"""`jit nodes`: the registry."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from clients.cli import completing, inventory, view
from clients.cli.asking import confirm
from clients.cli.commands.parameters import (
    ADMINISTRATION,
    Account,
    Node,
    Output,
    Region,
    Yes,
    printed,
    set_scope,
    split_pairs,
)
from clients.cli.errors import REFUSED, USAGE, Failure
from clients.cli.gateway import gateway, listing
from clients.cli.view import Format
from clients.cli.wire.channel import split_address
from jitgate.v1 import node_pb2 as node

nodes = typer.Typer(help="The nodes that access can be requested for.", no_args_is_help=True)
SERVICE = "/jitgate.v1.NodeService"

Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="KEY=VALUE", help="A tag; may be repeated.")]
Keys = Annotated[
    list[str] | None,
    typer.Option("--host-key", metavar="FILE|LINE", help="Its public host key: a .pub file or the line itself."),
]
Authorities = Annotated[
    list[str] | None,
    typer.Option("--host-ca", metavar="FILE|LINE", help="The CA that signs its host certificate."),
]
Login = Annotated[
    str, typer.Option("--login", metavar="NAME", help="Login on the node; default: session preferences.")
]


def add_to(app: typer.Typer) -> None:
    app.add_typer(nodes, name="nodes", rich_help_panel=ADMINISTRATION)


class Listing(StrEnum):
    """How nodes are listed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


@nodes.command("list")
def list_(
    filters: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILTER…",
            help="name=web-*, tag:Environment=prod, tag:Owner, platform=…, connected=false, unseen=7d; all must "
            "hold. Every column of the CSV is a name to filter by.",
        ),
    ] = None,
    account: Account = "",
    region: Region = "",
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=0, help="How many to show at most; 0 for all. Default: 100, of CSV all."),
    ] = None,
    output: Annotated[
        Listing,
        typer.Option("--output", help="For people, scripts or sheets.", envvar="JIT_OUTPUT", show_envvar=False),
    ] = Listing.TABLE,
) -> None:
    """Show the nodes, or export them: --output csv has a column for each property and each tag."""
    wanted = node.ListNodesRequest(filters=filters)
    set_scope(wanted, account, region)
    if limit is None:
        limit = 0 if output is Listing.CSV else 100
    with gateway() as channel:
        answer = listing(channel, f"{SERVICE}/ListNodes", wanted, node.ListNodesResponse, limit)
    if output is Listing.JSON:
        view.print_json(answer)
        return
    if output is Listing.CSV:
        inventory.write(answer.nodes, sys.stdout.buffer)
    else:
        rows = [
            (item.name, item.id, _address(item), view.pairs(item.tags.items()), _state(item), _where(item))
            for item in answer.nodes
        ]
        view.print_table(("name", "id", "address", "tags", "state", "where"), rows, "There are no such nodes.")
    view.note_more(answer.next_page_token)


@nodes.command()
def show(name: Node, account: Account = "", region: Region = "", output: Output = Format.TABLE) -> None:
    """Show all that is known of a node."""
    wanted = node.GetNodeRequest(node=name)
    set_scope(wanted, account, region)
    with gateway() as channel:
        answer = channel.unary(f"{SERVICE}/GetNode", wanted, node.GetNodeResponse)
    if printed(answer, output):
        return
    item = answer.node
    view.print_facts(
        [
            ("name", item.name),
            ("id", item.id),
            ("where", _where(item)),
            ("tags", view.pairs(item.tags.items())),
            ("address", _address(item)),
            ("login", item.ssh.login or "from the session preferences"),
            ("state", _state(item)),
            ("added", view.moment(item.created_at)),
            *((f"its {key}", value) for key, value in sorted(item.properties.items())),
            *(("host key", key) for key in item.ssh.host_keys),
            *(("host CA", key) for key in item.ssh.host_cas),
        ]
    )


@nodes.command()
def add(
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="How people will call it.")],
    address: Annotated[
        str, typer.Argument(metavar="HOST[:PORT]", help="Where its sshd listens, seen from the gateway.")
    ],
    tag: Tags = None,
    login: Login = "",
    host_key: Keys = None,
    host_ca: Authorities = None,
    trust_on_first_use: Annotated[
        bool,
        typer.Option("--trust-on-first-use", help="Take the host key that it shows. Safe only on a safe network."),
    ] = False,
    skip_check: Annotated[
        bool, typer.Option("--skip-check", help="Store it even if it can't be reached yet.")
    ] = False,
    node_id: Annotated[str, typer.Option("--id", metavar="ID", help="An id given elsewhere: i-… or mi-….")] = "",
    yes: Yes = False,
    account: Account = "",
    region: Region = "",
    output: Output = Format.TABLE,
) -> None:
    """Add an OpenSSH server: prints what its sshd must be told, then checks that it took effect."""
    endpoint = _endpoint(address, login, host_key, host_ca)
    if not (endpoint.host_keys or endpoint.host_cas or trust_on_first_use):
        advice = f"Give --host-key with its key (ssh-keyscan {endpoint.host} shows it), or --trust-on-first-use."
        raise Failure("how is the node to be recognized?", advice, USAGE)
    wanted = node.AddNodeRequest(
        name=name,
        ssh=endpoint,
        tags=split_pairs(tag or [], "tag"),
        trust_on_first_use=trust_on_first_use,
        skip_check=skip_check,
    )
    set_scope(wanted, account, region)
    with gateway() as channel:
        wanted.id = node_id
        if not node_id and not skip_check:
            wanted.id = _prepare(channel, account, region, login, yes=yes)
        answer = channel.unary(f"{SERVICE}/AddNode", wanted, node.AddNodeResponse)
    if printed(answer, output):
        return
    passed = _show_checks(list(answer.checks))
    view.say(f"Added {answer.node.name} ({answer.node.id}).")
    for key in answer.node.ssh.host_keys if trust_on_first_use else ():
        view.note(f"Trusted on first use: {key}")
    if not passed:
        raise typer.Exit(REFUSED)


def _prepare(channel: object, account: str, region: str, login: str, *, yes: bool) -> str:
    """Shows what the node's sshd must be told and waits for it to be done; the id that the node will have."""
    trust = _get_trust(channel, "", account, region, login)
    view.note(Text("On the node, before it can be checked:", style="bold"))
    _show_trust(trust, note=True)
    if not yes and sys.stdin.isatty():
        from clients.cli.asking import ask

        ask("Press Enter when that is done: ")
    return trust.node_id


@nodes.command()
def update(
    *,
    name: Node,
    tag: Tags = None,
    remove_tag: Annotated[list[str] | None, typer.Option(metavar="KEY", help="A tag to remove.")] = None,
    address: Annotated[str, typer.Option(metavar="HOST[:PORT]", help="Its new address.")] = "",
    login: Login = "",
    host_key: Keys = None,
    host_ca: Authorities = None,
    account: Account = "",
    region: Region = "",
    output: Output = Format.TABLE,
) -> None:
    """Change a node's tags or where and how it is reached. Pending requests are decided anew on changed tags."""
    wanted = node.UpdateNodeRequest(node=name, set_tags=split_pairs(tag or [], "tag"), remove_tags=remove_tag)
    set_scope(wanted, account, region)
    with gateway() as channel:
        if address or login or host_key or host_ca:
            # The endpoint is replaced as a whole: start from what it is.
            before = node.GetNodeRequest(node=name)
            set_scope(before, account, region)
            wanted.ssh.CopyFrom(channel.unary(f"{SERVICE}/GetNode", before, node.GetNodeResponse).node.ssh)
            _merge(wanted.ssh, _endpoint(address or _address_of(wanted.ssh), login, host_key, host_ca))
        answer = channel.unary(f"{SERVICE}/UpdateNode", wanted, node.UpdateNodeResponse)
    if not printed(answer, output):
        view.say(f"Updated {answer.node.name}: {view.pairs(answer.node.tags.items()) or 'no tags'}")


@nodes.command()
def tag(
    name: Node,
    tags: Annotated[list[str], typer.Argument(metavar="KEY=VALUE…", help="Tags to set; KEY- removes one.")],
    account: Account = "",
    region: Region = "",
    output: Output = Format.TABLE,
) -> None:
    """Set and remove tags: jit nodes tag web-1 Environment=prod Owner-"""
    removed = [item[:-1] for item in tags if item.endswith("-") and "=" not in item]
    kept = [item for item in tags if not (item.endswith("-") and "=" not in item)]
    update(name=name, tag=kept, remove_tag=removed, account=account, region=region, output=output)


@nodes.command()
def remove(name: Node, yes: Yes = False, account: Account = "", region: Region = "") -> None:
    """Remove a node for good: windows and sessions on it end, its id is never used again."""
    confirm(f"Remove {name} for good and end the sessions on it?", sure=yes)
    wanted = node.RemoveNodeRequest(node=name)
    set_scope(wanted, account, region)
    with gateway() as channel:
        channel.unary(f"{SERVICE}/RemoveNode", wanted, node.RemoveNodeResponse)
    view.say(f"Removed {name}.")


@nodes.command()
def check(name: Node, account: Account = "", region: Region = "", output: Output = Format.TABLE) -> None:
    """Dial a node and show step by step what works. Exit code 1: something does not."""
    wanted = node.CheckNodeRequest(node=name)
    set_scope(wanted, account, region)
    with gateway() as channel:
        answer = channel.unary(f"{SERVICE}/CheckNode", wanted, node.CheckNodeResponse)
    if not printed(answer, output):
        _show_checks(list(answer.checks))
    if not all(step.passed for step in answer.checks):
        raise typer.Exit(REFUSED)


@nodes.command()
def trust(
    name: Annotated[
        str,
        typer.Argument(
            metavar="[NODE]",
            help="A node; none for one that is still to be added.",
            autocompletion=completing.node_names,
        ),
    ] = "",
    login: Login = "",
    account: Account = "",
    region: Region = "",
    output: Output = Format.TABLE,
) -> None:
    """Print what a node's sshd must be told so that it trusts this gateway, and nobody else through it."""
    with gateway() as channel:
        answer = _get_trust(channel, name, account, region, login)
    if not printed(answer, output):
        _show_trust(answer, note=False)


def _get_trust(channel: object, name: str, account: str, region: str, login: str) -> node.GetNodeTrustResponse:
    from clients.cli.wire.channel import Channel

    assert isinstance(channel, Channel)
    wanted = node.GetNodeTrustRequest(node=name, login=login)
    set_scope(wanted, account, region)
    return channel.unary(f"{SERVICE}/GetNodeTrust", wanted, node.GetNodeTrustResponse)


def _show_trust(trust: node.GetNodeTrustResponse, *, note: bool) -> None:
    tell = view.note if note else view.say
    tell(f"# node id: {trust.node_id}")
    for title, text in (
        ("user CA, the file of TrustedUserCAKeys", trust.user_ca),
        ("principals, the file of AuthorizedPrincipalsFile", trust.principals),
        ("lines for sshd_config", trust.sshd_config),
    ):
        tell(f"# {title}:")
        tell(text.rstrip("\n"))


def _show_checks(checks: list[node.NodeCheck]) -> bool:
    for step in checks:
        view.say(view.finding(step.step, step.message, passed=step.passed))
        if not step.passed and step.what_to_do:
            view.say(f"  {step.what_to_do}")
    return all(step.passed for step in checks)


def _endpoint(address: str, login: str, keys: list[str] | None, authorities: list[str] | None) -> node.SshEndpoint:
    try:
        host, port = split_address(address)
    except ValueError:
        host, port = address, 0
    return node.SshEndpoint(
        host=host, port=port, login=login, host_keys=_key_lines(keys), host_cas=_key_lines(authorities)
    )


def _key_lines(given: list[str] | None) -> list[str]:
    lines: list[str] = []
    for item in given or ():
        if " " in item.strip():
            lines.append(item.strip())
            continue
        try:
            text = Path(item).read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            advice = "Give a .pub file, or the line itself in quotes: 'ssh-ed25519 AAAA…'"
            raise Failure(f"{item} is neither a public key nor a file with one", advice, USAGE) from None
        lines += [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return lines


def _merge(endpoint: node.SshEndpoint, given: node.SshEndpoint) -> None:
    endpoint.host, endpoint.port = given.host, given.port
    endpoint.login = given.login or endpoint.login
    if given.host_keys or given.host_cas:
        del endpoint.host_keys[:], endpoint.host_cas[:]
        endpoint.host_keys.extend(given.host_keys)
        endpoint.host_cas.extend(given.host_cas)


def _address(item: node.Node) -> str:
    return _address_of(item.ssh) or item.connector


def _address_of(endpoint: node.SshEndpoint) -> str:
    """Empty for a node that dials the gateway."""
    if not endpoint.host:
        return ""
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return f"{host}:{endpoint.port or 22}"


def _state(item: node.Node) -> str:
    if item.locked:
        return f"locked: {item.lock_reason}"
    if item.connector == "agent":
        seen = f"seen {view.relative(item.last_seen_at)}" if item.last_seen_at.seconds else "never seen"
        return "connected" if item.connected else f"not connected, {seen}"
    return f"seen {view.relative(item.last_seen_at)}" if item.last_seen_at.seconds else "not seen yet"


def _where(item: node.Node) -> str:
    return f"{item.scope.account or 'default'}/{item.scope.region or 'default'}"

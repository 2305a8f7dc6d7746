"""`jit activations`: inviting nodes that join by themselves (R33)."""

from typing import Annotated

import typer
from rich.text import Text

from clients.cli import view
from clients.cli.asking import confirm
from clients.cli.commands.parameters import (
    ADMINISTRATION,
    Account,
    Limit,
    Output,
    Region,
    Yes,
    printed,
    set_scope,
    split_pairs,
)
from clients.cli.gateway import gateway, listing
from clients.cli.view import Format
from jitgate.v1 import activation_pb2 as activation

activations = typer.Typer(help="Invitations for nodes that join by themselves.", no_args_is_help=True)
SERVICE = "/jitgate.v1.ActivationService"

Id = Annotated[str, typer.Argument(metavar="ID", help="Activation, act-….")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(activations, name="activations", rich_help_panel=ADMINISTRATION)


@activations.command()
def create(
    *,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What nodes are called; a number follows where it is taken.")
    ],
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="KEY=VALUE", help="A tag that every node gets.")
    ] = None,
    login: Annotated[
        str, typer.Option("--login", metavar="NAME", help="Login of sessions; default: session preferences.")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many nodes may register.")] = 1,
    hours: Annotated[int, typer.Option("--hours", min=1, max=720, help="How long it works.")] = 24,
    account: Account = "",
    region: Region = "",
    output: Output = Format.TABLE,
) -> None:
    """Make an activation. Its code is shown this once."""
    wanted = activation.CreateActivationRequest(
        default_name=name,
        tags=split_pairs(tag or [], "tag"),
        login=login,
        registration_limit=limit,
        hours=hours,
    )
    set_scope(wanted, account, region)
    with gateway() as channel:
        answer = channel.unary(f"{SERVICE}/CreateActivation", wanted, activation.CreateActivationResponse)
    if printed(answer, output):
        return
    made = answer.activation
    view.print_facts(
        [
            ("activation", made.id),
            ("code", answer.code),
            ("works until", view.moment(made.expires_at)),
            ("for nodes", str(made.registration_limit)),
        ]
    )
    view.note(Text("The code is not shown again. On the node, which asks for it:", style="bold"))
    view.note(
        f"  jitgate-agent register --gateway HOST:PORT --ca-fingerprint sha256:… --activation-id {made.id}\n"
        "HOST:PORT and fingerprint are those of jit login."
    )


@activations.command("list")
def list_(account: Account = "", region: Region = "", limit: Limit = 100, output: Output = Format.TABLE) -> None:
    """Show the activations, used up and expired ones as well."""
    wanted = activation.ListActivationsRequest()
    set_scope(wanted, account, region)
    with gateway() as channel:
        path = f"{SERVICE}/ListActivations"
        answer = listing(channel, path, wanted, activation.ListActivationsResponse, limit)
    if printed(answer, output):
        return
    rows = [
        (
            item.id,
            item.default_name,
            view.pairs(item.tags.items()),
            f"{item.registrations} of {item.registration_limit}",
            view.relative(item.expires_at),
            item.created_by,
            f"{item.scope.account or 'default'}/{item.scope.region or 'default'}",
        )
        for item in answer.activations
    ]
    columns = ("id", "name", "tags", "registered", "expires", "by", "where")
    view.print_table(columns, rows, "There are no activations.")
    view.note_more(answer.next_page_token)


@activations.command()
def delete(name: Id, yes: Yes = False) -> None:
    """Let nobody register with an activation any more. Nodes that did stay."""
    confirm(f"Delete {name}?", sure=yes)
    with gateway() as channel:
        path = f"{SERVICE}/DeleteActivation"
        channel.unary(path, activation.DeleteActivationRequest(id=name), activation.DeleteActivationResponse)
    view.say(f"Deleted {name}.")

"""`jit scim`: tokens that identity providers keep the directory fresh with (R31)."""

from typing import Annotated

import typer
from rich.text import Text

from clients.cli import view
from clients.cli.asking import confirm
from clients.cli.commands.parameters import ADMINISTRATION, Output, Yes, printed
from clients.cli.gateway import gateway
from clients.cli.view import Format
from jitgate.v1 import scim_pb2 as scim

tokens = typer.Typer(help="Tokens of identity providers that provision by SCIM.", no_args_is_help=True)
SERVICE = "/jitgate.v1.ScimService"


def add_to(app: typer.Typer) -> None:
    app.add_typer(tokens, name="scim", rich_help_panel=ADMINISTRATION)


@tokens.command()
def create(
    *,
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="Its name in the gateway's configuration.")],
    days: Annotated[int, typer.Option("--days", min=1, max=1095, help="How long it works.")] = 365,
    output: Output = Format.TABLE,
) -> None:
    """Make a token for an identity provider. It is shown this once."""
    wanted = scim.CreateScimTokenRequest(provider=provider, days=days)
    with gateway() as channel:
        answer = channel.unary(f"{SERVICE}/CreateScimToken", wanted, scim.CreateScimTokenResponse)
    if printed(answer, output):
        return
    made = answer.scim_token
    view.print_facts(
        [
            ("id", made.id),
            ("token", answer.token),
            ("works until", view.moment(made.expires_at)),
            ("speaks for", made.issuer),
        ]
    )
    view.note(Text("The token is not shown again. Enter it at the provider, with the address", style="bold"))
    view.note("  https://HOST[:PORT]/scim/v2\nwhere HOST is that of the gateway's pages (http.public_url).")


@tokens.command("list")
def list_(output: Output = Format.TABLE) -> None:
    """Show the tokens, expired ones as well, and when each provider was last heard of."""
    with gateway() as channel:
        path = f"{SERVICE}/ListScimTokens"
        answer = channel.unary(path, scim.ListScimTokensRequest(), scim.ListScimTokensResponse)
    if printed(answer, output):
        return
    rows = [
        (
            item.id,
            item.provider,
            item.issuer,
            view.relative(item.expires_at),
            view.relative(item.last_used_at) if item.HasField("last_used_at") else "never",
            item.created_by,
        )
        for item in answer.scim_tokens
    ]
    view.print_table(("id", "provider", "issuer", "expires", "last used", "by"), rows, "There are no tokens.")


@tokens.command()
def delete(name: Annotated[str, typer.Argument(metavar="ID", help="Token, scim-….")], yes: Yes = False) -> None:
    """Let a token work no more. With a provider's last one, sign-ins tell the groups of its people again."""
    confirm(f"Delete {name}?", sure=yes)
    with gateway() as channel:
        path = f"{SERVICE}/DeleteScimToken"
        channel.unary(path, scim.DeleteScimTokenRequest(id=name), scim.DeleteScimTokenResponse)
    view.say(f"Deleted {name}.")

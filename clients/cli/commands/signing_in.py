"""`jit login`, `jit logout`, `jit whoami`. What only these need they load themselves: a seventh of a start."""

from pathlib import Path
from typing import Annotated

import typer

from clients.cli import view
from clients.cli.commands.parameters import SIGN_IN, Output, printed
from clients.cli.commands.roles import grant_words
from clients.cli.errors import USAGE, Failure
from clients.cli.gateway import gateway
from clients.cli.view import Format
from jitgate.v1 import identity_pb2 as identity


def add_to(app: typer.Typer) -> None:
    app.command(rich_help_panel=SIGN_IN)(login)
    app.command(rich_help_panel=SIGN_IN)(logout)
    app.command(rich_help_panel=SIGN_IN)(whoami)


def login(
    *,
    address: Annotated[
        str,
        typer.Option("--gateway", metavar="HOST:PORT", help="The gateway's sign-in address. Kept for next time."),
    ] = "",
    user: Annotated[str, typer.Option("--user", "-u", metavar="ID", help="Who you are. Kept for next time.")] = "",
    ca_file: Annotated[Path | None, typer.Option(help="Trust the gateway by the CA in this PEM file.")] = None,
    ca_fingerprint: Annotated[
        str, typer.Option(metavar="sha256:…", help="Trust the gateway by its CA's fingerprint.")
    ] = "",
    code: Annotated[
        bool, typer.Option("--administrator-code", help="Sign in with the code that the first start printed.")
    ] = False,
    new_password: Annotated[bool, typer.Option("--new-password", help="Change the password, too.")] = False,
    provider: Annotated[
        str, typer.Option(metavar="NAME", help="Sign in at this identity provider. Kept for next time.")
    ] = "",
    browser: Annotated[
        bool, typer.Option("--browser", help="At the provider, in a browser on this machine.")
    ] = False,
    device: Annotated[
        bool, typer.Option("--device", help="At the provider, in a browser anywhere, with a code.")
    ] = False,
    output: Output = Format.TABLE,
) -> None:
    """Sign in: makes a new key here and has it certified for at most 12 hours.

    Where the gateway knows an identity provider, signs in there: in the browser on a desktop, with a code that you
    type into a browser elsewhere. With --user it asks for the password of a local user, or reads it from standard
    input where that is no terminal: a line each for the password or the code, and for the new password where one
    is due.
    """
    if browser and device:
        raise Failure("--browser and --device are two ways", "Take one of them.", USAGE)
    from clients.cli import providers, signin

    way = providers.BROWSER if browser else providers.DEVICE if device else ""
    wanted = signin.Wanted(
        address,
        user,
        ca_file,
        ca_fingerprint,
        by_code=code,
        new_password=new_password,
        provider=provider,
        way=way,
    )
    answer = signin.sign_in(wanted)
    answer.ClearField("certificate_chain")
    if printed(answer, output):
        return
    view.say(f"Signed in as {answer.identity.user_id} until {view.moment(answer.expires_at)}.")


def logout() -> None:
    """Forget the sign-in: removes its key, certificate and tokens from this machine.

    Where you signed in at an identity provider, opens the page that ends your session there, or names it.
    """
    from clients.cli import providers, signin

    sign_out_url = signin.forget()
    view.say("Signed out.")
    if sign_out_url and not providers.open_in_browser(sign_out_url):
        view.note(f"To sign out at the identity provider, too, open\n  {sign_out_url}")


def whoami(output: Output = Format.TABLE) -> None:
    """Show who you are to the gateway and what you may do."""
    with gateway() as channel:
        path = "/jitgate.v1.IdentityService/WhoAmI"
        answer = channel.unary(path, identity.WhoAmIRequest(), identity.WhoAmIResponse)
    if printed(answer, output):
        return
    who = answer.identity
    expires = answer.certificate_expires_at
    view.print_facts(
        [
            ("user", who.user_id),
            ("name", who.display_name),
            ("groups", ", ".join(who.groups)),
            ("roles", "; ".join(grant_words(grant) for grant in who.roles) or "none"),
            ("signed in", f"until {view.moment(expires)} ({view.relative(expires)})"),
            ("gateway", f"{channel.address}, version {answer.gateway_version}"),
        ]
    )

"""`jit notices` and `jit contacts`: what people are still to be told, and where they can be reached (R30)."""

from typing import Annotated

import typer

from clients.cli import view
from clients.cli.asking import confirm
from clients.cli.commands.parameters import ADMINISTRATION, SIGN_IN, Output, Yes, printed
from clients.cli.gateway import gateway
from clients.cli.view import Format
from jitgate.v1 import notice_pb2 as notice

notices = typer.Typer(help="What people and other systems are still to be told.", no_args_is_help=True)
contacts = typer.Typer(help="Where people can be reached.", no_args_is_help=True)
_HOW = {"slack": "as a message to it, or after /jitgate", "teams": "as a message to it"}
SERVICE = "/jitgate.v1.NoticeService"

User = Annotated[str, typer.Argument(metavar="USER", help="A user's id.")]
KindOf = Annotated[str, typer.Argument(metavar="KIND", help="The kind of channel, such as email.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Of jit notices list.")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(notices, name="notices", rich_help_panel=ADMINISTRATION)
    app.add_typer(contacts, name="contacts", rich_help_panel=ADMINISTRATION)
    app.command(rich_help_panel=SIGN_IN)(link)
    app.command(rich_help_panel=SIGN_IN)(unlink)


@notices.command("list")
def list_(
    given_up: Annotated[bool, typer.Option("--given-up", help="Only what is not tried any more.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Show what waits, and what was given up and why."""
    found = notice.ListNoticesResponse()
    with gateway() as channel:
        while True:
            wanted = notice.ListNoticesRequest(given_up_only=given_up)
            wanted.page.token = found.next_page_token
            answer = channel.unary(f"{SERVICE}/ListNotices", wanted, notice.ListNoticesResponse)
            found.notices.extend(answer.notices)
            found.next_page_token = answer.next_page_token
            if not answer.next_page_token:
                break
    if printed(found, output):
        return
    rows = [
        (
            item.id,
            item.channel,
            item.kind,
            item.subject,
            item.recipient,
            "given up" if item.given_up else view.relative(item.due_at),
            str(item.attempts),
            item.last_error,
        )
        for item in found.notices
    ]
    columns = ("id", "channel", "what", "about", "for", "next try", "tries", "why not yet")
    view.print_table(columns, rows, "Nothing waits, and nothing was given up.")


@notices.command()
def retry(ids: Ids = None) -> None:
    """Try what was given up again; without an ID, all of it. Requests for decisions that came since go away."""
    with gateway() as channel:
        wanted = notice.RetryNoticesRequest(ids=ids or ())
        answer = channel.unary(f"{SERVICE}/RetryNotices", wanted, notice.RetryNoticesResponse)
    view.say(f"{answer.count} tried again.")
    if answer.discarded:
        view.say(f"{answer.discarded} discarded: what they asked to be decided is pending no more.")


@notices.command()
def discard(ids: Annotated[list[str], typer.Argument(metavar="ID...")], yes: Yes = False) -> None:
    """Tell nobody of these."""
    confirm(f"Tell nobody of {', '.join(ids)}?", sure=yes)
    with gateway() as channel:
        wanted = notice.DiscardNoticesRequest(ids=ids)
        answer = channel.unary(f"{SERVICE}/DiscardNotices", wanted, notice.DiscardNoticesResponse)
    view.say(f"{answer.count} discarded.")


@contacts.command("list")
def list_contacts(
    user: Annotated[str, typer.Argument(metavar="[USER]", help="Yourself, unless given.")] = "",
    output: Output = Format.TABLE,
) -> None:
    """Show where somebody can be reached."""
    with gateway() as channel:
        wanted = notice.ListContactsRequest(user_id=user)
        answer = channel.unary(f"{SERVICE}/ListContacts", wanted, notice.ListContactsResponse)
    if not printed(answer, output):
        _show(list(answer.contacts))


@contacts.command()
def add(
    user: User,
    kind: KindOf,
    address: Annotated[str, typer.Argument(metavar="ADDRESS")],
    output: Output = Format.TABLE,
) -> None:
    """Set somebody's address of that kind. Chat identities people link themselves: jit link."""
    with gateway() as channel:
        wanted = notice.PutContactRequest(user_id=user, kind=kind, address=address)
        answer = channel.unary(f"{SERVICE}/PutContact", wanted, notice.PutContactResponse)
    if not printed(answer, output):
        _show([answer.contact])


@contacts.command()
def remove(user: User, kind: KindOf, yes: Yes = False) -> None:
    """Reach them there no more. A chat identity decides nothing any more, too."""
    confirm(f"Remove the {kind} address of {user}?", sure=yes)
    with gateway() as channel:
        wanted = notice.RemoveContactRequest(user_id=user, kind=kind)
        channel.unary(f"{SERVICE}/RemoveContact", wanted, notice.RemoveContactResponse)
    view.say(f"Removed the {kind} address of {user}.")


Chat = Annotated[str, typer.Argument(metavar="CHAT", help="slack or teams.")]


def link(chat: Chat, output: Output = Format.TABLE) -> None:
    """Decide from a chat as yourself: shows a code to type there."""
    with gateway() as channel:
        wanted = notice.CreateChatLinkRequest(kind=chat)
        answer = channel.unary(f"{SERVICE}/CreateChatLink", wanted, notice.CreateChatLinkResponse)
    if printed(answer, output):
        return
    view.say(f"Type this to the app in {chat}, {_HOW.get(chat, 'as a message')}:\n\n  link {answer.code}\n")
    view.note(f"It works once, {view.relative(answer.expires_at)} at the latest.")
    view.note("Show it to nobody: whoever types it decides as you.")


def unlink(chat: Chat) -> None:
    """Decide from that chat no more."""
    with gateway() as channel:
        wanted = notice.RemoveChatLinkRequest(kind=chat)
        channel.unary(f"{SERVICE}/RemoveChatLink", wanted, notice.RemoveChatLinkResponse)
    view.say(f"Your {chat} identity counts no more.")


def _show(found: list[notice.Contact]) -> None:
    rows = [(item.user_id, item.kind, item.address, item.linked_by, view.moment(item.linked_at)) for item in found]
    view.print_table(("user", "kind", "address", "by", "since"), rows, "No address is known.")

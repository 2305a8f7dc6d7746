"""`jit users`, `jit lock`, `jit unlock`."""

from typing import Annotated

import typer

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
from clients.cli.errors import USAGE, Failure
from clients.cli.gateway import gateway, listing
from clients.cli.view import Format
from jitgate.v1 import administration_pb2 as administration

users = typer.Typer(help="People, their groups and attributes.", no_args_is_help=True)
SERVICE = "/jitgate.v1.AdministrationService"

UserId = Annotated[str, typer.Argument(metavar="USER", help="The user's id.")]
Attributes = Annotated[
    list[str] | None,
    typer.Option("--attribute", metavar="NAME=VALUE", help="employeeNumber, costCenter, organization, division."),
]
LockedUser = Annotated[str, typer.Option("--user", metavar="ID", help="The user.")]
LockedNode = Annotated[str, typer.Option("--node", metavar="NODE", help="The node, by id or name.")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(users, name="users", rich_help_panel=ADMINISTRATION)
    app.command(rich_help_panel=ADMINISTRATION)(lock)
    app.command(rich_help_panel=ADMINISTRATION)(unlock)


@users.command("list")
def list_(
    group: Annotated[str, typer.Option(metavar="ID", help="Members of this group only.")] = "",
    everyone: Annotated[bool, typer.Option("--all", help="Removed users, too.")] = False,
    limit: Limit = 100,
    output: Output = Format.TABLE,
) -> None:
    """Show the users."""
    wanted = administration.ListUsersRequest(group_id=group, include_inactive=everyone)
    with gateway() as channel:
        answer = listing(channel, f"{SERVICE}/ListUsers", wanted, administration.ListUsersResponse, limit)
    if printed(answer, output):
        return
    rows = [
        (
            user.id,
            user.display_name,
            ", ".join(user.groups),
            _state(user),
            view.relative(user.last_sign_in_at) or "never",
        )
        for user in answer.users
    ]
    view.print_table(("user", "name", "groups", "state", "signed in"), rows, "There are no such users.")
    view.note_more(answer.next_page_token)


@users.command()
def add(
    user: UserId,
    name: Annotated[str, typer.Option(metavar="TEXT", help="The name that people read.")] = "",
    group: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="A group to be in; may be repeated.")
    ] = None,
    attribute: Attributes = None,
    output: Output = Format.TABLE,
) -> None:
    """Add a user; prints the first password once."""
    attributes = split_pairs(attribute or [], "attribute")
    wanted = administration.CreateUserRequest(id=user, display_name=name, groups=group, attributes=attributes)
    with gateway() as channel:
        answer = channel.unary(f"{SERVICE}/CreateUser", wanted, administration.CreateUserResponse)
    if printed(answer, output):
        return
    view.say(f"Added {answer.user.id}.")
    _say_password(answer.initial_password)
    view.note(f"A role is still to be given: jit roles grant user --user {answer.user.id}")


@users.command()
def update(
    *,
    user: UserId,
    name: Annotated[str | None, typer.Option(metavar="TEXT", help="The name that people read.")] = None,
    add_group: Annotated[list[str] | None, typer.Option(metavar="ID", help="A group to join.")] = None,
    remove_group: Annotated[list[str] | None, typer.Option(metavar="ID", help="A group to leave.")] = None,
    attribute: Attributes = None,
    reset_password: Annotated[bool, typer.Option("--reset-password", help="Give a new first password.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Change a user's name, groups or attributes (an empty value removes one), or reset the password."""
    wanted = administration.UpdateUserRequest(
        id=user,
        display_name=name,
        add_groups=add_group,
        remove_groups=remove_group,
        set_attributes=split_pairs(attribute or [], "attribute"),
        reset_password=reset_password,
    )
    with gateway() as channel:
        answer = channel.unary(f"{SERVICE}/UpdateUser", wanted, administration.UpdateUserResponse)
    if printed(answer, output):
        return
    view.say(f"Updated {answer.user.id}.")
    _say_password(answer.initial_password)


@users.command()
def remove(user: UserId, yes: Yes = False) -> None:
    """Remove a user for good: windows and sessions end, the id is never used again."""
    confirm(f"Remove {user} for good and end the user's sessions?", sure=yes)
    with gateway() as channel:
        wanted = administration.RemoveUserRequest(id=user)
        channel.unary(f"{SERVICE}/RemoveUser", wanted, administration.RemoveUserResponse)
    view.say(f"Removed {user}.")


def lock(
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Shown to those whose sessions end.")],
    user: LockedUser = "",
    node: LockedNode = "",
    account: Account = "",
    region: Region = "",
) -> None:
    """Lock a user or a node: open windows and live sessions end within a second."""
    wanted = administration.LockRequest(reason=reason)
    _subject(wanted, user, node, account, region)
    with gateway() as channel:
        channel.unary(f"{SERVICE}/Lock", wanted, administration.LockResponse)
    view.say(f"Locked {user or node}.")


def unlock(user: LockedUser = "", node: LockedNode = "", account: Account = "", region: Region = "") -> None:
    """Lift the lock of a user or a node."""
    wanted = administration.UnlockRequest()
    _subject(wanted, user, node, account, region)
    with gateway() as channel:
        channel.unary(f"{SERVICE}/Unlock", wanted, administration.UnlockResponse)
    view.say(f"Unlocked {user or node}.")


def _subject(
    wanted: administration.LockRequest | administration.UnlockRequest,
    user: str,
    node: str,
    account: str,
    region: str,
) -> None:
    if bool(user) == bool(node):
        raise Failure("lock what?", "Give either --user ID or --node NODE.", USAGE)
    if user:
        wanted.user_id = user
    else:
        wanted.node = node
        set_scope(wanted, account, region)


def _say_password(password: str) -> None:
    if password:
        view.say(f"First password, shown only now: {password}")


def _state(user: administration.User) -> str:
    if user.locked:
        return f"locked: {user.lock_reason}"
    return "active" if user.active else "removed"

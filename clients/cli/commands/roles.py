"""`jit roles`: who may do what."""

from enum import StrEnum
from typing import Annotated

import typer

from clients.cli import view
from clients.cli.commands.parameters import ADMINISTRATION, Output, printed
from clients.cli.errors import USAGE, Failure
from clients.cli.gateway import gateway
from clients.cli.view import Format
from jitgate.v1 import administration_pb2 as administration
from jitgate.v1 import identity_pb2 as identity

roles = typer.Typer(help="Roles of users and groups.", no_args_is_help=True)


class RoleName(StrEnum):
    """The roles, as people write them."""

    USER = "user"
    APPROVER = "approver"
    POLICY_ADMINISTRATOR = "policy_administrator"
    NODE_ADMINISTRATOR = "node_administrator"
    AUDITOR = "auditor"
    INPUT_READER = "input_reader"
    ORGANIZATION_ADMINISTRATOR = "organization_administrator"


class KindName(StrEnum):
    """The policy kinds, as people write them."""

    DENY = "deny"
    AUTO = "auto"
    MANUAL = "manual"


Role = Annotated[RoleName, typer.Argument(help="The role.")]
User = Annotated[str, typer.Option("--user", metavar="ID", help="The user who holds it.")]
Group = Annotated[str, typer.Option("--group", metavar="ID", help="The group that holds it.")]
Account = Annotated[
    str, typer.Option(metavar="NAME", help="Account where it holds; '*' for all; default: default.")
]
Region = Annotated[str, typer.Option(metavar="NAME", help="Region where it holds; '*' for all; default: default.")]
Kinds = Annotated[
    list[KindName] | None, typer.Option("--policy-kind", help="With policy_administrator: the kinds it covers.")
]


def add_to(app: typer.Typer) -> None:
    app.add_typer(roles, name="roles", rich_help_panel=ADMINISTRATION)


@roles.command("list")
def list_(output: Output = Format.TABLE) -> None:
    """Show who holds which role where."""
    with gateway() as channel:
        path = "/jitgate.v1.AdministrationService/ListRoles"
        answer = channel.unary(path, administration.ListRolesRequest(), administration.ListRolesResponse)
    if printed(answer, output):
        return
    rows = [(_holder(grant), _name(grant), _where(grant), _kinds(grant)) for grant in answer.grants]
    view.print_table(("holder", "role", "where", "policy kinds"), rows, "Nobody holds a role.")


@roles.command()
def grant(
    *,
    role: Role,
    user: User = "",
    group: Group = "",
    account: Account = "",
    region: Region = "",
    policy_kind: Kinds = None,
) -> None:
    """Give a role to a user or a group."""
    wanted = _grant(role=role, user=user, group=group, account=account, region=region, kinds=policy_kind)
    with gateway() as channel:
        path = "/jitgate.v1.AdministrationService/GrantRole"
        channel.unary(path, administration.GrantRoleRequest(grant=wanted), administration.GrantRoleResponse)
    view.say(f"{_holder(wanted)} is now {grant_words(wanted)}.")


@roles.command()
def revoke(
    *,
    role: Role,
    user: User = "",
    group: Group = "",
    account: Account = "",
    region: Region = "",
    policy_kind: Kinds = None,
) -> None:
    """Take a role from a user or a group."""
    wanted = _grant(role=role, user=user, group=group, account=account, region=region, kinds=policy_kind)
    with gateway() as channel:
        path = "/jitgate.v1.AdministrationService/RevokeRole"
        channel.unary(path, administration.RevokeRoleRequest(grant=wanted), administration.RevokeRoleResponse)
    view.say(f"{_holder(wanted)} is no longer {grant_words(wanted)}.")


def grant_words(grant: identity.RoleGrant) -> str:
    """A grant without its holder: "policy administrator (auto, manual) in prod/*"."""
    kinds = _kinds(grant)
    return f"{_name(grant)}{f' ({kinds})' if kinds else ''} in {_where(grant)}"


def _grant(
    *, role: RoleName, user: str, group: str, account: str, region: str, kinds: list[KindName] | None
) -> identity.RoleGrant:
    if bool(user) == bool(group):
        raise Failure("who holds the role?", "Give either --user ID or --group ID.", USAGE)
    wanted = identity.RoleGrant(role=identity.Role.Value(f"ROLE_{role.name}"), account=account, region=region)
    if user:
        wanted.user_id = user
    else:
        wanted.group_id = group
    wanted.policy_kinds.extend(identity.PolicyKind.Value(f"POLICY_KIND_{kind.name}") for kind in kinds or ())
    return wanted


def _holder(grant: identity.RoleGrant) -> str:
    return grant.user_id or f"group {grant.group_id}"


def _name(grant: identity.RoleGrant) -> str:
    return view.word(identity.Role.Name(grant.role), "ROLE_")


def _where(grant: identity.RoleGrant) -> str:
    return f"{grant.account or 'default'}/{grant.region or 'default'}"


def _kinds(grant: identity.RoleGrant) -> str:
    return ", ".join(view.word(identity.PolicyKind.Name(kind), "POLICY_KIND_") for kind in grant.policy_kinds)

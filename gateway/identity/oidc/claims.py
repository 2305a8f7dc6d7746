"""From what a provider says of somebody to a person of the directory (R31)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.identity.directory import MAXIMUM_GROUPS
from gateway.identity.model import is_group_id, is_user_id
from gateway.identity.oidc.errors import unusable_claim
from gateway.identity.oidc.settings import ClaimPath, Claims

_MAXIMUM_SUBJECT = 255
_MAXIMUM_NAME = 128
_MAXIMUM_VALUE = 256
_MAXIMUM_LISTED = 5000
_CHAT_USER = re.compile(r"[A-Za-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody as a provider describes them at this sign-in. `left_out`: so many groups have no usable name.
    `chats`: workspace and user of each kind of chat that it names."""

    subject: str
    user_id: str
    display_name: str
    groups: frozenset[str]
    attributes: Mapping[str, str]
    principal_tags: Mapping[str, str]
    left_out: int = 0
    chats: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def subject_of(claims: Mapping[str, Any], mapping: Claims) -> str:
    """Who it is for the provider. Raises Refused CLAIM_UNUSABLE."""
    subject = claims.get(mapping.subject)
    if not isinstance(subject, str) or not 0 < len(subject) <= _MAXIMUM_SUBJECT or not subject.isprintable():
        raise unusable_claim(f"the claim {mapping.subject} names no subject")
    return subject


def person_of(claims: Mapping[str, Any], mapping: Claims) -> Person:
    """Raises Refused CLAIM_UNUSABLE: nobody is let in on half of what policies look at."""
    groups, left_out = _groups(claims, mapping)
    name = _at(claims, mapping.display_name)
    printable = "".join(part for part in name if part.isprintable()) if isinstance(name, str) else ""
    return Person(
        subject=subject_of(claims, mapping),
        user_id=_user_id(claims, mapping),
        display_name=printable[:_MAXIMUM_NAME],
        groups=groups,
        attributes=_texts(claims, mapping.attributes.paths()),
        principal_tags=_texts(claims, mapping.principal_tags),
        left_out=left_out,
        chats=_chats(claims, mapping),
    )


def _user_id(claims: Mapping[str, Any], mapping: Claims) -> str:
    claim = ".".join(mapping.user_id)
    value = _at(claims, mapping.user_id)
    if not isinstance(value, str):
        raise unusable_claim(f"the claim {claim} is missing or no text")
    try:
        return user_id_from(value, mapping)
    except ValueError as why:
        raise unusable_claim(f"the claim {claim} {why}") from None


def user_id_from(name: str, mapping: Claims) -> str:
    """The user id that a provider's name for somebody becomes. Raises ValueError that says what is wrong."""
    if mapping.lowercase_user_id:
        name = name.lower()
    if not name.endswith(mapping.user_id_suffix):
        raise ValueError(f"does not end with {mapping.user_id_suffix}")
    user_id = name.removesuffix(mapping.user_id_suffix)
    if not is_user_id(user_id):
        raise ValueError("is no user id: 1 to 64 characters, a-z, 0-9, '.', '_', '@', '-', no sign first")
    return user_id


def _groups(claims: Mapping[str, Any], mapping: Claims) -> tuple[frozenset[str], int]:
    claim = ".".join(mapping.groups)
    listed = _at(claims, mapping.groups)
    if listed is None:
        if mapping.groups_required:
            # A provider that has too many groups to tell leaves the claim out (Entra ID does): that is not "none".
            raise unusable_claim(f"the groups claim {claim} is missing")
        return frozenset(), 0
    names = [listed] if isinstance(listed, str) else listed
    if (
        not isinstance(names, list)
        or len(names) > _MAXIMUM_LISTED
        or not all(isinstance(name, str) for name in names)
    ):
        raise unusable_claim(f"the groups claim {claim} is no list of names")
    ids = {mapping.group_prefix + name for name in (known_group(name, mapping) for name in names) if name}
    usable = frozenset(group for group in ids if is_group_id(group))
    if len(usable) > MAXIMUM_GROUPS:
        raise unusable_claim(
            f"the groups claim {claim} lists more than {MAXIMUM_GROUPS}; only_named_groups takes those that count"
        )
    return usable, len(ids) - len(usable)


def known_group(name: str, mapping: Claims) -> str:
    """What a provider's group is called here, before the prefix; empty: it does not count."""
    return mapping.group_names.get(name, "" if mapping.only_named_groups else name)


def _chats(claims: Mapping[str, Any], mapping: Claims) -> dict[str, tuple[str, str]]:
    users = _texts(claims, {kind: claim.user for kind, claim in mapping.chats.items()})
    for kind, user in users.items():
        if not _CHAT_USER.fullmatch(user):
            raise unusable_claim(f"the claim of {kind} names no user of a chat")
    found: dict[str, tuple[str, str]] = {
        kind: (claim.workspace, users[kind]) for kind, claim in mapping.chats.items() if kind in users
    }
    if "teams" in found:  # GUIDs, which the bot hears in lower case
        tenant, user = found["teams"]
        found["teams"] = tenant.lower(), user.lower()
    return found


def _texts(claims: Mapping[str, Any], paths: Mapping[str, ClaimPath]) -> dict[str, str]:
    """Name -> text of the claim; what is missing or empty is left out."""
    found = {name: _text(_at(claims, path), ".".join(path)) for name, path in paths.items()}
    return {name: value for name, value in found.items() if value}


def _text(value: Any, claim: str) -> str:
    if isinstance(value, list) and len(value) == 1:  # AWS writes session tags like that
        value = value[0]
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if abs(value) < 1 << 63 else ""
    if not isinstance(value, str) or len(value) > _MAXIMUM_VALUE or not value.isprintable():
        raise unusable_claim(f"the claim {claim} is no text of at most {_MAXIMUM_VALUE} characters")
    return value


def _at(claims: Mapping[str, Any], path: ClaimPath) -> Any:
    value: Any = claims
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value

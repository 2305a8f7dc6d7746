"""A person as the policies see them (R31)."""

from collections.abc import Mapping

from gateway.identity.model import User
from policy.model import Attributes, Principal


def principal_of(user: User, principal_tags: Mapping[str, str] | None = None) -> Principal:
    """Cedar's principal. An empty attribute is none; `principal_tags` are those of the sign-in, or the user's own.

    The display name is left out on purpose: people may choose it, policies must not rest on it.
    """
    known = {name: value for name, value in user.attributes.items() if value}
    return Principal(
        id=user.id,
        groups=user.groups,
        attributes=Attributes(
            employee_number=known.get("employeeNumber"),
            cost_center=known.get("costCenter"),
            organization=known.get("organization"),
            division=known.get("division"),
        ),
        principal_tags=dict(user.principal_tags if principal_tags is None else principal_tags),
    )

"""A person as the policies see them (R31)."""

from gateway.identity.model import User
from policy.model import Attributes, Principal


def principal_of(user: User) -> Principal:
    """Cedar's principal. An empty attribute is none; principal tags are those of the last sign-in.

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
        principal_tags=dict(user.principal_tags),
    )

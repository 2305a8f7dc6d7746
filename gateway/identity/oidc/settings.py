"""What an operator says of an identity provider: where it is, how it knows us, what its claims mean here."""

import ipaddress
from collections.abc import Mapping
from itertools import permutations
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

# Signatures that only the provider can make: `none` and HMAC are never among them, whatever a token says.
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]

ProviderName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
_Claim = Annotated[str, StringConstraints(min_length=1, max_length=256)]
# One claim's name, or the way to it through objects: ["realm_access", "roles"].
ClaimPath = Annotated[
    tuple[_Claim, ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
    Field(min_length=1, max_length=8),
]
_TagKey = Annotated[str, StringConstraints(pattern=r"^[\w .:/=+@-]{1,128}$")]
_Scope = Annotated[str, StringConstraints(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]{1,128}$")]
_GroupId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Attributes(_Section):
    """The claims that hold the attributes which policies see (R31). Unset: nobody has that attribute."""

    employee_number: ClaimPath | None = Field(default=None, alias="employeeNumber")
    cost_center: ClaimPath | None = Field(default=None, alias="costCenter")
    organization: ClaimPath | None = None
    division: ClaimPath | None = None

    def paths(self) -> dict[str, ClaimPath]:
        """Attribute as the policies call it -> its claim."""
        return {name: path for name, path in self._all().items() if path is not None}

    def _all(self) -> dict[str, ClaimPath | None]:
        return {
            "employeeNumber": self.employee_number,
            "costCenter": self.cost_center,
            "organization": self.organization,
            "division": self.division,
        }


class ChatClaim(_Section):
    """Whose chat identity somebody is, by the provider: then nothing else binds one (R31)."""

    workspace: str = Field(pattern=r"^[A-Za-z0-9-]{1,64}$")  # of Slack, or the tenant of Teams
    user: ClaimPath


class Claims(_Section):
    """How the claims of an ID token become a person of the directory."""

    subject: _Claim = "sub"
    # Read at the first sign-in only: from then on (issuer, subject) is who somebody is.
    user_id: ClaimPath = ("preferred_username",)
    # Taken off the end of the claim; whose claim does not end so stays out. "@example.com"
    user_id_suffix: str = Field(default="", max_length=128)
    lowercase_user_id: bool = False
    display_name: ClaimPath = ("name",)
    groups: ClaimPath = ("groups",)
    groups_required: bool = True
    group_prefix: str = Field(default="", pattern=r"^([A-Za-z0-9][A-Za-z0-9._@-]{0,31})?$")
    # What the provider calls a group -> what it is called here, before the prefix.
    group_names: Mapping[Annotated[str, Field(max_length=256)], _GroupId] = Field(default={}, max_length=1000)
    only_named_groups: bool = False
    attributes: Attributes = Attributes()
    principal_tags: Mapping[_TagKey, ClaimPath] = Field(default={}, max_length=50)
    chats: Mapping[Literal["slack", "teams"], ChatClaim] = {}

    @model_validator(mode="after")
    def _no_email(self) -> "Claims":
        # Whoever controls a mailbox, or may type into a profile, must not become somebody by it.
        if self.subject == "email" or self.user_id[-1] == "email":
            raise ValueError("email addresses change hands: take another claim for subject and user_id")
        return self


class IdentityProvider(_Section):
    """One OpenID Connect provider. Its `issuer` is compared to the letter."""

    issuer: str = Field(min_length=1, max_length=255)
    client_id: str = Field(min_length=1, max_length=255)
    client_secret_file: Path | None = None  # read whenever it is needed; none: a public client
    client_authentication: Literal["basic", "post"] = "basic"
    title: str = Field(default="", max_length=64)
    scopes: tuple[_Scope, ...] = ("profile",)  # besides openid
    # What people may use: `jit login` with a browser here or anywhere, and the gateway's own pages.
    flows: frozenset[Literal["browser", "device", "web"]] = Field(
        default=frozenset({"browser", "device", "web"}), min_length=1
    )
    # What the redirect address is registered as; the client listens on 127.0.0.1 in any case.
    loopback_host: Literal["127.0.0.1", "localhost"] = "127.0.0.1"
    loopback_path: str = Field(default="/callback", pattern=r"^/[A-Za-z0-9._~/-]{0,63}$")
    loopback_ports: tuple[Annotated[int, Field(ge=1024, le=65535)], ...] = Field(default=(), max_length=16)
    algorithms: frozenset[Algorithm] = Field(default=frozenset({"RS256", "PS256", "ES256", "EdDSA"}), min_length=1)
    clock_skew_seconds: int = Field(default=60, ge=0, le=300)
    userinfo: bool = False  # ask the provider for claims beyond those of the ID token
    ca_file: Path | None = None  # PEM; none: the system's authorities
    # Allows http for a provider on this very host, in tests; nowhere else.
    insecure_loopback: bool = False
    create_users: bool = True
    claims: Claims = Claims()
    # What a provider that provisions by SCIM says there that is the subject of its ID tokens.
    scim_subject: Literal["externalId", "userName"] = "externalId"

    @model_validator(mode="after")
    def _usable(self) -> "IdentityProvider":
        if not is_trustworthy(self.issuer, insecure_loopback=self.insecure_loopback):
            raise ValueError("issuer must be an https:// address (http:// on this host, with insecure_loopback)")
        if urlsplit(self.issuer).query or urlsplit(self.issuer).fragment:
            raise ValueError("issuer must have no query and no fragment")
        if self.loopback_ports and "browser" not in self.flows:
            raise ValueError("loopback_ports belong to the browser flow")
        return self


def check_together(providers: Mapping[str, IdentityProvider]) -> None:
    """Raises ValueError when two providers could speak for the same people or groups."""
    for (one, first), (other, second) in permutations(providers.items(), 2):
        if first.issuer == second.issuer:
            raise ValueError(f"{one} and {other} have the same issuer")
        if second.claims.group_prefix.startswith(first.claims.group_prefix):
            raise ValueError(
                f"{one} could speak for groups of {other}: "
                "give each a claims.group_prefix with which no other one begins"
            )


def is_trustworthy(address: str, *, insecure_loopback: bool) -> bool:
    """Whether what is read from there, or sent to, cannot be read or changed on the way."""
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
        _ = parts.port  # raises for a port that is none
    except ValueError:
        return False
    if not host or parts.username is not None or not address.isprintable() or " " in address:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and insecure_loopback and _is_loopback(host))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

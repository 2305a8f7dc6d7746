"""What an operator says of the bot by which people are told in Microsoft Teams."""

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, DirectoryPath, Field, SecretStr, StringConstraints, model_validator

from notifiers.loopback import is_loopback
from notifiers.secret import read_secret

_GUID = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
Guid = Annotated[str, StringConstraints(pattern=_GUID, to_lower=True)]
_Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s?#]{1,255}$")]


def is_guid(text: str) -> bool:
    """Whether it can be the id of something in a directory."""
    return re.fullmatch(_GUID, text) is not None


def is_trustworthy(address: str, *, insecure_loopback: bool) -> bool:
    """Whether a token can be sent there: nobody reads it on the way."""
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
        _ = parts.port  # raises for a port that is none
    except ValueError:
        return False
    if not host or parts.username is not None or not address.isprintable() or " " in address:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and insecure_loopback and is_loopback(host))


class TeamsSettings(BaseModel):
    """One bot of one tenant. The addresses are those of Microsoft's public cloud; other clouds have their own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    app_id: Guid
    tenant_id: Guid  # nobody of another one is heard
    client_secret_file: Path | None = None  # read at each new token: change it without a restart
    client_secret_environment: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")
    service_url: _Url = "https://smba.trafficmanager.net/teams/"  # of channels; who wrote to the bot brings theirs
    login_url: _Url = "https://login.microsoftonline.com"
    issuer: _Url = "https://api.botframework.com"  # of tokens that come in, and whom ours are for
    metadata_url: _Url = "https://login.botframework.com/v1/.well-known/openidconfiguration"
    insecure_loopback: bool = False  # addresses may be http:// on this host: for trying things out
    templates_dir: DirectoryPath | None = None
    timeout_seconds: int = Field(default=10, ge=1, le=25)
    concurrency: int = Field(default=4, ge=1, le=32)

    @model_validator(mode="after")
    def _together(self) -> "TeamsSettings":
        if (self.client_secret_file is None) == (self.client_secret_environment is None):
            raise ValueError("the bot needs either client_secret_file or client_secret_environment")
        for address in (self.service_url, self.login_url, self.metadata_url):
            if not is_trustworthy(address, insecure_loopback=self.insecure_loopback):
                raise ValueError(f"{address} must be an https:// address")
        return self

    def client_secret(self) -> SecretStr:
        """Raises Unusable."""
        return read_secret("the client secret", self.client_secret_file, self.client_secret_environment)

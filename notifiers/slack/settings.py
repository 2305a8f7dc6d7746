"""What an operator says of the app by which people are told in Slack."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, DirectoryPath, Field, SecretStr, StringConstraints, model_validator

from notifiers.loopback import is_loopback
from notifiers.secret import read_secret

_Environment = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]


class SlackSettings(BaseModel):
    """One app in one workspace. With an app-level token it holds a connection of its own (Socket Mode); with a
    signing secret Slack posts to the web listener instead."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workspace: str = Field(pattern=r"^T[A-Z0-9]{2,31}$")  # nobody of another one is heard
    bot_token_file: Path | None = None
    bot_token_environment: _Environment | None = None
    app_token_file: Path | None = None
    app_token_environment: _Environment | None = None
    signing_secret_file: Path | None = None
    signing_secret_environment: _Environment | None = None
    api_url: str = Field(default="https://slack.com/api/", pattern=r"^https?://[^\s?#]{1,255}/$")
    insecure_loopback: bool = False  # api_url may be http:// on this host: for trying things out
    templates_dir: DirectoryPath | None = None
    timeout_seconds: int = Field(default=10, ge=1, le=25)
    concurrency: int = Field(default=4, ge=1, le=32)

    @model_validator(mode="after")
    def _together(self) -> "SlackSettings":
        if (self.bot_token_file is None) == (self.bot_token_environment is None):
            raise ValueError("the app needs either bot_token_file or bot_token_environment")
        ways = (
            self.app_token_file,
            self.app_token_environment,
            self.signing_secret_file,
            self.signing_secret_environment,
        )
        if sum(way is not None for way in ways) != 1:
            raise ValueError(
                "the app needs exactly one of app_token_file, app_token_environment (Socket Mode), "
                "signing_secret_file, signing_secret_environment (Slack posts to the web listener)"
            )
        address = urlsplit(self.api_url)
        if address.scheme != "https" and not (self.insecure_loopback and is_loopback(address.hostname)):
            raise ValueError("api_url must be an https:// address")
        return self

    @property
    def holds_a_connection(self) -> bool:
        """Socket Mode: Slack needs no way in."""
        return self.app_token_file is not None or self.app_token_environment is not None

    def bot_token(self) -> SecretStr:
        """Raises Unusable, as the other two."""
        return read_secret("the bot token", self.bot_token_file, self.bot_token_environment)

    def app_token(self) -> SecretStr:
        return read_secret("the app-level token", self.app_token_file, self.app_token_environment)

    def signing_secret(self) -> SecretStr:
        return read_secret("the signing secret", self.signing_secret_file, self.signing_secret_environment)

"""What an operator says of the web listener."""

from ipaddress import ip_network
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Http(BaseModel):
    """How the web listener works; `http_listen` opens it. Without a certificate it shows the gateway's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Where people's browsers find it, when a name or a proxy stands before it: "https://gate.example.org".
    public_url: str | None = Field(default=None, pattern=r"^https://[A-Za-z0-9.:\[\]-]{1,255}$")
    certificate: Path | None = None
    key: Path | None = None
    # Proxies whose X-Forwarded-For is believed: addresses or networks.
    trusted_proxies: tuple[str, ...] = Field(default=(), max_length=64)
    session_minutes: int = Field(default=30, ge=5, le=30)
    max_connections: int = Field(default=1000, ge=1, le=100_000)
    max_connections_per_source: int = Field(default=50, ge=1, le=100_000)
    max_requests_at_once: int = Field(default=100, ge=1, le=10_000)

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            ip_network(proxy)  # raises ValueError, which names it
        return proxies

    @model_validator(mode="after")
    def _together(self) -> "Http":
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together; set both or none")
        return self

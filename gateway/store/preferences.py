"""Session preferences of an account and Region: values, bounds, defaults and their table (R26)."""

import re
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.errors import invalid
from gateway.store import tables, upsert

MAXIMUM_DURATION_MINUTES = 1440
MAXIMUM_IDLE_MINUTES = 60
MAXIMUM_PROFILE_CHARACTERS = 1024
_LOGIN = re.compile(r"[a-z_][a-z0-9_.-]{0,31}")

_preferences = tables.preferences


class RecordingMode(StrEnum):
    STRICT = "strict"
    BEST_EFFORT = "best_effort"


@dataclass(frozen=True, slots=True)
class Preferences:
    """How sessions run. The defaults hold where nobody has said anything.

    A maximum duration of 0 means as long as the window lasts; an idle timeout of 0 means none. An empty `run_as`
    leaves the login to the node. `shell_profile` is run by each new shell before the user types.
    Raises Refused INVALID_FIELD for values out of bounds.
    """

    maximum_duration_minutes: int = 0
    idle_timeout_minutes: int = 20  # a terminal that nobody looks at should not stay open for a whole window
    run_as: str = ""
    shell_profile: str = ""
    recording: RecordingMode = RecordingMode.STRICT
    record_input_content: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.maximum_duration_minutes <= MAXIMUM_DURATION_MINUTES:
            raise invalid("preferences.maximum_duration_minutes", f"must be 0 to {MAXIMUM_DURATION_MINUTES}")
        if not 0 <= self.idle_timeout_minutes <= MAXIMUM_IDLE_MINUTES:
            raise invalid("preferences.idle_timeout_minutes", f"must be 0 to {MAXIMUM_IDLE_MINUTES}")
        if self.run_as and not _LOGIN.fullmatch(self.run_as):
            raise invalid("preferences.run_as", "must be a login of 1 to 32 characters: a-z, 0-9, '_', '.', '-'")
        if len(self.shell_profile) > MAXIMUM_PROFILE_CHARACTERS or "\0" in self.shell_profile:
            raise invalid(
                "preferences.shell_profile",
                f"must be at most {MAXIMUM_PROFILE_CHARACTERS} characters, none of them NUL",
            )


async def get(connection: AsyncConnection, account: str, region: str) -> Preferences:
    """What holds there; the defaults where nothing is stored."""
    query = select(_preferences.c.document).where(
        _preferences.c.account == account, _preferences.c.region == region
    )
    document = (await connection.execute(query)).scalar_one_or_none()
    if document is None:
        return Preferences()
    return Preferences(**{**document, "recording": RecordingMode(document["recording"])})


async def put(
    connection: AsyncConnection, account: str, region: str, new: Preferences, *, at: datetime, by: str
) -> None:
    """Replaces what holds there as a whole."""
    values = {"document": asdict(new), "changed_at": at, "changed_by": by}
    await upsert.put(connection, _preferences, {"account": account, "region": region}, values)

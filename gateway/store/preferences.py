"""Session preferences of an account and Region: values, bounds, defaults and their table (R26)."""

import re
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.errors import invalid
from gateway.places.model import OWN, Choice
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
    `recording_place` is where recordings go and under whose key, as the preferences choose it. With `log_sessions`
    the output of sessions is told as JSON lines while they run, to `log_group` (the ARN of a CloudWatch log group)
    or where the gateway's own configuration says. Raises Refused INVALID_FIELD for values out of bounds.
    """

    maximum_duration_minutes: int = 0
    idle_timeout_minutes: int = 20  # a terminal that nobody looks at should not stay open for a whole window
    run_as: str = ""
    shell_profile: str = ""
    recording: RecordingMode = RecordingMode.STRICT
    record_input_content: bool = False
    recording_place: Choice = OWN
    log_sessions: bool = False
    log_group: str = ""

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
        if self.log_group and not self.log_sessions:
            raise invalid("preferences.log_group", "is for sessions that are logged: turn log_sessions on")
        if self.log_group and not self.recording_place.role:
            raise invalid("preferences.recording_place.role", "a log group is used in a role: name one")


async def get(connection: AsyncConnection, account: str, region: str) -> Preferences:
    """What holds there; the defaults where nothing is stored."""
    query = select(_preferences.c.document).where(
        _preferences.c.account == account, _preferences.c.region == region
    )
    document = (await connection.execute(query)).scalar_one_or_none()
    if document is None:
        return Preferences()
    return _read(document)


async def every(connection: AsyncConnection) -> dict[tuple[str, str], Preferences]:
    """By account and Region, where somebody has said something."""
    rows = await connection.execute(select(_preferences).order_by(_preferences.c.account, _preferences.c.region))
    return {(row.account, row.region): _read(row.document) for row in rows}


async def put(
    connection: AsyncConnection, account: str, region: str, new: Preferences, *, at: datetime, by: str
) -> None:
    """Replaces what holds there as a whole."""
    values = {"document": asdict(new), "changed_at": at, "changed_by": by}
    await upsert.put(connection, _preferences, {"account": account, "region": region}, values)


def _read(document: dict[str, Any]) -> Preferences:
    parts: dict[str, Any] = {"recording": RecordingMode(document["recording"])}
    if "recording_place" in document:  # else it was written before there was more than one place
        parts["recording_place"] = Choice(**document["recording_place"])
    return Preferences(**{**document, **parts})

"""Notices in Microsoft Teams: Adaptive Cards in channels and in personal chats, by the Bot Framework's protocol.

No SDK: Microsoft's Bot Framework SDK for Python was retired (archived, without support since the end of 2025), and
its successor, the Microsoft 365 Agents SDK, brings an application host, storage and a turn pipeline of its own for
what are three HTTP calls here. They are made with httpx; what comes in is checked with joserfc, in the gateway.
"""

from notifiers.teams.notifier import TeamsNotifier, make
from notifiers.teams.settings import TeamsSettings

__all__ = ["TeamsNotifier", "TeamsSettings", "make"]

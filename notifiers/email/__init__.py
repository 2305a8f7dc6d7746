"""Notices by electronic mail."""

from notifiers.email.notifier import EmailNotifier, make
from notifiers.email.settings import EmailSettings

__all__ = ["EmailNotifier", "EmailSettings", "make"]

"""Slack: messages that turn into the outcome, and what people do in them."""

from notifiers.slack.notifier import SlackNotifier, make

__all__ = ["SlackNotifier", "make"]

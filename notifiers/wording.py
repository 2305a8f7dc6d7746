"""The words of a notice, the same in every channel: one template a kind, which operators may replace.

What comes out is plain text. A channel escapes it in its own way, then cuts it (`notifiers.text`).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog
from jinja2 import FileSystemLoader, StrictUndefined, TemplateNotFound
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEnvironment

from notifiers.model import Delivery, LevelView, Notice, Relation, Subject
from notifiers.text import cut, shown

_BUILT_IN = Path(__file__).parent / "templates"
_TITLE_LIMIT = 150
_TEXT_LIMIT = 1000
_RENDERED_LIMIT = 1 << 20
"""Characters. What a template makes beyond that nobody would read, and everybody else would wait for."""
_log = structlog.get_logger("jitgate.notices")

LABELS: Mapping[str, str] = {
    "request": "Request",
    "requester": "Requester",
    "node": "Node",
    "reason": "Reason",
    "account": "Account",
    "region": "Region",
    "status": "Status",
    "policy": "Policy",
    "level": "Level",
    "asked": "Asked",
    "hours": "Access",
    "decide_before": "Decide before",
    "window": "Window",
    "decision": "Decision",
    "comment": "Comment",
    "note": "Note",
    "conflict": "Conflict",
    "ended": "Ended",
}
_END_WORDS = {
    "NO_POLICY": "No approval policy applies",
    "POLICY_CONFLICT": "Approval policies are in conflict",
    "DISABLED": "Just-in-time access is disabled there",
    "USER_LOCKED": "The requester was locked",
    "USER_REMOVED": "The requester was removed",
    "ROLE_REVOKED": "The requester may not ask for access there any more",
    "NODE_LOCKED": "The node was locked",
    "NODE_REMOVED": "The node was removed",
    "TAGS_CHANGED": "The policies no longer decide the same way",
    "REQUESTER_CHANGED": "The policies no longer decide the same way",
    "REVOKED_BY_APPROVER": "An approver took the approval back",
    "REVOKED_BY_ADMINISTRATOR": "An administrator revoked it",
    "WINDOW_ENDED": "The window is over",
    "NO_FIRST_SESSION": "No session began within 24 hours",
}


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that a notice tells. `id` never changes and names no language; `label` is what people read."""

    id: str
    label: str
    value: str


@dataclass(frozen=True, slots=True)
class Said:
    """A notice in words. `title`: one line of at most 150 characters; `text`: what it means for the reader."""

    title: str
    text: str
    facts: tuple[Fact, ...]

    def value(self, fact: str) -> str:
        """Of the first fact of that id; empty: there is none."""
        return next((known.value for known in self.facts if known.id == fact), "")


class Templates:
    """Ours, and an operator's that replace them, in a folder under the same names (`words/approved.txt`).

    One of an operator's that cannot be rendered, says nothing or far too much, is told in the log, and ours is
    used: a notice is never lost for its words. Templates get at nothing but what they are given; those that end in
    `.html` escape by themselves.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._own = None if directory is None else _environment(directory)
        self._built_in = _environment(_BUILT_IN)

    def render(self, name: str, context: Mapping[str, object]) -> str:
        """Never empty."""
        if self._own is not None:
            try:
                if made := _bounded(self._own.get_template(name).generate(context)):
                    return made
                _log.warning("template_failed", template=name, why="it says nothing")
            except TemplateNotFound as missing:
                if missing.name != name:  # one that it wanted to include
                    _log.warning("template_failed", template=name, why=type(missing).__name__)
            except Exception as failure:  # noqa: BLE001  # whatever an operator's template does, people are told
                _log.warning("template_failed", template=name, why=type(failure).__name__)
        return self._built_in.get_template(name).render(context).strip()


class Wording:
    """Puts notices into words."""

    def __init__(self, templates: Templates | None = None) -> None:
        self._templates = templates or Templates()

    def say(self, delivery: Delivery) -> Said:
        notice = delivery.notice
        context = _context(notice, delivery.recipient.relation)
        words = self._templates.render(f"words/{notice.kind.value}.txt", context)
        title, _, text = words.partition("\n")
        body = " ".join(text.split())
        return Said(cut(shown(title.strip()), _TITLE_LIMIT), cut(shown(body), _TEXT_LIMIT), tuple(_facts(notice)))


def _bounded(parts: Iterable[str]) -> str:
    """Raises ValueError for more than anybody reads."""
    made, size = [], 0
    for part in parts:
        size += len(part)
        if size > _RENDERED_LIMIT:
            raise ValueError("too long")
        made.append(part)
    return "".join(made).strip()


def _environment(directory: Path) -> SandboxedEnvironment:
    return ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(directory),
        autoescape=lambda name: name is not None and name.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def moment(at: datetime | None) -> str:
    """As "2026-11-24 10:15 UTC"; empty for none."""
    return "" if at is None else f"{at:%Y-%m-%d %H:%M} {at:%Z}"


def duration(hours: float) -> str:
    if hours < 1:
        return f"{round(hours * 60)} min"
    return f"{hours:g} hour{'' if hours == 1 else 's'}"


def _context(notice: Notice, relation: Relation) -> dict[str, object]:
    """What templates get; docs/operator.md lists it. Every fact has a value: what there is none of is empty."""
    subject = notice.subject
    waited = _waited(subject)
    return {
        "link": notice.link,
        "requester": subject.requester,
        "node": subject.node_name or subject.node_id,
        "actor": notice.actor,
        "relation": relation.value,
        "level": subject.level,
        "levels": len(subject.levels),
        "given": waited.given if waited else 0,
        "needed": waited.needed if waited else 0,
        "asked": ", ".join(waited.approvers) if waited else "",
        "hours": duration(subject.access_hours),
        "decide_before": moment(subject.decide_before),
        "window_end": moment(subject.window_end),
        "end_words": _END_WORDS.get(subject.end_reason, "It is over"),
        "ended_by": subject.ended_by,
        "ended_at": moment(subject.ended_at),
        "facts": dict.fromkeys(LABELS, "") | {fact.id: fact.value for fact in _facts(notice)},
    }


def _waited(subject: Subject) -> LevelView | None:
    return subject.levels[subject.level - 1] if 0 < subject.level <= len(subject.levels) else None


def _facts(notice: Notice) -> Iterator[Fact]:
    subject, waited = notice.subject, _waited(notice.subject)
    name = f" ({subject.requester_name})" if subject.requester_name not in {"", subject.requester} else ""
    policy = f"{subject.policy}, version {subject.policy_version}" if subject.policy else ""
    values = [
        ("requester", f"{subject.requester}{name}"),
        ("reason", subject.reason),
        ("node", _both(subject.node_name, subject.node_id)),
        ("account", subject.account),
        ("region", subject.region),
        ("status", subject.status),
        ("policy", policy),
    ]
    if waited is not None:
        progress = f"{subject.level} of {len(subject.levels)}, {waited.given} of {waited.needed} approvals"
        values += [("level", progress), ("asked", ", ".join(waited.approvers))]
    values.append(("hours", duration(subject.access_hours) if subject.access_hours else ""))
    values.append(("decide_before", moment(subject.decide_before) if subject.status == "Pending" else ""))
    if subject.window_start is not None:
        values.append(("window", f"{moment(subject.window_start)} to {moment(subject.window_end)}"))
    for decided in subject.decisions:
        said = f": {decided.comment}" if decided.comment else ""
        values.append(("decision", f"{decided.user_id}, level {decided.level}, {moment(decided.at)}{said}"))
    values.append(("ended", _ended(subject)))
    values.append(("comment", notice.comment))
    values.append(("note", subject.end_note if subject.end_note != notice.comment else ""))
    values += [("conflict", line) for line in subject.conflict]
    values.append(("request", subject.request_id))
    return (Fact(name, LABELS[name], shown(value)) for name, value in values if value)


def _ended(subject: Subject) -> str:
    """When, and by whom; empty: it has not."""
    by = f" by {subject.ended_by}" if subject.ended_by else ""
    return f"{moment(subject.ended_at)}{by}" if subject.ended_at is not None else ""


def _both(name: str, node_id: str) -> str:
    return f"{name} ({node_id})" if name and name != node_id else node_id

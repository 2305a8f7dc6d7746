"""A notice as a mail: text and HTML, threaded by request, with a link that carries no authority."""

import hashlib
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP

import structlog

from notifiers.email.settings import EmailSettings
from notifiers.model import Action, Delivery
from notifiers.text import cut, shown
from notifiers.wording import Said, Templates, Wording

# Servers that know ASCII only still exist; what is not ASCII is encoded.
_POLICY = SMTP.clone(cte_type="7bit")
_SUBJECT_LIMIT = 180
_log = structlog.get_logger("jitgate.notices")


def message_id(delivery: Delivery, domain: str) -> str:
    """The same at every try, so that a mail which arrives twice is known to be one."""
    digest = hashlib.sha256(delivery.id.encode("utf-8", "surrogatepass")).hexdigest()[:40]
    return f"<{digest}@{domain}>"


class Composer:
    """Makes mails. Templates: `email/subject.txt`, `email/message.txt`, `email/message.html`."""

    def __init__(self, settings: EmailSettings) -> None:
        self._settings = settings
        self._templates = Templates(settings.templates_dir)
        self._wording = Wording(self._templates)

    def compose(self, delivery: Delivery, address: str) -> bytes:
        """The mail in the form in which it goes over the wire."""
        said = self._wording.say(delivery)
        notice, subject = delivery.notice, delivery.notice.subject
        first = (delivery.first or {}).get("message_id", "")
        context: dict[str, object] = {
            "title": said.title,
            "text": said.text,
            "facts": said.facts,
            "link": notice.link,
            "decides": Action.APPROVE in delivery.actions,
            "request": shown(subject.request_id),
            "requester": shown(subject.requester),
            "node": shown(subject.node_name or subject.node_id),
            "kind": notice.kind.value,
            "is_first": not first,
        }
        mail = EmailMessage(policy=_POLICY)
        mail["From"] = _mailbox(self._settings.sender_name, self._settings.sender)
        mail["To"] = _mailbox("", address)
        if self._settings.reply_to:
            mail["Reply-To"] = _mailbox("", self._settings.reply_to)
        mail["Subject"] = self._subject(context)
        mail["Date"] = notice.at
        mail["Message-ID"] = message_id(delivery, self._settings.own_domain)
        if first:
            mail["In-Reply-To"] = mail["References"] = _one_id(first)
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's holiday answers it
        mail["X-Auto-Response-Suppress"] = "All"
        mail["X-Jitgate-Request"] = _unencoded(shown(subject.request_id))
        mail["X-Jitgate-Notice"] = notice.kind.value
        mail.set_content(self._text(said, context))
        try:
            mail.add_alternative(self._templates.render("email/message.html", context), subtype="html")
        except Exception:  # noqa: BLE001  # a plain mail tells it as well
            _log.exception("mail_without_html", kind=notice.kind.value)
        return mail.as_bytes()

    def _subject(self, context: dict[str, object]) -> str:
        """The same for all mails about a request, but for "Re:": mailboxes thread by it."""
        words = shown(" ".join(self._templates.render("email/subject.txt", context).split()))
        return cut(_unencoded(words), _SUBJECT_LIMIT)

    def _text(self, said: Said, context: dict[str, object]) -> str:
        try:
            return self._templates.render("email/message.txt", context) + "\n"
        except Exception:  # noqa: BLE001  # as above
            _log.exception("mail_without_template", kind=context["kind"])
            return "\n".join([said.title, said.text, *(f"{fact.label}: {fact.value}" for fact in said.facts), ""])


def _unencoded(text: str) -> str:
    """A header decodes `=?utf-8?q?…?=` (RFC 2047), which could be line breaks and the headers after them."""
    return text.replace("=?", "= ?")


def _mailbox(name: str, address: str) -> Address:
    local, _, domain = address.rpartition("@")
    return Address(name, local, domain)


def _one_id(kept: str) -> str:
    """A message id as we gave it once; whatever else stands there is not let into a header."""
    inner = kept.removeprefix("<").removesuffix(">")
    return f"<{inner}>" if inner.isascii() and inner.isprintable() and not set(inner) & set('<> "') else ""

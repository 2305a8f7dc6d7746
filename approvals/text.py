"""Words that people write into a request and others read in terminals, mails and chats (R23)."""

import unicodedata

MAX_TEXT = 256
"""Characters (code points) of a reason or a comment, after trimming."""

BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""These make a text read differently from what it says; an approver must see what was written."""


def fault_in(text: str) -> str | None:
    """What is wrong with a trimmed, non-empty text; None when it can be shown as it is.

    One line only: a newline could forge a line of a log, a mail header or a chat message.
    """
    if len(text) > MAX_TEXT:
        return f"has {len(text)} characters, at most {MAX_TEXT} are allowed"
    if any(unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"} or c in BIDI_CONTROLS for c in text):
        return "contains a line break or another control character"
    if not any(unicodedata.category(c)[0] in "LNPS" for c in text):
        return "contains nothing that can be read"
    return None

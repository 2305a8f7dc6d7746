"""A place in the tokens of a text, and the slips seen on the way to it."""

from policy.findings import Finding, Places
from policy.reading.lexer import Token, tokens


class Unreadable(Exception):
    """The reader can't go on in this statement."""

    def __init__(self, token: Token, message: str) -> None:
        super().__init__(message)
        self.token = token


class Cursor:
    """Walks over the tokens of one text."""

    def __init__(self, text: str) -> None:
        self.places = Places(text)
        self.slips: list[Finding] = []
        self._tokens = tokens(text)
        self._at = 0

    @property
    def now(self) -> Token:
        """The token to be taken next; of kind `end` when there is none."""
        return self._tokens[self._at]

    @property
    def behind(self) -> int:
        """The offset where the token taken last ends."""
        return self._tokens[self._at - 1].end if self._at else 0

    def ahead(self, steps: int = 1) -> Token:
        """The token so many steps on."""
        return self._tokens[min(self._at + steps, len(self._tokens) - 1)]

    def sees(self, *texts: str) -> bool:
        """Whether the next token is one of these names or marks."""
        return self.now.kind in ("name", "mark") and self.now.text in texts

    def take(self) -> Token:
        """The next token; the end can be taken again and again."""
        token = self.now
        if token.kind != "end":
            self._at += 1
        return token

    def takes(self, *texts: str) -> bool:
        """Takes the next token if it is one of these."""
        seen = self.sees(*texts)
        if seen:
            self._at += 1
        return seen

    def expect(self, what: str) -> Token:
        """Takes exactly this. Raises Unreadable if something else is next."""
        if not self.sees(what):
            raise self.stuck(f"`{what}`")
        return self.take()

    def expect_or_insert(self, what: str, *before: str) -> None:
        """Takes exactly this; where one of `before` or the end is next instead, it was only left out."""
        if self.takes(what):
            return
        if not (self.sees(*before) or self.now.kind == "end"):
            raise self.stuck(f"`{what}`")
        self.slip(self.behind, self.behind, f"`{what}` is missing here", what)

    def name(self, of_what: str) -> Token:
        """Takes a name. Raises Unreadable if something else is next."""
        if self.now.kind != "name":
            raise self.stuck(of_what)
        return self.take()

    def sees_string(self) -> bool:
        """Whether a string is next, be it in the wrong quotes."""
        return self.now.kind in ("string", "quoted", "open")

    def string(self, of_what: str) -> str:
        """Takes a string and gives what stands between the quotes, escapes as written."""
        if not self.sees_string():
            raise self.stuck(of_what)
        token = self.take()
        if token.kind == "string":
            return token.text[1:-1]
        bare = token.text[1:] if token.kind == "open" else token.text[1:-1]
        bare = bare.rstrip("\\") if token.kind == "open" else bare.replace('"', '\\"')
        message = "this string has no closing quote" if token.kind == "open" else 'strings stand in `"`'
        self.slip(token.start, token.end, message, f'"{bare}"')
        return bare

    def slip(self, start: int, end: int, message: str, write_instead: str) -> None:
        """Notes a fault that can be seen through."""
        self.slips.append(self.places.finding(start, end, message, write_instead))

    def stuck(self, expected: str) -> Unreadable:
        """What to raise when the next token makes no sense."""
        shown = "the end of the text" if self.now.kind == "end" else f"`{self.now.text[:40]}`"
        return Unreadable(self.now, f"expected {expected}, found {shown}")

"""YAML and JSON text as nodes that know their place, with what a policy needs none of refused."""

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import yaml

from policy.findings import Finding, Places

MAX_BYTES = 64 * 1024
MAX_DEPTH = 10
MAX_NODES = 10_000
"""The largest policy that is accepted has about a third of them."""

Path = tuple[str | int, ...]
"""The way from the root to a part: ("levels", 0, "approvals")."""


class NotAccepted(Exception):
    """The text as a whole can't be read. `at` is the offset of the fault."""

    def __init__(self, at: int, message: str) -> None:
        super().__init__(message)
        self.at = at


class _Loader(yaml.SafeLoader):
    """Composes nodes and constructs nothing from them. Refuses aliases (a small text could stand for a huge one),
    tags, and depth before it goes into it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call] # the stubs leave it untyped
        at = event.start_mark.index
        if isinstance(event, yaml.NodeEvent) and event.anchor:  # of an alias, this is the name it refers to
            raise NotAccepted(at, "anchors and aliases are not accepted: write the value out where it is needed")
        if getattr(event, "tag", None):
            raise NotAccepted(at, "YAML tags are not accepted: put a string in quotes instead")
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise NotAccepted(at, f"nested more than {MAX_DEPTH} deep")
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise NotAccepted(at, f"a policy has at most {MAX_NODES} keys and values")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def readable(text: str) -> str:
    """JSON may be indented with tabs, YAML may not; offsets stay what they are."""
    return text.replace("\t", " ") if text.lstrip("\ufeff \t\r\n").startswith("{") else text


def compose(text: str, max_bytes: int = MAX_BYTES) -> yaml.Node:
    """The root node. Raises NotAccepted."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > max_bytes:
        raise NotAccepted(0, f"a policy of this form has at most {max_bytes} bytes, this has {size}")
    try:
        loader = _Loader(readable(text))
        node: yaml.Node | None = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise NotAccepted(mark.index if mark else 0, error.problem or "this is neither YAML nor JSON") from error
    except yaml.YAMLError as error:
        at = error.position if isinstance(error, yaml.reader.ReaderError) else 0
        raise NotAccepted(at, "this character is not accepted") from error
    if node is None:
        raise NotAccepted(0, "there is no policy in this text")
    return node


class Tree:
    """Reads values out of nodes, notes what is wrong with them, and remembers where each part stands."""

    def __init__(self, text: str) -> None:
        self.findings: list[Finding] = []
        self._text = text
        self._places = Places(text)
        self._nodes: dict[Path, yaml.Node] = {}

    def note(self, node: yaml.Node, message: str, write_instead: str | None) -> None:
        """A finding about a node. None: only the author can tell what to write."""
        start, end = node.start_mark.index, node.end_mark.index
        if write_instead is None:
            self.findings.append(self._places.finding(start, start, message, ""))
        else:
            self.findings.append(self._places.finding(start, end, message, write_instead))

    def note_at(self, path: Path, message: str, write_instead: str | None) -> None:
        """A finding about the value at a path; where nothing is written, about what it would be in."""
        node = self._nodes.get(path)
        if node is not None:
            self.note(node, message, None if write_instead is None else self.written(write_instead))
            return
        while path and path not in self._nodes:
            path = path[:-1]
        self.note(self._nodes[path], message, None)

    def place(self, path: Path, node: yaml.Node | None) -> None:
        """Says where a part stands that the text has under another name."""
        if node is not None:
            self._nodes[path] = node

    def mapping(
        self,
        node: yaml.Node,
        path: Path,
        known: Sequence[str],
        required: Mapping[str, str] | None = None,
        without: Mapping[str, str] | None = None,
    ) -> dict[str, yaml.Node]:
        """The known keys with their values. `required`: what has to be there, with an example of it. `without`:
        what means something elsewhere and has no counterpart here, with what to do about it."""
        self._nodes[path] = node
        if not isinstance(node, yaml.MappingNode):
            self.note(node, f"expected keys and values: {', '.join(known)}", None)
            return {}
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            if name in (without or {}):
                self.note(key, f"`{name}` has no counterpart, leave it out: {(without or {})[name]}", None)
            elif name not in known:
                close = get_close_matches(name, known, 1)
                listed = f"did you mean `{close[0]}`?" if close else f"known here are {', '.join(known)}"
                self.note(key, f"unknown key `{name}`: {listed}", self.written(close[0]) if close else None)
            elif name in found:
                self.note(key, f"`{name}` is there twice: leave one out", None)
            else:
                found[name] = value
                self._nodes[*path, name] = value
        for name, example in (required or {}).items():
            if name not in found:
                self.note(node, f"`{name}` is missing: add for example `{example}`", None)
        return found

    def sequence(self, node: yaml.Node, path: Path) -> list[yaml.Node] | None:
        """The items of a list. None: it is no list, which is noted."""
        self._nodes[path] = node
        if not isinstance(node, yaml.SequenceNode):
            self.note(node, f"`{path[-1]}` is a list", None)
            return None
        items: list[yaml.Node] = node.value
        self._nodes.update({(*path, place): item for place, item in enumerate(items)})
        return items

    def string(self, node: yaml.Node | None, path: Path, default: str) -> str:
        """The text as it is written: `1.10` and `yes` are what the author sees, not a number and a truth."""
        if node is None:
            return default
        self._nodes[path] = node
        if not isinstance(node, yaml.ScalarNode) or node.tag == "tag:yaml.org,2002:null":
            self.note(node, "expected text", None)
            return default
        # JSON writes what is beyond 16 bits as two escapes; YAML reads them as two halves of a character.
        text: str = node.value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if "\x00" in text:
            self.note(node, "text has no NUL in it", None)
            return default
        return text

    def integer(self, parts: Mapping[str, yaml.Node], path: Path, default: int) -> int:
        """A whole number, in decimal digits: YAML's octal and base 60 surprise."""
        node = parts.get(str(path[-1]))
        if node is None:
            return default
        if isinstance(node, yaml.ScalarNode) and node.style is None and self._digits(node.value):
            return int(node.value)
        self.note(node, f"`{path[-1]}` is a whole number", None)
        return default

    def boolean(self, parts: Mapping[str, yaml.Node], path: Path, *, default: bool) -> bool:
        """`true` or `false`, and none of YAML's other words for them."""
        spellings = {"yes": "true", "on": "true", "no": "false", "off": "false"}
        word = self.choice(parts, path, ("true", "false"), "true" if default else "false", spellings)
        return word == "true"

    def choice(
        self,
        parts: Mapping[str, yaml.Node],
        path: Path,
        known: Sequence[str],
        default: str,
        spellings: Mapping[str, str] | None = None,
    ) -> str:
        """One of several words. `spellings`: what else may be written for them, and is not accepted."""
        node = parts.get(str(path[-1]))
        if node is None:
            return default
        written = node.value if isinstance(node, yaml.ScalarNode) else ""
        if written in known:
            return str(written)
        close = get_close_matches(written.lower(), [word.lower() for word in known], 1, 0.5)
        meant = next((word for word in known if word.lower() in close), None)
        self.note(node, f"`{path[-1]}` is {' or '.join(known)}", (spellings or {}).get(written.lower(), meant))
        return default

    @staticmethod
    def _digits(text: str) -> bool:
        digits = text.removeprefix("-")
        return digits.isascii() and digits.isdigit() and len(digits) <= 9 and (digits == "0" or digits[0] != "0")

    def written(self, value: str) -> str:
        """A value as both YAML and JSON take it."""
        plain = value.isascii() and value.isalnum() and not self._text.lstrip().startswith("{")
        return value if plain or value.removeprefix("-").isdigit() else json.dumps(value, ensure_ascii=False)

"""How a decision came about, statement by statement (R14), as lines for people."""

from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from rich.text import Text

from clients.cli.text import clean

_STYLES = {"matched": "green", "error": "red", "approves": "green", "denies auto-approval": "red"}
_TITLES = {"deny": "deny-access policy", "auto": "auto-approval policy"}


def lines(explanation: Struct) -> list[Text]:
    """What the gateway said; a part that it left out is skipped."""
    said: Mapping[str, Any] = MessageToDict(explanation)
    return [*_basis(said), *_document(said, "deny"), *_document(said, "auto"), *_manual(said)]


def _basis(said: Mapping[str, Any]) -> Iterator[Text]:
    principal, node = said.get("principal") or {}, said.get("node") or {}
    yield Text("decided on", style="bold")
    attributes = principal.get("attributes") or {}
    pairs = [
        f"{key}={value}"
        for key, value in sorted({**attributes, **(principal.get("principal_tags") or {})}.items())
    ]
    groups = ", ".join(map(str, principal.get("groups") or ())) or "no group"
    yield Text(clean(f"  user {principal.get('id', '?')} in {groups} {' '.join(pairs)}".rstrip()))
    tags = " ".join(f"{key}={value}" for key, value in sorted((node.get("tags") or {}).items())) or "no tags"
    yield Text(clean(f"  node {node.get('id', '?')} with {tags}"))


def _document(said: Mapping[str, Any], kind: str) -> Iterator[Text]:
    document = said.get(kind)
    if not document:
        return
    version = f", version {document['version']:.0f}" if document.get("version") else ""
    effect = str(document.get("effect", ""))
    head = Text(f"{_TITLES[kind]}{version}: ", style="bold")
    head.append(clean(effect), style=_STYLES.get(effect, ""))
    if document.get("why"):
        head.append(clean(f" ({document['why']})"), style="")
    yield head
    for statement in document.get("statements") or ():
        yield _statement(statement)
        if statement.get("why"):
            yield Text(clean(f"      {statement['why']}"), style="dim")
    if others := int(document.get("out_of_scope") or 0):
        yield Text(f"  {others} more name other users or groups", style="dim")


def _statement(statement: Mapping[str, Any]) -> Text:
    match = str(statement.get("match", ""))
    mark = "✓" if match == "matched" else "!" if match == "error" else "·"
    line = Text(f"  {mark} ", style=_STYLES.get(match, "dim"))
    where = f"line {statement['line']:.0f} " if statement.get("line") else ""
    line.append(clean(f"{where}{statement.get('id', '')}: "), style="")
    line.append(clean(match), style=_STYLES.get(match, "dim"))
    line.append(clean(f"  {statement.get('text', '')}"), style="dim")
    return line


def _manual(said: Mapping[str, Any]) -> Iterator[Text]:
    accounts = said.get("manual") or ()
    if accounts:
        yield Text("manual approval policies", style="bold")
    for account in accounts:
        matched = bool(account.get("matched"))
        line = Text(f"  {'✓' if matched else '·'} ", style="green" if matched else "dim")
        line.append(clean(f"{account.get('policy', '?')}, version {account.get('version') or 0:.0f}: "), style="")
        line.append(clean(str(account.get("why", ""))), style="" if matched else "dim")
        yield line

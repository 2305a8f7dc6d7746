"""What is wrong with a policy text, as a good compiler shows it: the line, a caret, what to write instead."""

from collections.abc import Iterable

from rich.text import Text

from clients.cli.text import clean
from jitgate.v1.policy_pb2 import PolicyFinding

TAB = "    "


def lines(name: str, text: str, findings: Iterable[PolicyFinding]) -> list[Text]:
    """`name` is what the text is called, for example its file."""
    source = text.split("\n")
    shown: list[Text] = []
    for finding in findings:
        shown += _lines(name, text, source, finding)
    return shown


def _lines(name: str, text: str, source: list[str], finding: PolicyFinding) -> list[Text]:
    head = Text(f"{clean(name)}:{finding.line}:{finding.column}: ", style="bold")
    head.append(clean(finding.message), style="red")
    shown = [head]
    line = source[finding.line - 1] if 0 < finding.line <= len(source) else ""
    if line.strip():
        margin = f"{finding.line:>5} │ "
        shown.append(Text(margin, style="dim").append(_expanded(line), style=""))
        before = len(_expanded(line[: max(finding.column - 1, 0)]))
        mark = Text(" " * 5 + " │ ", style="dim").append(" " * before)
        shown.append(mark.append("^" * _width(line, finding), style="red"))
    if finding.HasField("write_instead"):
        shown += _advice(text, finding)
    return shown


def _width(line: str, finding: PolicyFinding) -> int:
    replaced = finding.replace_end - finding.replace_start
    rest = len(line) - finding.column + 1
    return max(1, min(replaced, rest))


def _advice(text: str, finding: PolicyFinding) -> list[Text]:
    replaced = text[finding.replace_start : finding.replace_end]
    if not finding.write_instead and not replaced:
        return []
    if not finding.write_instead:
        return [Text("      = leave out: ", style="cyan").append(_expanded(_first_line(replaced)), style="")]
    verb = "write instead: " if replaced else "insert: "
    head, *more = finding.write_instead.split("\n")
    shown = [Text(f"      = {verb}", style="cyan").append(_expanded(head), style="green")]
    return shown + [Text("        ").append(_expanded(item), style="green") for item in more]


def _first_line(text: str) -> str:
    head, newline, _ = text.partition("\n")
    return f"{head} …" if newline else head


def _expanded(text: str) -> str:
    return clean(text.replace("\t", TAB))

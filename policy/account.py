"""What a Cedar document had to say, statement by statement (R14)."""

from collections.abc import Iterator
from dataclasses import dataclass

import cedarpy

from policy.cedar import Answer, CompiledCedar, Question
from policy.explanation import DocumentAccount, Effect, Match, StatementAccount
from policy.model import PolicyKind, Resource
from policy.reading.syntax import Expr, Statement
from policy.scope import principal_scope, resource_scope, resource_scope_fits

_SHOWN = 160


@dataclass(frozen=True, slots=True)
class Asked:
    """A document, where there is one, and its answer, where it was asked."""

    kind: PolicyKind
    document: CompiledCedar | None
    answer: Answer | None


def account(asked: Asked, resource: Resource) -> DocumentAccount:
    """The account that is kept with a request, made from the decision alone.

    Cedar names what was satisfied and what erred; whatever else it was given had a false condition. What it was
    not given is only counted: the whole of it can be had from `explain`, as the version is kept.
    """
    document, answer = asked.document, asked.answer
    if document is None or answer is None:
        return _without_statements(asked)
    statements = tuple(
        _statement(document, number, answer, resource, "its condition is false") for number in answer.candidates
    )
    return DocumentAccount(
        asked.kind,
        document.document.version,
        _effect(asked.kind, answer),
        answer.failure,
        statements,
        out_of_scope=len(document.statements) - len(statements),
    )


def full_account(asked: Asked, question: Question | ValueError) -> DocumentAccount:
    """The account of every statement, with the part of its condition that was false."""
    document, answer = asked.document, asked.answer
    if document is None or answer is None or isinstance(question, ValueError):
        return _without_statements(asked)
    candidates = set(answer.candidates)
    statements = []
    for number, statement in enumerate(document.statements):
        if number not in candidates:
            why = f"`{principal_scope(document.nodes[number])}` is not this principal"
            statements.append(_made(document, number, Match.SCOPE_MISMATCH, why))
            continue
        why = ""
        if number not in answer.satisfied and number not in answer.errors:
            why = _what_is_false(document.document.text, statement, question)
        statements.append(_statement(document, number, answer, question.resource, why))
    return DocumentAccount(
        asked.kind,
        document.document.version,
        _effect(asked.kind, answer),
        answer.failure,
        tuple(statements),
    )


def _without_statements(asked: Asked) -> DocumentAccount:
    if asked.document is None:
        return DocumentAccount(asked.kind, None, Effect.ABSENT)
    version = asked.document.document.version
    if asked.answer is None:
        why = "the deny-access policy had taken auto-approval away"
        return DocumentAccount(asked.kind, version, Effect.NOT_ASKED, why)
    return DocumentAccount(asked.kind, version, _effect(asked.kind, asked.answer), asked.answer.failure)


def _effect(kind: PolicyKind, answer: Answer) -> Effect:
    if kind is PolicyKind.DENY:
        if answer.satisfied:
            return Effect.DENIES
        return Effect.UNUSABLE if answer.erred else Effect.DOES_NOT_DENY
    if answer.failure:
        return Effect.UNUSABLE
    return Effect.APPROVES if answer.satisfied else Effect.GRANTS_NOTHING


def _statement(
    document: CompiledCedar, number: int, answer: Answer, resource: Resource, false: str
) -> StatementAccount:
    node = document.nodes[number]
    if number in answer.satisfied:
        return _made(document, number, Match.MATCHED)
    if number in answer.errors:
        return _made(document, number, Match.ERROR, answer.errors[number])
    if not resource_scope_fits(node, resource):
        return _made(document, number, Match.SCOPE_MISMATCH, f"`{resource_scope(node)}` is not this node")
    return _made(document, number, Match.CONDITION_FALSE, false)


def _made(document: CompiledCedar, number: int, match: Match, why: str = "") -> StatementAccount:
    begins = document.beginnings[number]
    return StatementAccount(document.name_of(number), begins.line, begins.text, match, why)


def _what_is_false(text: str, statement: Statement, question: Question) -> str:
    """The first part of a statement's conditions that is not met: Cedar gets one more part at a time."""
    conditions = ""
    for word, part in _parts(statement):
        shown = " ".join(text[part.start : part.end].split())[:_SHOWN]
        conditions += f" {word} {{ {text[part.start : part.end]}\n }}"
        prefix = cedarpy.PolicySet.from_str(f"permit(principal, action, resource){conditions};")
        if not question.ask(prefix).allowed:
            return f"`{shown}` is {'true, and it says unless' if word == 'unless' else 'false'}"
    return "its scope does not fit"


def _parts(statement: Statement) -> Iterator[tuple[str, Expr]]:
    for clause in statement.clauses:
        if clause.word == "when":
            yield from (("when", part) for part in _operands(clause.body))
        else:
            yield "unless", clause.body


def _operands(expr: Expr) -> Iterator[Expr]:
    if expr.kind in ("and", "group"):
        for child in expr.children:
            yield from _operands(child)
    else:
        yield expr

"""Cedar documents, compiled once and then asked often."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files

import cedarpy
from cedarpy import pst

from policy.findings import Places
from policy.model import CedarDocument, PolicyKind, Principal, Resource
from policy.reading.statements import read
from policy.reading.syntax import Statement

USER = "AWS::IdentityStore::User"
GROUP = "AWS::IdentityStore::Group"
PRINCIPAL_TAGS = "AWS::IAM::PrincipalTags"

SCHEMA = cedarpy.Schema.from_str(files("policy").joinpath("schema.cedar").read_text(encoding="utf-8"))
"""Read and parsed at import: deciding does no IO."""

EFFECT_OF = {PolicyKind.DENY: "forbid", PolicyKind.AUTO: "permit"}
"""The one effect that a document of this kind may hold (R12)."""

_ACTION = {"type": "AWS::SSM::Action", "id": "getTokenForInstanceAccess"}
_SLICES_KEPT = 256
_SHOWN = 160
_STATEMENT_ERROR = re.compile(r"while evaluating policy `policy(\d+)`: (.*)", re.DOTALL)


class Question:
    """May this principal get to this node? In the form that Cedar takes, made once for both documents."""

    __slots__ = ("entities", "principal", "request", "resource")

    def __init__(self, principal: Principal, resource: Resource) -> None:
        """Raises ValueError for what Cedar can't hold, like half of a surrogate pair in a tag."""
        self.principal = principal
        self.resource = resource
        user = {"type": USER, "id": principal.id}
        node = {"type": resource.entity_type, "id": resource.node_id}
        # Tags can't be written into the context: it has to refer to an entity that carries them.
        tags = {"type": PRINCIPAL_TAGS, "id": principal.id}
        self.request = {
            "principal": user,
            "action": _ACTION,
            "resource": node,
            "context": {"iam": {"principalTags": {"__entity": tags}}},
        }
        entities = [
            {
                "uid": user,
                "attrs": principal.attributes.for_cedar(),
                "parents": [{"type": GROUP, "id": group} for group in principal.groups],
            },
            {"uid": tags, "attrs": {}, "parents": [], "tags": dict(principal.principal_tags)},
            {"uid": node, "attrs": {}, "parents": [], "tags": dict(resource.tags)},
        ]
        self.entities = cedarpy.Entities.from_json_str(json.dumps(entities), SCHEMA)

    def ask(self, policies: cedarpy.PolicySet) -> cedarpy.AuthzResult:
        """Cedar's answer, with the request checked against the schema."""
        return cedarpy.is_authorized(self.request, policies, self.entities, SCHEMA)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a document has to say to a question. Numbers are of statements, from 0.

    All statements of a document have one effect, so Cedar names every satisfied one and every erring one; the
    candidates that are in neither are those whose conditions were not met.
    """

    candidates: tuple[int, ...] = ()
    satisfied: frozenset[int] = frozenset()
    errors: Mapping[int, str] = field(default_factory=dict)
    failure: str = ""
    """Why there is no answer from the document as a whole; empty: there is one."""

    @property
    def erred(self) -> bool:
        """Whether anything at all went wrong. NoDecision and errors without a statement count (R13)."""
        return bool(self.errors or self.failure)


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a statement begins and how, for a reader to know it by."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class _Slice:
    """The statements whose principal scope fits certain groups and a certain user."""

    numbers: tuple[int, ...]
    policies: cedarpy.PolicySet


class CompiledCedar:
    """A compiled document. Callers keep it, keyed by policy and version: compiling is the slow part.

    Cedar evaluates every statement it is given, so only those are given whose principal scope fits the user or
    a group of the user. Resource scopes are not indexed: the guide's policies choose nodes by tags, in the
    conditions, and a slice per node would never be asked for twice.
    """

    def __init__(
        self,
        document: CedarDocument,
        statements: tuple[Statement, ...],
        nodes: tuple[pst.Template, ...],
        unusable: str = "",
    ) -> None:
        self.document = document
        self.statements = statements
        self.nodes = nodes
        self.unusable = unusable
        """Why this document can't be evaluated; empty: it can."""
        places = Places(document.text)
        self.beginnings = tuple(_beginning(document.text, places, statement) for statement in statements)
        self._for_anyone: list[int] = []
        self._by_user: dict[str, list[int]] = {}
        self._by_group: dict[str, list[int]] = {}
        for number, node in enumerate(nodes):
            self._index(number, node.principal)
        # A memo and no state: the same key always gives the same slice.
        self._slice = lru_cache(_SLICES_KEPT)(self._cut)

    def _index(self, number: int, scope: pst.PrincipalOrResourceConstraint) -> None:
        match scope:
            case pst.ScopeAny():
                self._for_anyone.append(number)
            case pst.ScopeIs(entity_type) if str(entity_type) == USER:
                self._for_anyone.append(number)
            case pst.ScopeEq(pst.EntityUid() as uid) if str(uid.type) == USER:
                self._by_user.setdefault(uid.id, []).append(number)
            case pst.ScopeIn(pst.EntityUid() as uid):
                self._index_in(number, uid)
            case pst.ScopeIsIn(entity_type, pst.EntityUid() as uid) if str(entity_type) == USER:
                self._index_in(number, uid)
            case _:
                pass  # `== Group`, `is Role`: fits no principal, as principals are users

    def _index_in(self, number: int, uid: pst.EntityUid) -> None:
        if str(uid.type) == GROUP:
            self._by_group.setdefault(uid.id, []).append(number)
        elif str(uid.type) == USER:  # every entity is in itself
            self._by_user.setdefault(uid.id, []).append(number)

    def _cut(self, user: str | None, groups: frozenset[str]) -> _Slice:
        fitting = set(self._for_anyone)
        if user is not None:
            fitting.update(self._by_user[user])
        for group in groups:
            fitting.update(self._by_group[group])
        numbers = tuple(sorted(fitting))
        # The ids of the whole document are kept: given text, Cedar would number the slice from 0 again.
        nodes = {f"policy{number}": self.nodes[number] for number in numbers}
        chosen = pst.PolicySet(templates={}, static_policies=nodes, template_links=())
        return _Slice(numbers, cedarpy.PolicySet.from_pst(chosen))

    def name_of(self, number: int) -> str:
        """The statement's `@id`, else its place in the document, from 1."""
        return self.statements[number].id or f"statement {number + 1}"

    def answer(self, question: Question) -> Answer:
        """Ask the statements whose principal scope fits."""
        if self.unusable:
            return Answer(failure=self.unusable)
        principal = question.principal
        user = principal.id if principal.id in self._by_user else None
        part = self._slice(user, frozenset(self._by_group.keys() & principal.groups))
        if not part.numbers:
            return Answer()
        return _read_answer(part.numbers, question.ask(part.policies))


def _beginning(text: str, places: Places, statement: Statement) -> Beginning:
    start = statement.effect_start
    line, _ = places.of(start)
    return Beginning(line, " ".join(text[start : min(statement.end, start + 400)].split())[:_SHOWN])


def _read_answer(candidates: tuple[int, ...], result: cedarpy.AuthzResult) -> Answer:
    errors: dict[int, str] = {}
    failures = []
    for text in result.diagnostics.errors:
        match = _STATEMENT_ERROR.search(text)
        if match:
            errors[int(match[1])] = match[2]
        else:
            failures.append(text)
    if result.decision is cedarpy.Decision.NoDecision:
        failures.append("Cedar gave no decision")
    satisfied = frozenset(int(reason.removeprefix("policy")) for reason in result.diagnostics.reasons)
    return Answer(candidates, satisfied, errors, "; ".join(failures))


def compile_document(document: CedarDocument) -> CompiledCedar:
    """Compile a stored document.

    Never raises: a document that can't be used compiles to one that grants nothing and, as a deny-access
    policy, takes all auto-approval away (R13). Stored documents were validated; this is for the day when they
    were changed behind our back, or when a later Cedar reads them otherwise.
    """
    try:
        statements, nodes = _parse(document)
    except ValueError as error:
        return CompiledCedar(document, (), (), unusable=str(error))
    return CompiledCedar(document, statements, nodes)


def _parse(document: CedarDocument) -> tuple[tuple[Statement, ...], tuple[pst.Template, ...]]:
    """Raises ValueError, saying why the document is of no use."""
    effect = EFFECT_OF.get(document.kind)
    if effect is None:
        raise ValueError("a manual approval policy is no Cedar document")
    # The reader goes first: what it refuses as too deep would end the process in Cedar's own parser.
    statements = tuple(read(document.text))
    for statement in statements:
        for fault in (statement.unreadable, *statement.slips):
            if fault:
                raise ValueError(f"line {fault.line}: {fault.message}")
    parsed = cedarpy.PolicySet.from_str(document.text).to_pst()
    nodes = tuple(parsed.static_policies.get(f"policy{number}") for number in range(len(statements)))
    if len(parsed.static_policies) != len(statements) or None in nodes:
        raise ValueError("the statements can't be told apart")
    found = tuple(node for node in nodes if node is not None)
    if any(node.effect != effect for node in found):
        raise ValueError(f"only `{effect}` is allowed in this document")
    return statements, found

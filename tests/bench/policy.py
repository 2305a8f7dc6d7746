"""What a decision costs when most of the policies are for other people."""

from statistics import median
from time import perf_counter_ns

from policy.cedar import CompiledCedar, compile_document
from policy.evaluate import evaluate
from policy.model import Attributes, AutoApproved, CedarDocument, PolicyKind, Principal, Resource

_ROUNDS = 2_000
_CANDIDATES = 15
_POLICIES = 1_000

_PRINCIPAL = Principal("alice", frozenset({"sre", "dba", "oncall"}), Attributes(cost_center="cc-14"))
_NODE = Resource("i-0123456789abcdef0", {"Environment": "prod", "CostCenter14": "cc-14", "Workload": "db"})


def rows() -> dict[str, tuple[float, str]]:
    """Medians of decisions by turns, so that whatever else the machine does hits both alike."""
    few, many = _document(_CANDIDATES), _document(_POLICIES)
    times: tuple[list[int], list[int]] = ([], [])
    for number in range(_ROUNDS):
        for place in (0, 1) if number % 2 else (1, 0):
            times[place].append(_decide((few, many)[place]))
    return {"policy.decision_1000_vs_1": (median(times[1]) / median(times[0]), "ratio")}


def _decide(document: CompiledCedar) -> int:
    start = perf_counter_ns()
    decision = evaluate(None, document, [], _PRINCIPAL, _NODE)
    took = perf_counter_ns() - start
    assert isinstance(decision.outcome, AutoApproved)
    return took


def _document(policies: int) -> CompiledCedar:
    """So many policies, of which fifteen are for a group of the principal, and one of those grants."""
    every = policies // _CANDIDATES
    statements = []
    for number in range(policies):
        mine = number % every == 0 and number // every < _CANDIDATES
        group = "sre" if mine else f"others-{number}"
        tag = f"CostCenter{number // every}" if mine else f"CostCenter{number}"
        statements.append(
            f'permit(principal in AWS::IdentityStore::Group::"{group}",'
            ' action == AWS::SSM::Action::"getTokenForInstanceAccess", resource)'
            f' when {{ principal has costCenter && resource.hasTag("{tag}")'
            f' && principal.costCenter == resource.getTag("{tag}") }};'
        )
    return compile_document(CedarDocument(PolicyKind.AUTO, "default", "default", 1, "\n".join(statements)))

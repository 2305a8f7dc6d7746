"""From policies, a person and a node to a decision (R5 to R14)."""

from collections.abc import Sequence
from dataclasses import dataclass

from policy.account import Asked, account, full_account
from policy.cedar import Answer, CompiledCedar, Question
from policy.explanation import Explanation
from policy.manual import account_of, select
from policy.model import AutoApproved, ManualPolicy, Outcome, PolicyKind, Principal, Resource


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to happen to the request, and why."""

    outcome: Outcome
    explanation: Explanation


def evaluate(
    deny: CompiledCedar | None,
    auto: CompiledCedar | None,
    manual: Sequence[ManualPolicy],
    principal: Principal,
    resource: Resource,
) -> Decision:
    """Decide a request. None: the organization, or the account and Region, has no such policy.

    `auto` and `manual` are those of the account and Region that node and requester share (R1, R2).
    Never raises for what is in a policy: what can't be evaluated doesn't approve (R13).
    """
    question = _question(principal, resource)
    denial = _answer(deny, question)
    denied = _takes_away(denial)
    approval = Asked(PolicyKind.AUTO, auto, None if denied else _answer(auto, question))
    outcome = _outcome(denied, approval, manual, resource)
    return Decision(
        outcome,
        Explanation(
            principal,
            resource,
            deny=account(Asked(PolicyKind.DENY, deny, denial), resource),
            auto=account(approval, resource),
            manual=() if isinstance(outcome, AutoApproved) else account_of(manual, resource),
            outcome=outcome,
        ),
    )


def explain(
    deny: CompiledCedar | None,
    auto: CompiledCedar | None,
    manual: Sequence[ManualPolicy],
    principal: Principal,
    resource: Resource,
) -> Decision:
    """The same decision with the whole account: every statement of every document, and every manual policy.

    Slower than `evaluate`, whose account leaves out what could not have changed the decision.
    """
    question = _question(principal, resource)
    denial = _answer(deny, question)
    approval = Asked(PolicyKind.AUTO, auto, _answer(auto, question))
    outcome = _outcome(_takes_away(denial), approval, manual, resource)
    return Decision(
        outcome,
        Explanation(
            principal,
            resource,
            deny=full_account(Asked(PolicyKind.DENY, deny, denial), question),
            auto=full_account(approval, question),
            manual=account_of(manual, resource),
            outcome=outcome,
        ),
    )


def _question(principal: Principal, resource: Resource) -> Question | ValueError:
    try:
        return Question(principal, resource)
    except ValueError as error:
        return error


def _answer(document: CompiledCedar | None, question: Question | ValueError) -> Answer:
    if document is None:
        return Answer()
    if isinstance(question, ValueError):
        return Answer(failure=f"the request can't be put to Cedar: {question}")
    return document.answer(question)


def _takes_away(denial: Answer) -> bool:
    """Whether the deny-access policy takes auto-approval away.

    It is asked by itself: put together with the permits, Cedar would skip a forbid that errs, and the permit
    would go through. So here any error denies (R13).
    """
    return denial.erred or bool(denial.satisfied)


def _outcome(denied: bool, approval: Asked, manual: Sequence[ManualPolicy], resource: Resource) -> Outcome:
    answer, document = approval.answer, approval.document
    # A permit that errs doesn't grant and doesn't keep another from granting; no answer at all grants nothing.
    if not denied and document and answer and answer.satisfied and not answer.failure:
        names = tuple(document.name_of(number) for number in sorted(answer.satisfied))
        return AutoApproved(document.document.version, names)
    return select(manual, resource)

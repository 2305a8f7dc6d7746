"""What goes wrong between the gateway and an identity provider."""

from gateway.errors import Kind, Refused


class ProviderUnavailable(Exception):
    """The provider does not answer, or not as one does. The text says what happened, and holds no secret."""


class ProofRefused(Exception):
    """What came from the provider proves nobody, or the provider itself refused. The text says why."""


def over() -> Refused:
    return Refused(
        Kind.UNAUTHENTICATED,
        "SIGN_IN_OVER",
        "this sign-in is finished, took too long or was never begun",
        "Begin again: jit login",
    )


def not_proven(why: str) -> Refused:
    return Refused(
        Kind.UNAUTHENTICATED,
        "SIGN_IN_FAILED",
        f"the identity provider's proof was refused: {why}",
        "Try again: jit login. If it happens again, tell the gateway's operator.",
    )


def unavailable(name: str, why: str) -> Refused:
    return Refused(
        Kind.UNAVAILABLE,
        "PROVIDER_UNAVAILABLE",
        f"the identity provider {name} can't be used: {why}",
        "Try again later, or tell the gateway's operator; jit doctor shows the state of each provider.",
        metadata={"provider": name},
    )


def unusable_claim(what: str) -> Refused:
    return Refused(
        Kind.PERMISSION_DENIED,
        "CLAIM_UNUSABLE",
        f"the identity provider says something that can't be used here: {what}",
        "Tell the gateway's operator: provider and configuration must agree on the claims.",
    )

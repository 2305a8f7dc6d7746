"""Cedar documents, compiled once and then evaluated often."""

from policy.model import CedarDocument


class CompiledCedar:
    """A compiled document. Immutable in what it decides; callers keep it, keyed by policy and version."""

    document: CedarDocument


def compile_document(document: CedarDocument) -> CompiledCedar:
    """Compile a stored document.

    Never raises: a document that can't be used compiles to one that grants nothing and, as a deny-access
    policy, takes all auto-approval away (R13).
    """
    raise NotImplementedError

"""What can go wrong, by what the caller can do about it."""

from enum import StrEnum


class RecorderError(Exception):
    """Base of everything that this package raises on purpose."""


class RecordingFailed(RecorderError):
    """A recording can take no more; a strict session ends here. The message says why."""


class RepeatedOffset(RecorderError):
    """These bytes, or some of them, were recorded before; nothing was written."""


class ObserverFailed(RecorderError):
    """Whoever has to hear of a finished recording did not take it; it is told again."""


class KeyProblem(StrEnum):
    """What is wrong with a key, for who counts and tells it.

    UNUSABLE: something else, which the reason names. OTHER: with this call alone.
    """

    DISABLED = "disabled"
    PENDING_DELETION = "pending_deletion"
    MISSING = "missing"
    DENIED = "denied"
    THROTTLED = "throttled"
    UNREACHABLE = "unreachable"
    UNUSABLE = "unusable"
    OTHER = "other"


class KeyFailed(RecorderError):
    """A key provider did not do what it was asked."""

    def __init__(self, message: str, problem: KeyProblem = KeyProblem.OTHER) -> None:
        super().__init__(message)
        self.problem = problem


class KeyUnavailable(KeyFailed):
    """The key provider cannot be reached now; the same call may work later."""


class KeyRefused(KeyFailed):
    """The key provider says no for good: unknown key, other encryption context, damaged wrapped key."""


class StoreUnavailable(RecorderError):
    """The object store cannot be reached or has no room now; the same call may work later."""


class StoreUnreachable(StoreUnavailable):
    """The object store did not answer; to ask it again may take as long."""


class UnfitStore(StoreUnavailable):
    """The store works, but it would replace recordings without a word: nothing is written to it."""


class ObjectConflict(RecorderError):
    """The name is taken by an object with other content. Nothing was written."""


class ObjectMissing(RecorderError):
    """There is no object of that name."""


class ChecksumMismatch(RecorderError):
    """What arrived is not what was announced. Nothing was kept."""


class RefusedName(RecorderError):
    """The object name would leave the store or is not of the permitted form."""


class DamagedRecording(RecorderError):
    """Bytes that are not what the format says they must be; the message names the place."""


class DamagedManifest(DamagedRecording):
    """A manifest that does not parse, or whose signature does not hold."""


class DamagedInventory(RecorderError):
    """An inventory that does not parse, or whose signature does not hold."""


class UnusableFile(RecorderError):
    """A file or folder that somebody named is not there, cannot be read or is of another kind."""

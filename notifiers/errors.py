"""Why a notice was not delivered. The texts hold no secret: they are logged and shown by `jit doctor`."""


class NotDelivered(Exception):
    """The base of both; raised by a notifier, never anything else for what the outside world does."""


class TryAgain(NotDelivered):
    """It may work later: the service is down, slow, or limits the rate.

    `after`: seconds that the service asks for, and in which nothing is tried by this channel (at most an hour).
    """

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.after = after


class Undeliverable(NotDelivered):
    """It will not work, however often it is tried: the recipient is gone, the message is refused."""


class Unusable(Exception):
    """The notifier's settings cannot be used; raised when it is made. The text says what to do."""

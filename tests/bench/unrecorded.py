"""`jitgate serve` with a recorder that keeps nothing: what the same sessions take without one."""

from gateway.__main__ import main
from gateway.sessions.opening import Opener
from recorder.model import SessionInfo


async def _nothing(_self: Opener, _info: SessionInfo, _displaced: str, *, is_strict: bool) -> tuple[None, str]:
    return None, ""


if __name__ == "__main__":
    Opener._record = _nothing  # type: ignore[method-assign,assignment]  # that is the point
    main()

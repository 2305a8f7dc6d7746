"""Access tokens of open windows, kept beside the profile so that the next session starts at once.

A token works with this profile's key only; elsewhere it is useless. Losing the file costs one round trip.
"""

import json
import time
from contextlib import suppress

from clients.cli.errors import Failure
from clients.cli.profile import Profile, write_private

TYPE_CHECKING = False  # importing typing for it would take 2 ms
if TYPE_CHECKING:
    from typing import Any

    from clients.cli.wire.channel import Channel
    from jitgate.v1.access_pb2 import AccessToken

MARGIN_SECONDS = 5


def fetch(channel: "Channel", request_id: str) -> "AccessToken | None":
    """A token, while the request's window is open. Raises CallFailed."""
    from jitgate.v1 import access_pb2 as access

    wanted = access.GetAccessTokenRequest(access_request_id=request_id)
    path = "/jitgate.v1.AccessService/GetAccessToken"
    answer = channel.unary(path, wanted, access.GetAccessTokenResponse)
    return answer.token if answer.HasField("token") else None


def recall(profile: Profile, node: str) -> str:
    """The token that last opened `node` ("account/region/name"), or empty."""
    entry = _read(profile).get(node)
    if entry is None or float(entry["expires_at"]) <= time.time() + MARGIN_SECONDS:
        return ""
    return str(entry["token"])


def keep(profile: Profile, node: str, token: str, expires_at: float) -> None:
    now = time.time()
    known = {name: entry for name, entry in _read(profile).items() if float(entry["expires_at"]) > now}
    _write(profile, known | {node: {"token": token, "expires_at": expires_at}})


def forget(profile: Profile, node: str) -> None:
    known = _read(profile)
    if known.pop(node, None) is not None:
        _write(profile, known)


def _read(profile: Profile) -> "dict[str, dict[str, Any]]":
    try:
        known = json.loads((profile.folder / "tokens.json").read_bytes())
        return {
            name: {"token": entry["token"], "expires_at": entry["expires_at"]} for name, entry in known.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write(profile: Profile, known: "dict[str, dict[str, Any]]") -> None:
    with suppress(Failure):  # only a cache: the session goes on without it
        write_private(profile.folder / "tokens.json", json.dumps(known).encode())

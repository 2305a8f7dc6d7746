"""A TCP connection to a node, and why there is none."""

import asyncio
import errno
import socket

from gateway.nodes.errors import NodeUnreachable

_REASONS = {
    errno.ECONNREFUSED: "nothing listens there",
    errno.EHOSTUNREACH: "there is no route to the host",
    errno.ENETUNREACH: "there is no route to the network",
    errno.ETIMEDOUT: "it did not answer",
}


async def dial(host: str, port: int, seconds: float) -> socket.socket:
    """A connected socket, which is the caller's to close. Tries every address of a name in turn.

    Raises NodeUnreachable, at the latest after `seconds`.
    """
    try:
        async with asyncio.timeout(seconds):
            return await _first_that_answers(host, port)
    except TimeoutError:
        reason = f"no answer within {seconds:g} seconds"
        what_to_do = "Check that the node is up and that no firewall stands between the gateway and it."
    except (socket.gaierror, UnicodeError):
        reason = "the name does not resolve"
        what_to_do = "Check the node's host name, or register its address: jit nodes update --help"
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        what_to_do = "Check that sshd runs on the node and that host and port are right: jit nodes show --help"
    raise NodeUnreachable(f"{address(host, port)} cannot be reached: {reason}", what_to_do)


def address(host: str, port: int) -> str:
    """ "host:port", with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _first_that_answers(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    refusal: OSError | None = None
    for family, kind, protocol, _, place in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        connection = socket.socket(family, kind, protocol)
        connection.setblocking(False)
        try:
            await loop.sock_connect(connection, place)
        except OSError as error:
            connection.close()
            refusal = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise refusal or OSError("the name has no address")

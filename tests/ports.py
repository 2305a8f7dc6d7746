"""Ports that are kept for a server while it is away.

Whoever connects somewhere gets a port that is free at that moment, and one where somebody listened until now is. A
socket that is bound but does not listen keeps it from them; a server that reuses addresses, as ours do, gets it
nevertheless.
"""

import contextlib
import socket
from collections.abc import Iterable


class KeptPorts:
    """Until it is closed, or nobody knows of it any more. `addresses`: host and port, of this host's."""

    def __init__(self, addresses: Iterable[str]) -> None:
        self._sockets: list[socket.socket] = []
        for address in addresses:
            host, _, port = address.rpartition(":")
            held = socket.socket()
            self._sockets.append(held)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):  # somebody was faster: whoever wants it will say so
                held.bind((host, int(port)))

    def close(self) -> None:
        for held in self._sockets:
            held.close()

    def __del__(self) -> None:
        self.close()

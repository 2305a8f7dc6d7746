"""Where a call comes from."""


def source_address(peer: str) -> str:
    """The address in what gRPC calls a peer: "ipv4:192.0.2.1:50000", "ipv6:%5B2001:db8::1%5D:50000"."""
    host = peer.partition(":")[2].rpartition(":")[0]
    return host.replace("%5B", "").replace("%5D", "").strip("[]")

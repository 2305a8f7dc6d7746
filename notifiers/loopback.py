"""This host, as addresses name it: what goes there may go unencrypted."""

import ipaddress


def is_loopback(host: str | None) -> bool:
    """Whether the host of an address, as `urlsplit` gives it, is this very one; no name is looked up."""
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False

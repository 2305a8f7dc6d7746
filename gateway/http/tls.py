"""TLS of the web listener: the certificate of the moment at each handshake, HTTP/1.1 only."""

import os
import ssl
from collections.abc import Callable

from gateway.api.server import TlsMaterial


def server_context(material: Callable[[], TlsMaterial]) -> ssl.SSLContext:
    """A context for listening. `material` is asked again at each handshake, so that renewals take effect.

    Raises OSError (ssl.SSLError is one) when what it gives first is no certificate with its key.
    """
    latest = [material()]
    contexts = [_context(latest[0])]

    def choose(connection: ssl.SSLObject, _name: str | None, _context_of_listener: ssl.SSLContext) -> int | None:
        try:
            now = material()
            if now != latest[0]:
                contexts[0] = _context(now)
                latest[0] = now
        except OSError:
            pass  # files that are being replaced: the certificate before goes on for that moment
        connection.context = contexts[0]
        return None

    listening = _context(latest[0])
    listening.sni_callback = choose  # asked whether or not the client names a server
    return listening


def _context(material: TlsMaterial) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    # ssl reads files only, and this key belongs on no disk: a file that is in memory and has no name.
    descriptor = os.memfd_create("jitgate-tls")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(material.certificate_chain.rstrip() + b"\n" + material.key)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    return context

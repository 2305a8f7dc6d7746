"""Whom to trust as the gateway: a CA by file, by fingerprint, as the last time, or as a person confirms it."""

import hmac
import re
import socket
import ssl
import sys
from hashlib import sha256
from pathlib import Path

from clients.cli.asking import ask
from clients.cli.errors import USAGE, Failure
from clients.cli.profile import gateway_context
from clients.cli.wire.channel import CONNECT_SECONDS, split_address, tls_problem

PREFIX = "sha256:"


def establish(address: str, ca_file: Path | None, fingerprint: str, known: Path | None) -> str:
    """The trusted CA's certificates, PEM. Raises Failure when there is nothing to trust."""
    if ca_file is not None:
        return _from_file(ca_file)
    if fingerprint:
        return _by_fingerprint(address, normal(fingerprint))
    if known is not None and known.exists():
        return _from_file(known)
    return _as_confirmed(address)


def context(anchors: str) -> ssl.SSLContext:
    """TLS that trusts these certificates only, whether they sign themselves or not."""
    trusting = gateway_context()
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    trusting.load_verify_locations(cadata=anchors)
    return trusting


def normal(fingerprint: str) -> str:
    """ "sha256:" and 64 hex digits, however it was written ("AB:CD:…"). Raises Failure."""
    digits = fingerprint.lower().removeprefix(PREFIX).replace(":", "")
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise Failure("that is no SHA-256 fingerprint", f"Write it as {PREFIX} and 64 hex digits.", USAGE)
    return PREFIX + digits


def fingerprint_of(certificate: bytes) -> str:
    """The fingerprint of a DER certificate."""
    return PREFIX + sha256(certificate).hexdigest()


def _from_file(path: Path) -> str:
    try:
        text = path.read_text("ascii")
        context(text)
    except OSError as error:
        why = error.strerror if not isinstance(error, ssl.SSLError) else "it holds no certificate in PEM"
        raise Failure(
            f"{path} can't be used: {why}", "Give the gateway's CA certificate as a PEM file.", USAGE
        ) from None
    except ValueError:
        raise Failure(f"{path} holds no certificate in PEM", "Give the gateway's CA certificate.", USAGE) from None
    return text


def _by_fingerprint(address: str, wanted: str) -> str:
    for certificate in presented(address):
        if hmac.compare_digest(fingerprint_of(certificate), wanted):
            return ssl.DER_cert_to_PEM_cert(certificate)
    raise Failure(
        f"{address} shows no certificate with the fingerprint {wanted}",
        "Compare it with what the gateway printed; if it is right, this is not your gateway.",
    )


def _as_confirmed(address: str) -> str:
    root = presented(address)[-1]
    shown = fingerprint_of(root)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Failure(
            f"the CA of {address} is not known here",
            "Name it: --ca-fingerprint sha256:… (the gateway prints it when it starts) or --ca-file FILE",
            USAGE,
        )
    print(f"The CA of {address} is not known here. Its fingerprint is\n  {shown}", file=sys.stderr)
    answer = ask("Does the gateway's operator name the same one? [yes/no] ").strip().lower()
    if answer not in ("y", "yes"):
        raise Failure("the gateway is not trusted", "Ask its operator for the CA's fingerprint.")
    return ssl.DER_cert_to_PEM_cert(root)


def presented(address: str) -> list[bytes]:
    """The certificates that a server shows, DER, its own first. Nothing about them is verified."""
    host, port = split_address(address)
    unverified = gateway_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), CONNECT_SECONDS) as plain,
            unverified.wrap_socket(plain, server_hostname=host) as shown,
        ):
            # Public since Python 3.13; before, only the object beneath has it.
            source = shown if hasattr(shown, "get_unverified_chain") else shown._sslobj  # type: ignore[attr-defined] # noqa: SLF001
            chain = source.get_unverified_chain() or []
    except OSError as error:
        raise Failure(
            f"{address} can't be reached: {tls_problem(error)}",
            "Is the address right, and is it the sign-in address?",
            7,
        ) from None
    return [item if isinstance(item, bytes) else ssl.PEM_cert_to_DER_cert(item.public_bytes()) for item in chain]

"""Proving oneself at an identity provider: in a browser here, or with a code in a browser anywhere."""

import json
import os
import ssl
import sys
import time
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

from google.protobuf.message import Message

from clients.cli.asking import ask
from clients.cli.details import Details
from clients.cli.errors import USAGE, Failure
from clients.cli.loopback import Listener
from clients.cli.profile import write_private
from clients.cli.text import clean
from clients.cli.wire.channel import Channel
from clients.cli.wire.failure import CallFailed
from jitgate.v1 import identity_pb2 as identity

M = TypeVar("M", bound=Message)

BROWSER, DEVICE = "browser", "device"
_FILE = "provider.json"
_SERVICE = "/jitgate.v1.SignInService/"


class Providers:
    """Those of one gateway, asked over its sign-in address. Methods raise CallFailed beside what they name."""

    def __init__(self, address: str, context: ssl.SSLContext) -> None:
        self._address = address
        self._context = context

    def all(self) -> list[identity.IdentityProvider]:
        """Empty also where the gateway is too old to have any."""
        try:
            request = identity.ListIdentityProvidersRequest()
            return list(
                self._call("ListIdentityProviders", request, identity.ListIdentityProvidersResponse).providers
            )
        except CallFailed as failed:
            if failed.code == "UNIMPLEMENTED":
                return []
            raise

    def choose(self, name: str, *, needed: bool) -> identity.IdentityProvider | None:
        """The one of that name, else the only one, else the one that the person picks. None: the person has a
        password here, or there is no provider and none is `needed`. Raises Failure."""
        known = self.all()
        if name:
            for provider in known:
                if provider.name == name:
                    return provider
            raise Failure(f"this gateway has no identity provider {name!r}", _listed(known), USAGE)
        if not known and needed:
            raise Failure("this gateway has no identity provider", "Sign in with a password: --user ID", USAGE)
        return known[0] if len(known) == 1 else _picked(known) if known else None

    def prove(
        self, provider: identity.IdentityProvider, way: str, certificate_request: bytes
    ) -> identity.SignInResponse:
        """`way` is BROWSER, DEVICE or "" for what suits this machine. Raises Failure."""
        offered = [name for name, has in ((BROWSER, provider.browser), (DEVICE, provider.device)) if has]
        if way and way not in offered:
            raise Failure(
                f"{provider.name} takes no sign-in by {way}", f"It takes: {', '.join(offered) or 'none'}", USAGE
            )
        if not way:
            way = BROWSER if BROWSER in offered and (is_desktop() or DEVICE not in offered) else DEVICE
        if way == BROWSER:
            return self._by_browser(provider, certificate_request)
        return self._by_device(provider, certificate_request)

    def _by_browser(
        self, provider: identity.IdentityProvider, certificate_request: bytes
    ) -> identity.SignInResponse:
        with Listener(provider.loopback_ports) as listener:
            begun = self._call(
                "BeginBrowserSignIn",
                identity.BeginBrowserSignInRequest(
                    provider=provider.name, certificate_request=certificate_request, loopback_port=listener.port
                ),
                identity.BeginBrowserSignInResponse,
            )
            state = parse_qs(urlsplit(begun.authorization_url).query).get("state", [""])[0]
            listener.expect(state)
            _tell(f"Sign in at {provider.title} in your browser:\n  {begun.authorization_url}")
            open_in_browser(begun.authorization_url)
            answer = listener.wait(max(begun.expires_at.seconds - time.time(), 60))
        if "code" not in answer:
            why = answer.get("error_description") or answer.get("error") or "no reason given"
            raise Failure(f"{provider.title} did not sign you in: {why[:256]}", "Try again: jit login")
        finished = identity.CompleteBrowserSignInRequest(
            handle=begun.handle, code=answer["code"], state=state, iss=answer.get("iss", "")
        )
        return self._call("CompleteBrowserSignIn", finished, identity.SignInResponse)

    def _by_device(
        self, provider: identity.IdentityProvider, certificate_request: bytes
    ) -> identity.SignInResponse:
        begun = self._call(
            "BeginDeviceSignIn",
            identity.BeginDeviceSignInRequest(provider=provider.name, certificate_request=certificate_request),
            identity.BeginDeviceSignInResponse,
        )
        _tell(
            f"Sign in at {provider.title}, in a browser on any machine:\n"
            f"  {begun.verification_uri}\nand type the code {begun.user_code}"
        )
        if begun.verification_uri_complete:
            _tell(f"Or, with the code in it:\n  {begun.verification_uri_complete}")
        wait = begun.interval_seconds or 5
        ends = time.monotonic() + max(begun.expires_at.seconds - time.time(), 60)
        request = identity.CompleteDeviceSignInRequest(handle=begun.handle)
        while time.monotonic() < ends:
            time.sleep(wait)
            try:
                answer = self._call("CompleteDeviceSignIn", request, identity.CompleteDeviceSignInResponse)
            except CallFailed as failed:
                # The gateway restarts, or the provider does: the sign-in is kept, so it can go on.
                if failed.code != "UNAVAILABLE" or not _may_come_back(failed):
                    raise
                continue
            if answer.HasField("signed_in"):
                return answer.signed_in
            wait = answer.retry_after_seconds or wait
        raise Failure("the sign-in was not finished in time", "Try again: jit login")

    def _call(self, method: str, request: Message, answer: type[M]) -> M:
        channel = Channel(self._address, self._context)
        try:
            return channel.unary(_SERVICE + method, request, answer)
        finally:
            channel.close()


def remember(folder: Path, provider: str, sign_out_url: str) -> None:
    """Keeps where this profile was signed in; empty: with a password."""
    if not provider:
        (folder / _FILE).unlink(missing_ok=True)
        return
    content = json.dumps({"provider": provider, "sign_out_url": sign_out_url})
    write_private(folder / _FILE, content.encode() + b"\n")


def remembered(folder: Path) -> tuple[str, str]:
    """Provider and sign-out address of the profile; empty ones where there are none."""
    try:
        values = json.loads((folder / _FILE).read_bytes())
        return str(values["provider"]), str(values["sign_out_url"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", ""


def is_desktop() -> bool:
    """Whether a browser that is opened here is one that the person sees."""
    if "SSH_CONNECTION" in os.environ:
        return False
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def open_in_browser(address: str) -> bool:
    """Whether it was tried: web addresses only, and on a desktop only."""
    if not is_desktop() or not address.startswith(("https://", "http://")):
        return False
    import webbrowser

    return webbrowser.open(address)


def _may_come_back(failed: CallFailed) -> bool:
    return Details(failed.details).reason in ("", "PROVIDER_UNAVAILABLE")


def _listed(known: list[identity.IdentityProvider]) -> str:
    if not known:
        return "Sign in with a password: --user ID"
    names = ", ".join(f"{provider.name} ({provider.title})" for provider in known)
    return f"Name one: --provider NAME. There are: {names}. With a password: --user ID"


def _picked(known: list[identity.IdentityProvider]) -> identity.IdentityProvider | None:
    if not sys.stdin.isatty():
        raise Failure("this gateway has several identity providers", _listed(known), USAGE)
    _tell("Where do you sign in?")
    for number, provider in enumerate(known, 1):
        _tell(f"  {number}  {provider.title} ({provider.name})")
    _tell("  0  with a password of this gateway")
    answer = ask("Number: ").strip()
    if not answer.isdecimal() or int(answer) > len(known):
        raise Failure(f"{answer!r} is none of them", _listed(known), USAGE)
    return known[int(answer) - 1] if int(answer) else None


def _tell(text: str) -> None:
    print(clean(text, keep_lines=True), file=sys.stderr, flush=True)

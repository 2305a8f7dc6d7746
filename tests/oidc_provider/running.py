"""A real OpenID provider in a process of its own, and somebody's browser that signs in there."""

import contextlib
import json
import select
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.npm import require_packages
from tests.ports import KeptPorts
from tests.processes import START_SECONDS

FOLDER = Path(__file__).parent
SECRET = "a secret: 100% of it + more"  # of the clients "basic" and "post", as server.mjs knows it


class OidcProvider:
    """`people` maps user names to their claims. A start makes new signing keys; the port stays."""

    def __init__(self, folder: Path, *, claims_in_userinfo: bool = False, web_redirect: str = "") -> None:
        self._web_redirect = web_redirect
        self._accounts = folder / "accounts.json"
        self._claims_in_userinfo = claims_in_userinfo
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self.issuer = ""
        self.says({})

    def says(self, people: Mapping[str, Mapping[str, Any]]) -> None:
        """From now on it says that of people."""
        self._accounts.write_text(json.dumps(people))

    def start(self) -> None:
        require_packages(FOLDER)
        node = shutil.which("node")
        assert node is not None
        self._process = subprocess.Popen(
            [node, FOLDER / "server.mjs", str(self._port), self._accounts],
            env={
                "PATH": "",
                "CLAIMS_IN_USERINFO": str(self._claims_in_userinfo).lower(),
                "WEB_REDIRECT": self._web_redirect,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        # One that neither starts nor ends must not hold the test up.
        readable, _, _ = select.select([self._process.stdout], [], [], START_SECONDS)
        line = self._process.stdout.readline() if readable else b""
        assert line, "the OpenID provider did not start"
        self.issuer = json.loads(line)["issuer"]
        self._port = urlsplit(self.issuer).port or 0

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """It does not answer meanwhile, and nobody else gets its port."""
        self.stop()
        with contextlib.closing(KeptPorts([f"127.0.0.1:{self._port}"])):
            try:
                yield
            finally:
                self.start()


class _Form(HTMLParser):
    """The first form of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attributes}
        if tag == "form" and not self.action:
            self.action = named["action"]
        elif tag == "input" and named.get("name"):
            self.fields[named["name"]] = named.get("value", "")


class Browser:
    """Fills in the provider's pages as a person would. With a session of its own, as browsers have."""

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._client = httpx.Client(trust_env=False, timeout=60)

    def close(self) -> None:
        self._client.close()

    def sign_in(self, address: str, user: str) -> str:
        """From `address` on, through all pages, agreeing to everything. The address outside of the provider that
        it ends at, which is not visited; or "" where it ends on a page of the provider's."""
        response = self._client.get(address)
        for _ in range(20):
            if response.is_redirect:
                target = str(response.next_request.url) if response.next_request else ""
                if not target.startswith(self._issuer):
                    return target
                response = self._client.get(target)
                continue
            form = _Form(response.text)
            if not form.action:
                assert response.status_code == 200, response.text
                return ""
            fields = form.fields | ({"login": user, "password": "any"} if "login" in form.fields else {})
            response = self._client.post(httpx.URL(str(response.url)).join(form.action), data=fields)
        raise AssertionError("the provider's pages do not end")

    def visit(self, address: str) -> httpx.Response:
        return self._client.get(address)


def answer_in(address: str) -> dict[str, str]:
    """The query of the address that the browser was sent to."""
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}

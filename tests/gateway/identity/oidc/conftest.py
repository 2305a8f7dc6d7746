from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from gateway.identity.oidc.settings import IdentityProvider
from gateway.identity.oidc.sign_in import OidcSignIn
from tests.gateway.identity.conftest import House, Time
from tests.gateway.identity.oidc.world import settings, sign_in_at
from tests.oidc_provider.running import Browser, OidcProvider

ALICE = {
    "preferred_username": "alice",
    "name": "Alice Liddell",
    "groups": ["sre", "on call", "dba"],
    "employee_number": 4711,
    "cost_center": "R-7",
    "team": "Platform",
}
BOB = {"preferred_username": "bob", "groups": []}
CLAIMS = {
    "attributes": {"employeeNumber": "employee_number", "costCenter": "cost_center", "organization": "company"},
    "principal_tags": {"Team": "team"},
}


@pytest.fixture
def time() -> Time:
    """The provider looks at a clock of its own."""
    return Time.real()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OidcProvider]:
    provider = OidcProvider(tmp_path_factory.mktemp("provider"))
    provider.start()
    yield provider
    provider.stop()


@pytest.fixture
def provider(running: OidcProvider) -> OidcProvider:
    """A provider that knows alice and bob."""
    running.says({"u-1": ALICE, "u-2": BOB})
    return running


Browsers = Callable[[OidcProvider], Browser]
Replicas = Callable[..., OidcSignIn]


@pytest.fixture
def browsers() -> Iterator[Browsers]:
    """Browsers that nobody has signed in with yet."""
    made: list[Browser] = []

    def new(provider: OidcProvider) -> Browser:
        made.append(Browser(provider.issuer))
        return made[-1]

    yield new
    for browser in made:
        browser.close()


@pytest.fixture
def browser(provider: OidcProvider, browsers: Browsers) -> Browser:
    return browsers(provider)


@pytest.fixture
async def replicas(house: House) -> AsyncIterator[Replicas]:
    """Replicas of the gateway, each with the providers that it is given."""
    made: list[OidcSignIn] = []

    def new(**providers: IdentityProvider) -> OidcSignIn:
        made.append(sign_in_at(house, providers))
        return made[-1]

    yield new
    for replica in made:
        await replica.close()


@pytest.fixture
def oidc(provider: OidcProvider, replicas: Replicas) -> OidcSignIn:
    return replicas(corp=settings(provider.issuer, claims=CLAIMS))

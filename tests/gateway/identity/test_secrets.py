import logging
from collections.abc import Iterator

import pytest
import structlog

from gateway import logs
from gateway.errors import Refused
from gateway.identity.administrator_codes import new_administrator_code
from gateway.identity.model import Role
from gateway.identity.sign_in import CodeProof, PasswordProof
from gateway.store import sign_ins
from tests.gateway.identity.conftest import HOME, PASSWORD, House, certificate_request, role


@pytest.fixture
def logged(capfd: pytest.CaptureFixture[str]) -> Iterator[pytest.CaptureFixture[str]]:
    """Logs as the gateway writes them, as much as it can."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.configure("debug")
    yield capfd
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger(logs.OURS).setLevel(logging.NOTSET)
    structlog.reset_defaults()


async def test_no_secret_is_in_a_log_an_event_a_repr_or_the_database(
    house: House, logged: pytest.CaptureFixture[str]
) -> None:
    code = await new_administrator_code(house.database, house.time)
    proof = CodeProof(code, "root", "the administrator's own")
    signed_in = await house.sign_in.with_administrator_code(proof, certificate_request(), HOME)
    admin = await house.caller(signed_in)
    _, initial = await house.directory.create(admin, "alice")
    await house.grants.grant(admin, role("alice", Role.USER))
    change = PasswordProof("alice", initial, PASSWORD)
    alice = await house.sign_in.with_password(change, certificate_request(), HOME)
    _, second = await house.directory.update(admin, "alice", reset_password=True)
    refusals: list[Refused] = []
    for user, given in (("alice", "not the password"), ("typed into the wrong field", "alice")):
        with pytest.raises(Refused) as caught:
            await house.password(user, given)
        refusals.append(caught.value)
    async with house.database.read() as connection:
        stored = await sign_ins.password(connection, "alice")
    assert stored is not None
    secrets = [
        code,
        "the administrator's own",
        initial,
        PASSWORD,
        second,
        "not the password",
        "typed into the wrong field",
        stored.hash,
    ]
    told = repr([proof, change, signed_in, alice, stored, refusals, await house.events(), house.sign_in])
    on_disk = await house.stored()
    logging.getLogger("jitgate.test").info("this is seen")
    written = logged.readouterr()
    assert "this is seen" in written.err
    for secret in secrets:
        assert secret not in written.out + written.err
        assert secret not in told
        assert secret == stored.hash or secret.encode() not in on_disk

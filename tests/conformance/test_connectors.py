"""The connectors that we have, against the suite that every connector must pass."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import asyncssh
import pytest

from gateway.identity.ssh_ca import SshUserCa
from gateway.nodes.login import SshLogins, principal
from gateway.nodes.model import SSH, Node, SshEndpoint
from gateway.nodes.ssh import SshConnector
from tests.conformance.connectors import ConnectorSuite, Subject
from tests.sshd import current_login, running_sshd, stop_sshd, unprivileged_login

NODE_ID = "mi-0123456789abcdef0"


class TestSsh(ConnectorSuite):
    @pytest.fixture
    def subject(self, tmp_path: Path) -> Iterator[Subject]:
        ca = SshUserCa(asyncssh.generate_private_key("ssh-ed25519"), lambda: datetime.now(UTC))
        login = unprivileged_login()
        usable = login or current_login()
        allowed = {usable: [principal(NODE_ID, usable)]}
        with running_sshd(tmp_path / "sshd", ca.public_key_line(), allowed, pam=usable != current_login()) as sshd:
            node = Node(
                id=NODE_ID,
                name="web-1",
                account="default",
                region="default",
                connector=SSH,
                endpoint=SshEndpoint(sshd.host, sshd.port, host_keys=(sshd.host_key,)),
                created_at=datetime.now(UTC),
            )
            yield Subject(
                SshConnector(SshLogins(ca)), node, usable, login is not None, vanish=lambda: stop_sshd(sshd)
            )

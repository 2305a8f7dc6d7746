"""The check of a node, and the lines that make it pass, against a real sshd."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncssh
import pytest

from gateway.identity.ssh_ca import SshUserCa
from gateway.nodes.check import NodeChecker
from gateway.nodes.login import SshLogins, Timeouts, principal
from gateway.nodes.model import Node, NodeCheck, SshEndpoint
from gateway.nodes.trust import PRINCIPALS_FOLDER, USER_CA_FILE, node_trust
from tests.gateway.nodes.conftest import NODE_ID, RealNode, a_node
from tests.sshd import Sshd, running_sshd, stop_sshd

STEPS = ["dial", "host_key", "certificate", "forwarding", "shell", "clock"]


class GenerousCa(SshUserCa):
    """Signs what the gateway never does: certificates that may forward."""

    def issue(
        self, principal: str, key_id: str, source_address: str | Sequence[str], valid: timedelta
    ) -> tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]:
        key, _ = super().issue(principal, key_id, source_address, valid)
        options = {"principals": [principal], "permit_port_forwarding": True}
        return key, self._key.generate_user_certificate(key, key_id, **options)  # type: ignore[arg-type]


def checker(ca: SshUserCa) -> NodeChecker:
    return NodeChecker(SshLogins(ca, timeouts=Timeouts(login=5)))


def outcome(checks: Sequence[NodeCheck]) -> list[tuple[str, bool]]:
    assert all(check.message for check in checks)
    assert all(check.what_to_do for check in checks if not check.passed)
    return [(check.step, check.passed) for check in checks]


async def test_a_good_node_passes_and_says_what_it_is(ca: SshUserCa, real: RealNode) -> None:
    report = await checker(ca).check(real.node, real.login)
    assert outcome(report.checks) == [(step, True) for step in STEPS]
    assert report.failed is None
    assert report.properties["platform"].startswith("Linux ")
    assert report.properties["ssh_version"].startswith("OpenSSH_")


async def test_no_sshd(ca: SshUserCa, real: RealNode) -> None:
    stop_sshd(real.sshd)
    report = await checker(ca).check(real.node, real.login)
    assert outcome(report.checks) == [("dial", False)]
    assert not report.properties


async def test_a_changed_key(ca: SshUserCa, real: RealNode) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    changed = replace(real.node, endpoint=replace(real.node.endpoint, host_keys=(other,)))
    report = await checker(ca).check(changed, real.login)
    assert outcome(report.checks) == [("dial", True), ("host_key", False)]


async def test_a_certificate_that_is_not_accepted(ca: SshUserCa, real: RealNode) -> None:
    real.sshd.allow(real.login)
    report = await checker(ca).check(real.node, real.login)
    assert outcome(report.checks) == [("dial", True), ("host_key", True), ("certificate", False)]
    assert report.failed
    assert "jit nodes trust" in report.failed.what_to_do


async def test_a_node_that_would_forward(ca: SshUserCa, real: RealNode) -> None:
    generous = GenerousCa(ca._key, ca._clock)
    report = await checker(generous).check(real.node, real.login)
    assert outcome(report.checks) == [(step, step != "forwarding") for step in STEPS]
    assert report.failed
    assert "DisableForwarding yes" in report.failed.what_to_do


@pytest.mark.parametrize("extra", ["ForceCommand echo no entry; exit 1", "PermitTTY no"])
async def test_a_login_that_runs_nothing(ca: SshUserCa, real: RealNode, tmp_path: Path, extra: str) -> None:
    allowed = {real.login: [principal(NODE_ID, real.login)]}
    with running_sshd(tmp_path / "other", ca.public_key_line(), allowed, extra) as sshd:
        node = a_node(SshEndpoint(sshd.host, sshd.port, host_keys=(sshd.host_key,)))
        report = await checker(ca).check(node, real.login)
    assert outcome(report.checks) == [(step, step != "shell") for step in STEPS[:-1]]


async def test_a_node_whose_clock_is_wrong(ca: SshUserCa, real: RealNode) -> None:
    """Less than what makes it refuse certificates, and more than is good."""
    late = SshUserCa(ca._key, lambda: datetime.now(UTC) + timedelta(seconds=90))
    report = await checker(late).check(real.node, real.login)
    assert outcome(report.checks) == [(step, step != "clock") for step in STEPS]
    assert report.failed and " seconds behind the gateway's" in report.failed.message


async def test_a_node_that_does_not_tell_the_time(ca: SshUserCa, real: RealNode, tmp_path: Path) -> None:
    allowed = {real.login: [principal(NODE_ID, real.login)]}
    with running_sshd(tmp_path / "other", ca.public_key_line(), allowed, "ForceCommand uname") as sshd:
        node = a_node(SshEndpoint(sshd.host, sshd.port, host_keys=(sshd.host_key,)))
        report = await checker(ca).check(node, real.login)
    assert outcome(report.checks) == [(step, True) for step in STEPS[:-1]]
    assert report.properties["platform"] == "Linux"


async def test_what_a_node_says_is_printable(ca: SshUserCa, real: RealNode, tmp_path: Path) -> None:
    allowed = {real.login: [principal(NODE_ID, real.login)]}
    evil = r"ForceCommand printf '\033]0;owned\007Linux'"
    with running_sshd(tmp_path / "other", ca.public_key_line(), allowed, evil) as sshd:
        node = a_node(SshEndpoint(sshd.host, sshd.port, host_keys=(sshd.host_key,)))
        report = await checker(ca).check(node, real.login)
    assert report.properties["platform"].isprintable()


class TestTrust:
    """The lines that people are told to put on a node are tried on a node that has nothing else."""

    @staticmethod
    def configured(directory: Path, real: RealNode, ca: SshUserCa, folder: Path) -> str:
        trust = node_trust(NODE_ID, real.login, ca.public_key_line())
        directory.mkdir()
        authority = directory / "trusted.pub"
        authority.write_text(trust.user_ca + "\n")
        (folder / real.login).write_text(trust.principals)
        lines = trust.sshd_config.replace(USER_CA_FILE, str(authority)).replace(PRINCIPALS_FOLDER, str(folder))
        assert "/etc/ssh/jitgate" not in lines
        return lines

    def start(self, tmp_path: Path, real: RealNode, ca: SshUserCa) -> str:
        folder = tmp_path / "principals"
        folder.mkdir()
        return self.configured(tmp_path / "node", real, ca, folder)

    async def test_the_lines_take_effect(self, ca: SshUserCa, real: RealNode, tmp_path: Path) -> None:
        nobody = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
        with running_sshd(tmp_path / "bare", nobody, extra=self.start(tmp_path, real, ca)) as sshd:
            report = await checker(ca).check(self.node(sshd), real.login)
        assert outcome(report.checks) == [(step, True) for step in STEPS]

    async def test_the_lines_alone_refuse_to_forward(self, ca: SshUserCa, real: RealNode, tmp_path: Path) -> None:
        nobody = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
        generous = GenerousCa(ca._key, ca._clock)
        with running_sshd(tmp_path / "bare", nobody, extra=self.start(tmp_path, real, ca)) as sshd:
            report = await checker(generous).check(self.node(sshd), real.login)
        assert outcome(report.checks) == [(step, True) for step in STEPS]

    @staticmethod
    def node(sshd: Sshd) -> Node:
        return a_node(SshEndpoint(sshd.host, sshd.port, host_keys=(sshd.host_key,)))

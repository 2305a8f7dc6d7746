"""What makes a node accept the gateway: one certificate authority, one principal, nothing forwarded."""

from dataclasses import dataclass

from gateway.nodes.login import principal

USER_CA_FILE = "/etc/ssh/jitgate/user_ca.pub"
PRINCIPALS_FOLDER = "/etc/ssh/jitgate/principals"

_SSHD_CONFIG = """\
# Jitgate: {login} on {node_id}. Put these lines into {file}
# (or at the end of sshd_config), then: sshd -t && systemctl reload ssh
Match User {login}
    TrustedUserCAKeys {user_ca_file}
    AuthorizedPrincipalsFile {folder}/%u
    DisableForwarding yes
Match all
"""


@dataclass(frozen=True, slots=True)
class NodeTrust:
    """Contents of the files that a node needs: `user_ca` at USER_CA_FILE, `principals` in PRINCIPALS_FOLDER under
    the login's name, and `sshd_config` lines.
    """

    node_id: str
    login: str
    user_ca: str
    sshd_config: str
    principals: str


def node_trust(node_id: str, login: str, user_ca: str) -> NodeTrust:
    """The files for one login on one node. `user_ca` is the gateway's public key line.

    Certificates carry no permission to forward anything; the node says so too, for every other key of the login.
    Without a principals file of its own, OpenSSH would compare a certificate with the login's name alone, which no
    certificate of the gateway names: a login that is not listed here stays closed.
    """
    return NodeTrust(
        node_id=node_id,
        login=login,
        user_ca=user_ca,
        sshd_config=_SSHD_CONFIG.format(
            login=login,
            node_id=node_id,
            file="/etc/ssh/sshd_config.d/jitgate.conf",
            user_ca_file=USER_CA_FILE,
            folder=PRINCIPALS_FOLDER,
        ),
        principals=principal(node_id, login) + "\n",
    )

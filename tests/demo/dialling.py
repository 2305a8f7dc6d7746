"""The demo's chapters about a node that dials the gateway."""

from tests.demo.play import Play, found
from tests.sshd import current_login

NODE = "edge-1"


def node_that_dials(play: Play) -> None:
    play.show.chapter(
        "A node that dials out",
        "No sshd, no open port: an agent on the node dials the gateway. An activation, good for one node and one "
        "day, lets it in.",
    )
    made = play.runs(
        "admin",
        *("activations", "create", NODE, "--tag", "Environment=dev", "--login", current_login()),
        shows=("act-",),
    )
    activation, code = found(r"(act-\w+)", made), found(r"^code +(\S+)$", made)
    gateway = play.stage.gateway
    register = ("register", "--gateway", gateway.sign_in_address, "--ca-fingerprint", gateway.ca_fingerprint())
    play.show.command(NODE, ("jitgate-agent", *register, "--activation-id", activation))
    play.show.output(play.stage.join(activation, code))
    play.show.remark("The code was asked for. The node has made a key that never leaves it. Its agent is started.")
    play.runs("admin", "nodes", "list", "connected=true", shows=(NODE, "agent"))
    play.runs(
        "alice",
        *("exec", NODE, "--reason", "look behind the NAT", "--", 'echo "through the agent, as $(id -un)"'),
        shows=("Approved at once", f"through the agent, as {current_login()}"),
    )

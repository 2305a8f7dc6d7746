"""The demo's chapters about a node that dials the gateway."""

import re

from tests.demo.play import Play, found
from tests.demo.show import plain
from tests.sshd import current_login

NODE = "edge-1"
_COUNT = 20


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


def session_that_goes_on(play: Play) -> None:
    play.show.chapter(
        "The gateway dies, the session does not",
        f"Something counts in alice's shell on {NODE}. The gateway is killed under it. The agent keeps the "
        "session, and what was printed and typed meanwhile arrives once.",
    )
    stage = play.stage
    with play.shell("alice", NODE) as terminal:
        terminal.types(f"for n in $(seq {_COUNT}); do echo $n of {_COUNT}; sleep 0.25; done")
        terminal.sees(f"5 of {_COUNT}")
        play.show.note("…")
        play.show.command("operator", ("kill", "-9", str(stage.kill_gateway())))
        terminal.types('echo "typed while nobody was there: $((6 * 7))"')
        terminal.sees("reconnecting")
        play.show.command("operator", ("jitgate", "serve"))
        stage.start_gateway()
        terminal.sees("nobody was there: 42")
        terminal.types("exit")
        ended_with, read = terminal.ends(), plain(terminal.takes())
    play.show.note("\nand alice reads, in her terminal:")
    play.show.output(read.strip())
    play.check(ended_with == 0, f"the shell ended with {ended_with}")
    counted = [int(number) for number in re.findall(rf"^(\d+) of {_COUNT}$", read, re.MULTILINE)]
    play.check(counted == [*range(1, _COUNT + 1)], f"she does not see each number once, but {counted}")
    session = found(r"session (s-[0-9a-f]{20})", read)
    play.recording(session)
    play.show.remark("One recording has all of it, whichever process wrote it.")
    play.runs("dave", "recordings", "verify", session, shows=("intact",))
    played = play.quietly("dave", "recordings", "play", session, "--speed", "100")
    play.check(f"{_COUNT} of {_COUNT}" in played and "there: 42" in played, "the replay does not show all of it")

"""What sessions need of a connector, and what the registry needs of those who must hear of its changes."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from gateway.nodes.model import Node
from gateway.store.database import Transaction


class UpstreamKind(StrEnum):
    SHELL = "shell"
    EXEC = "exec"


@dataclass(frozen=True, slots=True)
class Terminal:
    """A terminal to run on; sizes are in characters, 1 to 10,000."""

    term: str
    columns: int
    rows: int


@dataclass(frozen=True, slots=True)
class OpenUpstream:
    """A session to open on a node, decided by policy and preferences alone (R26).

    A shell has a terminal, and its profile (command lines) runs before the prompt. An exec has a command that the
    login's shell runs, and a terminal only when one was asked for. `valid_seconds` is how long the session may
    last: connectors that can enforce it on the node do.
    """

    login: str
    kind: UpstreamKind
    user_id: str
    session_id: str
    request_id: str
    valid_seconds: int
    command: str = ""
    terminal: Terminal | None = None
    shell_profile: str = ""


@dataclass(frozen=True, slots=True)
class Exited:
    """The process ended by itself, with a status of 0 to 255."""

    status: int


@dataclass(frozen=True, slots=True)
class Signalled:
    """A signal ended the process; its name is without "SIG"."""

    signal: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The node or the way to it was gone before the process said how it ended."""

    message: str


UpstreamEnd = Exited | Signalled | Lost


class UpstreamSink(Protocol):
    """Where a node's output goes. Called on the event loop; neither method may block, await or raise."""

    def output(self, data: bytes, stderr: bool) -> None:
        """A chunk as the node sent it, at most 256 KiB."""

    def ended(self, end: UpstreamEnd) -> None:
        """Called once, after the last chunk; never after `close`."""


class Upstream(Protocol):
    """A session on a node: first logged in with nothing started, then running, then ended or closed.

    All methods are for the event loop's thread. Nothing here raises because the node is gone: `ended` tells.
    """

    async def start(self, sink: UpstreamSink) -> None:
        """Starts the shell or the command; output flows from now on. Once only.

        Between `open` and here nothing of the user's runs on the node: the place to ask once more whether it may.
        Raises UpstreamFailed when the node refuses to start it.
        """

    def pause_reading(self) -> None:
        """No output and no end come until `resume_reading`; the node waits once a bounded window is full."""

    def resume_reading(self) -> None: ...

    def write(self, data: bytes) -> None:
        """Input for the process, in order. Never blocks: await `drain` after it. Nothing happens after the end."""

    async def drain(self) -> None:
        """Returns when there is room for more input, or when the session is over."""

    def write_eof(self) -> None:
        """No more input comes. Output goes on."""

    def resize(self, columns: int, rows: int) -> None: ...

    def signal(self, name: str) -> None:
        """Sends a signal, its name without "SIG". A node may ignore it (sshd does where the login is root)."""

    def close(self) -> None:
        """Cuts the session off at once, whatever it does. Again is harmless."""

    async def wait_closed(self) -> None:
        """Returns when everything that the session held on this side is free; after `close` within moments."""


class Connector(Protocol):
    """Reaches nodes of one kind."""

    async def open(self, node: Node, request: OpenUpstream) -> Upstream:
        """Dials and logs in. Cancelling it leaves nothing behind.

        Raises Refused: NODE_UNREACHABLE, HOST_KEY_CHANGED, LOGIN_REFUSED, UPSTREAM_FAILED (see errors.py).
        """


class AccessEnder(Protocol):
    """Ends access that a change of a node takes away (R3), in the transaction that makes the change."""

    async def node_tags_changed(self, tx: Transaction, node_id: str) -> None:
        """The node's row has its new tags already."""

    async def node_removed(self, tx: Transaction, node_id: str, actor_id: str) -> None:
        """The node's row is marked removed already."""

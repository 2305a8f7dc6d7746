"""What sessions need of a connector, and what the registry needs of those who must hear of its changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from gateway.identity.caller import Caller
from gateway.nodes.model import Node, NodeCheck
from gateway.store.database import Transaction


class Prospects(Protocol):
    """What a request for a node would meet. Who can be reached is asked elsewhere."""

    async def of(self, caller: Caller, node: Node) -> tuple[NodeCheck, ...]:
        """As far as it concerns the caller: "access"."""


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
    last: connectors that can enforce it on the node do. `grace_seconds` is how long the node is to keep the
    session while nothing carries it (0: not at all); who can do that opens a ResumableUpstream.
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
    grace_seconds: int = 0


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


class ResumableSink(UpstreamSink, Protocol):
    """What a session with a grace hears besides. Both are called on the event loop, and may not block or raise."""

    def suspended(self, message: str) -> None:
        """The way to the node is lost; the node keeps the session. `resumed` or `ended` follows.

        Not after `ended`, unless the output was asked for again.
        """

    def resumed(self) -> None:
        """The session goes on where it stopped."""


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


@runtime_checkable
class ResumableUpstream(Upstream, Protocol):
    """A session that its node can keep for a while. Offsets count the bytes of output, standard error included.

    Its sink is a ResumableSink while there is a grace. Nobody here measures the grace: whoever holds this does.
    `close` has the node kill the session at once, and as soon as it can be reached when it is away.
    """

    @property
    def grace_seconds(self) -> int:
        """How long the node keeps the session while nothing carries it; 0: it does not."""

    @property
    def oldest(self) -> int:
        """The offset of the oldest byte of output that can still be asked for."""

    @property
    def newest(self) -> int:
        """The offset after the newest byte of output that is known."""

    @property
    def input_offset(self) -> int:
        """The bytes of input that are taken care of: what was written here, and what the node had before.

        Adopted, it may lie before the input that was recorded; the user's client sends again what comes after it.
        """

    def rewind(self, offset: int) -> None:
        """Output comes again from `offset` on; what was under way before never arrives.

        The end comes again, too. Raises ValueError before `oldest` and after the newest output that is known.
        """

    def acknowledged(self, offset: int) -> None:
        """The output before `offset` is needed no more, by anybody."""

    def release(self) -> None:
        """Everything has arrived everywhere, the end too: the node may forget the session."""

    def leave(self) -> None:
        """This process stops: lets go of the session, which the node keeps. The sink hears nothing more."""


class Connector(Protocol):
    """Reaches nodes of one kind."""

    async def open(self, node: Node, request: OpenUpstream) -> Upstream:
        """Dials and logs in. Cancelling it leaves nothing behind.

        Raises Refused: NODE_UNREACHABLE, HOST_KEY_CHANGED, LOGIN_REFUSED, UPSTREAM_FAILED (see errors.py).
        """


class ResumingConnector(Connector, Protocol):
    """Reaches nodes that can keep sessions while nothing carries them."""

    async def adopt(
        self,
        node: Node,
        session_id: str,
        *,
        recorded: int,
        recorded_input: int | None,
        grace_seconds: int,
        sink: ResumableSink,
    ) -> ResumableUpstream:
        """A session that an earlier process began and the node keeps; it is running already when this returns.

        Output flows to the sink from the offset `recorded` on, but none before who awaits this had their turn.
        `recorded_input` is the input that an earlier process may have sent, at most, None: nobody knows; see
        `input_offset` for what arrived. Whether the session is this node's is for the caller to know. ValueError
        when it is here already.

        Raises Refused: NODE_UNREACHABLE, or UPSTREAM_FAILED when what the node has does not fit; the session is
        over then.
        """

    def end(self, node_id: str, session_id: str) -> None:
        """Has the node kill a session that it keeps. Harmless when it does not, or is not there."""


class Holders(Protocol):
    """Hears of sessions that nodes keep and nobody in this process knows."""

    async def held(self, node_id: str, session_ids: Sequence[str]) -> None:
        """A node that has just connected says so. It is not to be believed: the ids may be of anybody's sessions.

        Runs in the background; to be adopted or ended (see ResumingConnector).
        """


class AccessEnder(Protocol):
    """Ends access that a change of a node takes away (R3), in the transaction that makes the change."""

    async def node_tags_changed(self, tx: Transaction, node_id: str) -> None:
        """The node's row has its new tags already."""

    async def node_removed(self, tx: Transaction, node_id: str, actor_id: str) -> None:
        """The node's row is marked removed already."""

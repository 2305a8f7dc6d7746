"""A relay whose client may vanish and come back, on a node that keeps the session meanwhile.

While nobody is there, output goes into the recording alone. Whoever comes back is served from where the client
stopped: the node says again what came after that, and the recording takes of it only what it has not.
"""

from collections.abc import Callable
from typing import Final

from gateway.errors import Kind, Refused
from gateway.nodes.ports import ResumableUpstream
from gateway.sessions.absences import Absences
from gateway.sessions.flow import Budget, Outward, Recorded
from gateway.sessions.model import End, Ending, Session
from gateway.sessions.ports import AWAY, UNRECORDED, Journal
from gateway.sessions.relay import Relay, Steady
from jitgate.v1.session_pb2 import SessionOpened

_LEFT: Final = Ending(End.GATEWAY_STOPPED)
"""Not written anywhere: the session goes on, but not in this process."""


class ResumableRelay(Relay):
    """It is the node's `ResumableSink`."""

    __slots__ = ("_is_hung_up", "_kept", "_unseen", "absences", "grace_seconds")

    def __init__(
        self,
        upstream: ResumableUpstream | None,
        journal: Journal,
        *,
        grace_seconds: int,
        credit: int,
        budget: Budget,
        steady: Steady,
        strict: bool = True,
        unrecorded: Callable[[str], None] | None = None,
        recorded: Recorded | None = None,
        log: Callable[[bytes, bool], None] | None = None,
    ) -> None:
        """Without an upstream it waits for `adopt`: then `recorded` says where an earlier process stopped."""
        super().__init__(
            upstream or AWAY,
            journal,
            credit=credit,
            budget=budget,
            steady=steady,
            strict=strict,
            unrecorded=unrecorded,
            recorded=recorded,
            log=log,
        )
        self.grace_seconds = grace_seconds
        self.absences = Absences(grace_seconds)
        if not self.is_attended:
            self.absences.client_left(steady())
        self._kept = upstream
        self._unseen = b""
        """The frame that tells the client which session it has, while that may not have been sent."""
        self._is_hung_up = False

    @property
    def is_waiting(self) -> bool:
        """Nobody is there, and somebody may come back: to go on, or to read how it ended."""
        lost = self.ending is not None and self.ending.end is not End.EXITED
        return not (self.is_attended or self.is_cut or lost)

    def adopt(self, upstream: ResumableUpstream, client_since: float) -> None:
        """The node has the session; no client was there since that moment of the steady clock."""
        self.upstream = self._kept = upstream
        self._inward.offset = upstream.input_offset
        self.absences.client_left(client_since)
        if self.is_cut:
            upstream.close()

    # -- a client comes back ------------------------------------------------------------------------------------

    def offset_for(self, received: int | None) -> int:
        """From where on a client is served that has `received` bytes of output. Raises Refused OFFSET_NOT_KEPT."""
        oldest, newest = self._node().oldest, self.recorded.output
        offset = oldest if received is None else received
        if not oldest <= offset <= newest:
            raise Refused(
                Kind.FAILED_PRECONDITION,
                "OFFSET_NOT_KEPT",
                f"Output is kept from byte {oldest} to byte {newest}, which leaves out byte {offset}",
                "Look at what is kept: jit sessions attach SESSION",
            )
        return offset

    def attach(self, session: Session, offset: int, credit: int) -> None:
        """A client is there again; `offset` is what `offset_for` said."""
        node, recorded = self._node(), self.recorded
        if offset != recorded.next_output:
            node.rewind(offset)
            recorded.rewound(offset)
            self.ending = None  # it comes again, after the output
        self._outward = Outward(credit, self.budget, offset)
        self._inward.resume(node.input_offset)
        self._flushed_at = float("-inf")
        self.is_attended = True
        self.absences.client_came()
        self._acknowledge()
        self._unseen = b""
        super().opened(session)

    def resized(self, terminal: tuple[int, int]) -> None:
        """Columns and rows that the client which is there now has."""
        if self.ending is None:
            self._resize(*terminal)

    # -- a client goes away -------------------------------------------------------------------------------------

    def client_gone(self, message: str) -> None:
        if not self.is_attended or self.is_cut:
            return
        if self._unseen in self._control:  # nobody knows what to come back to
            super().finish(message)
            return
        self.is_attended = self._said_exit = False
        self._outward.drop()
        self._control.clear()
        self.absences.client_left(self._steady())
        self._go_on()

    def no_more_frames(self) -> None:
        """Also how a broken connection can look; who has no more input says so by an eof."""

    @property
    def awaits_hangup(self) -> bool:
        return self.is_over and not (self.is_cut or self._is_hung_up)

    def _hung_up(self) -> None:
        self._is_hung_up = True
        super()._hung_up()
        self.wake()

    # -- from the node ------------------------------------------------------------------------------------------

    def suspended(self, message: str) -> None:
        """The way to the node is lost, and may be found again."""
        self.absences.node_left(self._steady())

    def resumed(self) -> None:
        if notice := self.absences.node_came():
            self.notice(notice)

    # -- from the gateway ---------------------------------------------------------------------------------------

    def opened(self, session: Session) -> None:
        super().opened(session)
        self._unseen = self._control[0]

    def pass_time(self) -> None:
        super().pass_time()
        if self.is_attended and self.ending is None:  # what was recorded is secured some time after
            self._acknowledge()
        match self.absences.look(self._steady()):
            case Ending() as ending if self.ending is None:
                self.end(ending)
            case Ending():
                self.finish("")
            case str(notice) if self.ending is None:
                self.notice(notice, "warning")

    def finish(self, message: str) -> Ending:
        if self.ending is None or self.ending.end is not End.EXITED or self.is_cut or not self._said_exit:
            return super().finish(message)
        self._node().release()
        return self.ending

    def leave(self) -> None:
        """This process stops: the node keeps the session, and the recording waits to be resumed."""
        self.journal = UNRECORDED
        self.ending = _LEFT
        self.is_cut = True
        self._outward.drop()
        if self._kept is not None:
            self._kept.leave()

    def _granted(self, credit: int) -> None:
        super()._granted(credit)
        self._acknowledge()

    def _acknowledge(self) -> None:
        """The node may drop what the client has and the recording can't lose."""
        self._node().acknowledged(min(self._outward.acknowledged, self.journal.secured))

    def _opened(self, session: Session) -> SessionOpened:
        opened = super()._opened(session)
        opened.grace_seconds = self.grace_seconds
        opened.output_offset = self._outward.offset
        opened.input_offset = self._inward.offset
        opened.input_ended = self._input_over
        return opened

    def _node(self) -> ResumableUpstream:
        if self._kept is None:
            raise RuntimeError("nobody may come back before the node has")
        return self._kept

"""One session on this node: its process, and the calls that carry it, one after the other."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace

import grpc.aio

from clients.agent.carrier import Call, Carrier, reason
from clients.agent.cgroups import SessionGroups
from clients.agent.flow import BrokenFrames, Budget, Input, Output
from clients.agent.log import log
from clients.agent.process import NotStarted, Plan, Process
from jitgate.v1.agent_pb2 import (
    NodeExit,
    NodeFrame,
    ResumeServing,
    ServeSession,
    SessionNotStarted,
    SessionRunning,
)
from jitgate.v1.session_pb2 import SESSION_STREAM_MAIN, SESSION_STREAM_STDERR, SessionWindow

LOOK_SECONDS = 1.0
"""How often the clock is looked at while nobody carries the session: timers of the event loop stop in sleep."""
_ANSWERS_WITHIN_SECONDS = 60.0
_LINGER_SECONDS = 0.5
_MAX_SIDE = 10_000
_SIGNALS = frozenset({"HUP", "INT", "QUIT", "KILL", "TERM", "USR1", "USR2", "ALRM", "PIPE"})
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def since_boot() -> float:
    """Seconds that go on while the machine sleeps."""
    return time.clock_gettime(_BOOT_CLOCK)


class Session:
    """Serves one order; however `run` ends, nothing of the session is left on the node.

    With a `grace` it outlives its call by so many seconds, and another one may go on with it.
    """

    def __init__(
        self,
        plan: Plan,
        budget: Budget,
        groups: SessionGroups,
        grace: float = 0.0,
        clock: Callable[[], float] = since_boot,
    ) -> None:
        self.output = Output(budget, is_kept=grace > 0)
        self._plan = plan
        self._groups = groups
        self._grace = grace
        self._clock = clock
        self._input = Input()
        self._process: Process | None = None
        self._carrier: Carrier | None = None
        self._carrying: asyncio.Task[bool] | None = None
        self._turn = asyncio.Lock()
        self._expiring: asyncio.Task[None] | None = None
        self._over = asyncio.Event()
        self._reading_output: set[int] = set()
        self._writes_later = False
        self._input_is_closed = False
        self._lingered = False

    @property
    def id(self) -> str:
        return self._plan.session_id

    @property
    def is_kept(self) -> bool:
        """Whether a further call can go on with it."""
        return self._grace > 0 and self._process is not None and not self._over.is_set()

    async def run(self) -> None:
        """Returns when the session is over: its process is dead, what it said is gone."""
        try:
            await self._over.wait()
        finally:
            self._over.set()
            for task in (self._carrying, self._expiring):
                if task is not None:
                    task.cancel()
                    await asyncio.wait([task])
            if self._process is not None:
                await self._process.close()
            self.output.drop()

    def carry(self, dial: Callable[[], Call], nonce: bytes) -> None:
        """The first call, or a further one to go on with; one that still carries the session is dropped."""
        if self._carrying is not None:
            self._carrying.cancel()
            self._expire_later()
        self._carrying = asyncio.create_task(self._carry(dial, nonce))
        self._carrying.add_done_callback(self._uncarried)

    async def let_go(self) -> None:
        """The gateway is gone, and the call with it."""
        if self._carrying is not None:
            self._carrying.cancel()
            await asyncio.wait([self._carrying])

    def end(self) -> None:
        """At once, whatever carries it."""
        self._over.set()

    # -- calls --------------------------------------------------------------------------------------------------

    async def _carry(self, dial: Callable[[], Call], nonce: bytes) -> bool:
        """One call, from dialling to its end; whether everybody has everything."""
        async with self._turn:
            call = dial()
            try:
                return await self._converse(call, nonce)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError) as gone:
                log("session_lost", session=self.id, reason=reason(gone))
            except BrokenFrames as broken:
                log("session_broken", session=self.id, reason=str(broken))
            finally:
                self._carrier = None
                call.cancel()
        return False

    async def _converse(self, call: Call, nonce: bytes) -> bool:
        """Raises BrokenFrames, and what calls raise."""
        serve = ServeSession(
            session_id=self.id,
            nonce=nonce,
            input_offset=self._input.offset,
            oldest_output=self.output.oldest,
            newest_output=self.output.newest,
        )
        await call.write(NodeFrame(serve=serve))
        async with asyncio.timeout(_ANSWERS_WITHIN_SECONDS):
            first = await call.read()
        due = "start" if self._process is None else "resume"
        if not isinstance(first, NodeFrame) or first.WhichOneof("frame") != due:
            return False  # the access has ended
        carrier = Carrier(call, self, self.id)
        if due == "start":
            await self._start(carrier, first.start.credit)
        else:
            self._resume(carrier, first.resume, serve.newest_output)
        return await carrier.run()

    async def _start(self, carrier: Carrier, credit: int) -> None:
        """Raises BrokenFrames."""
        self.output.grant(credit)
        plan = replace(self._plan, cgroup=self._groups.make(self.id))
        try:
            self._process = process = await Process.start(plan)
        except (NotStarted, OSError) as error:
            self._groups.remove(plan.cgroup)
            not_started = SessionNotStarted(message=str(error)[:500])
            carrier.say(NodeFrame(not_started=not_started), is_last=True)
            return
        process.changed = self._ended
        self._begin(carrier)

    def _resume(self, carrier: Carrier, resume: ResumeServing, newest: int) -> None:
        """Raises BrokenFrames."""
        if resume.output_offset > newest:
            raise BrokenFrames(f"output wanted from {resume.output_offset}, which was named up to {newest}")
        self.output.rewind(resume.output_offset)
        self.output.grant(resume.credit)
        if self._expiring is not None:
            self._expiring.cancel()
            self._expiring = None
        log("session_resumed", session=self.id, output_offset=resume.output_offset)
        self._begin(carrier)

    def _begin(self, carrier: Carrier) -> None:
        self._carrier = carrier
        carrier.say(NodeFrame(running=SessionRunning(credit=self._input.renew())))
        self.watch_output()

    def _uncarried(self, task: "asyncio.Task[bool]") -> None:
        """A call is over; unless there is another one, the session is as well or waits for one."""
        if task is not self._carrying:
            return
        failure = None if task.cancelled() else task.exception()
        if failure is not None:
            log("session_failed", session=self.id, reason=repr(failure))
        has_everything = not task.cancelled() and failure is None and task.result()
        if has_everything or not self.is_kept:
            self._over.set()
        else:
            self._expire_later()

    def _expire_later(self) -> None:
        if self._expiring is None and self.is_kept:
            log("session_held", session=self.id, seconds=self._grace)
            self._expiring = asyncio.create_task(self._expire(self._clock() + self._grace))

    async def _expire(self, deadline: float) -> None:
        while (left := deadline - self._clock()) > 0:  # noqa: ASYNC110  # a clock tells nobody when it jumps
            await asyncio.sleep(min(left, LOOK_SECONDS))
        log("session_given_up", session=self.id)
        self._over.set()

    # -- from the gateway ---------------------------------------------------------------------------------------

    def received(self, frame: NodeFrame) -> None:
        """Raises BrokenFrames."""
        assert self._process is not None
        which = frame.WhichOneof("frame")
        if which == "data":
            self._input.add(frame.data.offset, frame.data.payload)
            self._feed()
        elif which == "window":
            self.output.grant(frame.window.credit)
            self._wake()
        elif which == "durable":
            self.output.durable(frame.durable.offset)
            self.watch_output()
            self._wake()
        elif which == "resize":
            if not (0 < frame.resize.columns <= _MAX_SIDE and 0 < frame.resize.rows <= _MAX_SIDE):
                raise BrokenFrames("a terminal of an impossible size")
            self._process.resize(frame.resize.columns, frame.resize.rows)
        elif which == "signal":
            if frame.signal.name not in _SIGNALS:
                raise BrokenFrames("an unknown signal")
            self._process.signal(frame.signal.name)
        elif which == "eof":
            self._input.ended = True
            self._feed()
        else:
            raise BrokenFrames(f"a frame that the gateway does not send: {which}")

    def _feed(self) -> None:
        """Gives the process what it takes of its input."""
        process = self._process
        assert process is not None
        while (data := self._input.peek()) is not None:
            taken = process.write(data)
            if taken:
                self._input.took(taken)
            if taken < len(data) and process.input >= 0:
                break
        if self._carrier is not None and (granted := self._input.regrant()):
            self._carrier.say(NodeFrame(window=SessionWindow(credit=granted)))
        waits = self._input.peek() is not None and process.input >= 0
        if waits != self._writes_later:
            self._writes_later = waits
            loop = asyncio.get_running_loop()
            if waits:
                loop.add_writer(process.input, self._feed)
            elif process.input >= 0:
                loop.remove_writer(process.input)
        if not waits and self._input.ended and not self._input_is_closed:
            self._input_is_closed = True
            process.end_input()

    # -- from the process ---------------------------------------------------------------------------------------

    def watch_output(self) -> None:
        """Reads from the process where there is room for what it says, and not where there is none."""
        process = self._process
        if process is None:
            return
        loop = asyncio.get_running_loop()
        has_room = self.output.room > 0
        for descriptor in {process.output, process.errors} - {-1}:
            watched = descriptor in self._reading_output
            if watched and not has_room:
                self._reading_output.discard(descriptor)
                loop.remove_reader(descriptor)
            elif has_room and not watched:
                self._reading_output.add(descriptor)
                loop.add_reader(descriptor, self._readable, descriptor)

    def _readable(self, descriptor: int) -> None:
        process = self._process
        assert process is not None
        chunk = process.read(descriptor, self.output.room)
        if chunk is None:
            self._reading_output.discard(descriptor)
            process.finish(descriptor)
        elif chunk:
            stream = SESSION_STREAM_STDERR if descriptor == process.errors else SESSION_STREAM_MAIN
            self.output.add(stream, chunk)
            self.watch_output()
        self._wake()

    def _ended(self) -> None:
        """Everything is dead. What it said is still read; nobody waits for one who holds the other end open."""
        asyncio.get_running_loop().call_later(_LINGER_SECONDS, self._linger)
        self._wake()

    def _linger(self) -> None:
        self._lingered = True
        self._wake()

    def _wake(self) -> None:
        if self._carrier is not None:
            self._carrier.wake.set()

    def exit(self) -> NodeExit | None:
        """See Carried."""
        process = self._process
        if process is None or process.status is None or self.output.waiting:
            return None
        for descriptor in {process.output, process.errors} - {-1}:
            if not (self._lingered and self.output.room):
                return None
            self._readable(descriptor)
        if self.output.waiting:
            return None
        if os.WIFSIGNALED(process.status):
            return NodeExit(signal=signal.Signals(os.WTERMSIG(process.status)).name.removeprefix("SIG"))
        return NodeExit(status=os.WEXITSTATUS(process.status))

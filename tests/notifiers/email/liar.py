"""A mail server of the plainest kind, which misbehaves as it is told; it needs the standard library only."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


@dataclass
class Liar:
    """Answers each command by its first word; an empty answer hangs up, None says nothing for ever."""

    answers: dict[str, str | None] = field(default_factory=dict)
    port: int = 0
    data: list[bytes] = field(default_factory=list)

    talks: "list[asyncio.Task[None]]" = field(default_factory=list)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.talks.append(task)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await self._talk(reader, writer)
        writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        word = "HELLO"
        while True:
            usual = {"HELLO": "220 liar", "EHLO": "250 liar", "DATA": "354 go on", "QUIT": "221 bye"}
            answer = self.answers.get(word, usual.get(word, "250 OK"))
            if answer is None:
                await reader.read()
                return
            if not answer:
                return
            writer.write(answer.encode() + b"\r\n")
            await writer.drain()
            if word == "DATA" and answer.startswith("354"):
                self.data.append(await reader.readuntil(b"\r\n.\r\n"))
                word = "TAKEN"
                continue
            line = await reader.readline()
            if not line:
                return
            word = line.split()[0].decode().upper()


@contextlib.asynccontextmanager
async def liar(**answers: str | None) -> AsyncIterator[Liar]:
    server = Liar(dict(answers))
    listening = await asyncio.start_server(server.talk, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        for talk in server.talks:
            talk.cancel()
        await asyncio.gather(*server.talks)
        listening.close()
        await listening.wait_closed()

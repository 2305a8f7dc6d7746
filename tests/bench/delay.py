"""A network in between: a TCP proxy in a process of its own that holds back what passes, each way.

python -m tests.bench.delay HOST:PORT MILLISECONDS     prints the port that it listens on
"""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from queue import SimpleQueue
from threading import Thread


def _pass_on(source: socket.socket, sink: socket.socket, seconds: float) -> None:
    """Threads rather than an event loop: those round their timers to milliseconds."""
    waiting: SimpleQueue[tuple[float, bytes]] = SimpleQueue()
    Thread(target=_release, args=(waiting, sink), daemon=True).start()
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 18):
            waiting.put((time.monotonic() + seconds, data))
    waiting.put((time.monotonic() + seconds, b""))


def _release(waiting: "SimpleQueue[tuple[float, bytes]]", sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            due, data = waiting.get()
            if (left := due - time.monotonic()) > 0:
                time.sleep(left)
            if not data:
                sink.shutdown(socket.SHUT_WR)
                return
            sink.sendall(data)


def _serve(host: str, port: int, seconds: float) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        client, _ = listener.accept()
        server = socket.create_connection((host, port))
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, sink in ((client, server), (server, client)):
            Thread(target=_pass_on, args=(source, sink, seconds), daemon=True).start()


@contextlib.contextmanager
def delayed(host: str, port: int, seconds: float) -> Iterator[int]:
    """A port that leads to `host` and `port`, `seconds` away each way, until the block ends."""
    command = [sys.executable, "-m", "tests.bench.delay", f"{host}:{port}", str(seconds * 1000)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def main() -> None:
    host, _, port = sys.argv[1].rpartition(":")
    _serve(host, int(port), float(sys.argv[2]) / 1000)


if __name__ == "__main__":
    main()

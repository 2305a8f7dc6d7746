"""What runs in each shell on the node: prints counters, takes lines, and writes both down beside it.

python -ISu program.py NAME FOLDER PAUSE_MS BURST_KIB BURST_SECONDS

A line out: name, number, input lines taken so far, milliseconds of the machine's clock, CRC of all that. The line
"quit" ends it. FOLDER/NAME.printed has what it printed, FOLDER/NAME.taken what it took.
"""

import os
import select
import sys
import time
import zlib

STDIN, STDOUT = 0, 1


def main() -> int:
    name, folder, pause, burst, interval = sys.argv[1:]
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    printed, taken = (os.open(f"{folder}/{name}.{what}", flags, 0o600) for what in ("printed", "taken"))
    number = inputs = 0
    waiting = b""
    due = time.monotonic()
    next_burst = due + float(interval)
    _say(printed, f"{name} begins\n".encode())
    while True:
        if select.select([STDIN], [], [], max(0.0, due - time.monotonic()))[0]:
            data = os.read(STDIN, 65536)
            if not data:
                return 1
            os.write(taken, data)
            *lines, waiting = (waiting + data).split(b"\n")
            inputs += len(lines)
            if b"quit" in lines:
                _say(printed, f"{name} ends\n".encode())
                return 0
        now = time.monotonic()
        if now < due:
            continue
        size = 1
        if int(burst) and now >= next_burst:
            size, next_burst = int(burst) * 1024 // 40, now + float(interval)
        lines = []
        for number in range(number, number + size):  # noqa: B020  # goes on where it stopped
            line = b"%s %d %d %d" % (name.encode(), number, inputs, now * 1000)
            lines.append(b"%s %08x\n" % (line, zlib.crc32(line)))
        number += 1
        _say(printed, b"".join(lines))
        due = time.monotonic() + float(pause) / 1000


def _say(printed: int, data: bytes) -> None:
    os.write(printed, data)
    with memoryview(data) as left:
        at = 0
        while at < len(data):
            at += os.write(STDOUT, left[at:])


if __name__ == "__main__":
    sys.exit(main())

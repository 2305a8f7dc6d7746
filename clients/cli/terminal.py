"""The person's terminal: raw while a session has it, as it was in every case afterwards."""

import os
import re

TYPE_CHECKING = False  # importing typing for it would take 2 ms
if TYPE_CHECKING:
    from types import TracebackType

LARGEST = 10_000  # columns or rows that session.proto allows


def size(descriptor: int) -> tuple[int, int]:
    """Columns and rows; 80 and 24 where nobody knows."""
    try:
        columns, rows = os.get_terminal_size(descriptor)
    except OSError:
        columns, rows = 0, 0
    return min(columns or 80, LARGEST), min(rows or 24, LARGEST)


def kind() -> str:
    """TERM, as far as a node may be told."""
    term = os.environ.get("TERM", "")
    return term if re.fullmatch(r"[A-Za-z0-9._+-]{1,64}", term) else "xterm"


class Raw:
    """While entered, every key goes through as it is typed. What was typed ahead is kept."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> None:
        import termios  # not everywhere: the module is imported on Windows, too
        import tty

        self._before = termios.tcgetattr(self._descriptor)
        tty.setraw(self._descriptor, termios.TCSADRAIN)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        import termios
        from contextlib import suppress

        with suppress(termios.error):  # the terminal itself may be gone
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)


class Screen:
    """What a terminal must be told when a program on the node was cut off before it could tidy up."""

    def __init__(self) -> None:
        self._alternate = False

    def shows(self, output: bytes) -> None:
        """Output that went to the terminal."""
        at = output.rfind(b"\x1b[?1049")
        if at >= 0:
            self._alternate = output[at + 7 : at + 8] == b"h"

    def reset(self) -> bytes:
        """Leaves the alternate screen (of an editor, a pager), shows the cursor, ends colours and mouse."""
        leave = b"\x1b[?1049l" if self._alternate else b""
        self._alternate = False
        modes = b"".join(b"\x1b[?%dl" % mode for mode in (1, 1000, 1002, 1003, 1006, 2004))
        return leave + modes + b"\x1b>\x1b[?25h\x1b[0m"


class Escape:
    """ "~." typed at the start of a line leaves a session that no longer answers; "~~" types one "~"."""

    def __init__(self) -> None:
        self._at_start = True
        self._held = False
        self.leaves = False

    def filter(self, typed: bytes) -> bytes:
        """What goes to the node. Sets `leaves` when the person wants out."""
        if not self._held and b"~" not in typed:
            self._at_start = typed[-1:] in (b"\r", b"\n")
            return typed
        passed = bytearray()
        for byte in typed:
            if self._held:
                self._held = False
                if byte == ord("."):
                    self.leaves = True
                    return bytes(passed)
                if byte != ord("~"):
                    passed.append(ord("~"))
            elif self._at_start and byte == ord("~"):
                self._held = True
                continue
            passed.append(byte)
            self._at_start = byte in b"\r\n"
        return bytes(passed)

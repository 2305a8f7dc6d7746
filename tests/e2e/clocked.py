"""`jitgate serve` with a clock that a test sets: as many seconds ahead as the file SHIFT_FILE says."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway import serve
from gateway.__main__ import main

_file = Path(os.environ["SHIFT_FILE"])


def shifted() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=float(_file.read_text()))


if __name__ == "__main__":
    serve.utc_now = shifted
    main()

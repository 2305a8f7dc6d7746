"""What the agent says to its log: one JSON line an event, on standard error, and never a secret."""

import json
import sys
import time


def log(event: str, **values: object) -> None:
    record = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": event, **values}
    print(json.dumps(record), file=sys.stderr, flush=True)

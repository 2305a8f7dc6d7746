"""`python -m tests.crash [kills] [N]` and `python -m tests.crash resume [N]`; `--help` after either says more."""

import sys

from tests.crash import kills_command, resume_command

_COMMANDS = {"kills": kills_command.main, "resume": resume_command.main}

if __name__ == "__main__":
    name, *arguments = sys.argv[1:] or ["kills"]
    if name not in _COMMANDS:
        name, arguments = "kills", sys.argv[1:]
    sys.exit(_COMMANDS[name](arguments))

"""`python -m tests.crash [kills] [N]`, `… resume [N]`, `… faults [N]`, `… notices [N]`; each has `--help`."""

import sys

from tests.crash import faults_command, kills_command, notices_command, resume_command

_COMMANDS = {
    "kills": kills_command.main,
    "resume": resume_command.main,
    "faults": faults_command.main,
    "notices": notices_command.main,
}

if __name__ == "__main__":
    name, *arguments = sys.argv[1:] or ["kills"]
    if name not in _COMMANDS:
        name, arguments = "kills", sys.argv[1:]
    sys.exit(_COMMANDS[name](arguments))

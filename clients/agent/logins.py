"""The login that a session runs as: the gateway names it, the node's user database says what it is."""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

_PATH = "/usr/local/bin:/usr/bin:/bin"
_ROOT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class LoginRefused(Exception):
    """This agent runs nothing as that login; the text says why."""


@dataclass(frozen=True, slots=True)
class Login:
    """Who a session is on this node."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str

    def argv(self, command: str, profile: str) -> list[str]:
        """What the shell is called with: for a command, or ("") as a login shell, after its profile."""
        name = Path(self.shell).name
        if command:
            return [name, "-c", command]
        return [name, "-c", f'{profile}\nexec "$SHELL" -l'] if profile else [f"-{name}"]

    def environment(self, session_id: str, term: str) -> dict[str, str]:
        """What the shell starts with; nothing of the agent's own environment but the language."""
        values = {
            "HOME": self.home,
            "USER": self.name,
            "LOGNAME": self.name,
            "SHELL": self.shell,
            "PATH": _PATH if self.uid else _ROOT_PATH,
            "JITGATE_SESSION": session_id,
        }
        if term:
            values["TERM"] = term
        if "LANG" in os.environ:
            values["LANG"] = os.environ["LANG"]
        return values


def find(name: str) -> Login:
    """Raises LoginRefused: no such login, or this agent is not root and somebody else."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise LoginRefused(f"the node has no login {name}") from None
    if os.geteuid() not in (0, entry.pw_uid):
        own = pwd.getpwuid(os.geteuid()).pw_name
        raise LoginRefused(f"the agent runs as {own}, not as root, so it cannot run anything as {name}")
    return Login(name, entry.pw_uid, entry.pw_gid, entry.pw_dir or "/", entry.pw_shell or "/bin/sh")

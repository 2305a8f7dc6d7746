"""Where the demo plays: a folder with a gateway, nodes and people, left running when the curtain falls."""

import json
import os
import secrets
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.agents import AgentProcess
from tests.demo.cloud import Cloud
from tests.demo.running import Running
from tests.processes import BIN, START_SECONDS, GatewayProcess, Person, wait_for
from tests.sshd import Sshd, current_login, free_port, start_sshd

POLICIES = Path(__file__).parent / "policies"
ADMINISTRATOR, PEOPLE = "admin", ("alice", "bob", "carol", "dave")
_OWN = {f"JITGATE_NOTIFICATIONS__{kind.upper()}": kind for kind in ("email", "slack", "teams")}


@dataclass
class Stage:
    """Everything is below `folder`, and nothing of it in /etc. `aws`: recordings in stand-ins of S3 and KMS."""

    folder: Path
    aws: bool = False
    cloud: Cloud = field(init=False)
    gateway: GatewayProcess = field(init=False)
    agent: AgentProcess = field(init=False)
    people: dict[str, Person] = field(init=False)
    passwords: dict[str, str] = field(init=False)
    nodes: dict[str, Sshd] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder = self.folder.absolute()
        # In a session of its own: Ctrl-C and closed terminals are meant for who watches, not for the gateway.
        self.gateway = GatewayProcess(self.folder / "gateway", command=("setsid", BIN / "jitgate", "serve"))
        self.cloud = Cloud(self.folder / "aws")
        self.agent = AgentProcess(self.folder / "nodes" / "agent", wrapper=("setsid",))
        names = (ADMINISTRATOR, *PEOPLE)
        self.people = {name: Person(name, self.folder / "people" / name) for name in names}
        # Everybody on this machine can reach the gateway, so nobody's password is known beforehand.
        self.passwords = {name: f"{name}-{secrets.token_hex(6)}" for name in names}

    @property
    def running(self) -> Running:
        return Running.load(self.folder / "running.json")

    def clear(self) -> None:
        """Ends what an earlier demo left, and makes room."""
        self.running.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700, parents=True)
        shutil.copytree(POLICIES, self.folder / "policies")

    @property
    def recordings(self) -> Path:
        """Where the objects of recordings are, as files."""
        return self.cloud.objects if self.aws else self.gateway.data_dir / "recordings"

    def start_cloud(self) -> None:
        """Before the gateway, which is told where it is."""
        self.cloud.start(self.running)
        self.gateway.environment |= self.cloud.environment

    @property
    def own_channels(self) -> tuple[str, ...]:
        """Those that whoever runs the demo has configured in the environment: they are told for real."""
        return tuple(kind for name, kind in _OWN.items() if name in os.environ)

    def start_services(self) -> None:
        """Before the gateway, which is told of them: stand-ins of what tells people. They go on with it."""
        folder = self.folder / "services"
        folder.mkdir(mode=0o700)
        command = ("setsid", sys.executable, "-m", "tests.demo.services", folder)
        with (folder / "log").open("wb") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self.running.add(process.pid)
        settings = folder / "settings.json"
        wait_for(settings.exists, START_SECONDS, f"the services' start (see {folder / 'log'})")
        own = {name: os.environ[name] for name in _OWN if name in os.environ}
        # Messages lead to the page of their request.
        pages = {"JITGATE_HTTP_LISTEN": f"127.0.0.1:{free_port()}"}
        self.gateway.keeps(pages["JITGATE_HTTP_LISTEN"])
        self.gateway.environment |= pages | json.loads(settings.read_text()) | own

    def arrived(self) -> dict[str, list[Any]]:
        """What the services have, by service."""
        file = self.folder / "services" / "arrived.json"
        found: dict[str, list[Any]] = json.loads(file.read_text()) if file.exists() else {}
        return found

    def start_gateway(self) -> str:
        """What the gateway's first start tells its operator."""
        self.gateway.start()
        assert self.gateway.process is not None
        self.running.add(self.gateway.process.pid)
        return self.gateway.out.read_text()

    def kill_gateway(self) -> int:
        """kill -9; the id of the process that was killed. `start_gateway` starts it where it was."""
        assert self.gateway.process is not None
        self.gateway.kill()
        return self.gateway.process.pid

    def start_node(self, name: str, node_id: str, user_ca: str, principal: str) -> Sshd:
        """An sshd that was told what `jit nodes trust` prints. Raises SshdMissing."""
        node = start_sshd(
            self.folder / "nodes" / name,
            user_ca,
            {current_login(): [principal]},
            extra=f"# {name} is {node_id}\nDisableForwarding yes",
            pam=_needs_pam(),
        )
        self.running.add(node.process.pid, node.principals)
        self.nodes[name] = node
        return node

    def join(self, activation_id: str, code: str) -> str:
        """Registers the agent and starts it; what the registration printed."""
        gateway = self.gateway
        done = self.agent.register(gateway.sign_in_address, gateway.ca_fingerprint(), activation_id, code)
        if done.returncode:
            raise RuntimeError(f"the agent did not register: {done.stderr}")
        self.agent.start()
        assert self.agent.process is not None
        self.running.add(self.agent.process.pid)
        return done.stdout

    def run(self, who: str, *arguments: str | Path, stdin: str = "") -> tuple[int, str]:
        """Runs `jit` where a person stands beside the demo's folder; its exit code and all that it printed."""
        process = self.people[who].popen(
            *arguments,
            cwd=self.folder.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        printed, _ = process.communicate(stdin.encode(), timeout=60)
        return process.returncode, printed.decode(errors="replace")

    def beside(self, path: Path) -> str:
        """A path below the folder, as it is written by who stands beside it."""
        return str(Path(self.folder.name) / path.relative_to(self.folder))

    def write_wrappers(self) -> None:
        """One command a person, with the person's own sign-in, and those of who runs gateway and agent."""
        for name, person in self.people.items():
            environment = {"JIT_HOME": person.environment["JIT_HOME"]}
            _write_script(self.folder / name, environment, BIN / "jit")
        environment = {
            "JITGATE_DATA_DIR": str(self.gateway.data_dir),
            "JITGATE_LISTEN": self.gateway.address,
            "JITGATE_SIGN_IN_LISTEN": self.gateway.sign_in_address,
            "JITGATE_AGENT_LISTEN": self.gateway.agent_address,
            **self.gateway.environment,
        }
        _write_script(self.folder / "jitgate", environment, BIN / "jitgate")
        state = {"JITGATE_AGENT_STATE": str(self.agent.folder)}
        _write_script(self.folder / "jitgate-agent", state, BIN / "jitgate-agent")
        lines = "".join(f"{name}: {password}\n" for name, password in self.passwords.items())
        file = self.folder / "passwords"
        file.touch(0o600)
        file.write_text(lines)


def _write_script(path: Path, environment: dict[str, str], program: Path) -> None:
    settings = "".join(f"{name}={shlex.quote(value)} " for name, value in environment.items())
    path.write_text(f'#!/bin/sh\n{settings}exec {shlex.quote(str(program))} "$@"\n')
    path.chmod(0o755)


def _needs_pam() -> bool:
    """Whether sshd would take root's account for locked, as some systems make it; PAM lets certificates in."""
    if os.geteuid() != 0 or not Path("/etc/pam.d/sshd").exists():
        return False
    entries = (line.split(":") for line in Path("/etc/shadow").read_text().splitlines())
    return any(entry[0] == "root" and entry[1].startswith("!") for entry in entries)

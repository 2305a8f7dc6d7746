"""`jitgate-agent`: registers a node, and keeps it reachable."""

import argparse
import getpass
import os
import subprocess
import sys
import time
from pathlib import Path

# gRPC reads both when it is imported: it must not log in a form of its own, nor follow a fork.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from clients.agent.state import DEFAULT_FOLDER, State, Unusable


def main() -> None:
    arguments = _parser().parse_args()
    try:
        arguments.command(arguments, State(arguments.state))
    except Unusable as error:
        raise SystemExit(f"jitgate-agent: {error}") from None


def _register(arguments: argparse.Namespace, state: State) -> None:
    from clients.agent import registering  # noqa: PLC0415  # the running agent needs none of it

    _use_proxy_of_environment()
    code = _code(arguments.activation_code_file)
    known = registering.register(
        state,
        gateway=arguments.gateway,
        ca_file=arguments.ca_file,
        fingerprint=arguments.ca_fingerprint,
        activation_id=arguments.activation_id,
        code=code,
    )
    print(f"Registered this node as {known.node_name} ({known.node_id}).")
    print(f"Its key and certificate are in {state.folder}; the certificate renews itself, the first time before")
    print(f"{registering.when(known.expires_at)}. Start the agent: systemctl enable --now jitgate-agent")


def _code(file: str) -> str:
    """The activation code: from a file, from standard input, or typed."""
    if file and file != "-":
        try:
            return Path(file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Unusable(f"{file} holds no activation code: {error}") from None
    if sys.stdin.isatty() and not file:
        return getpass.getpass("Activation code: ").strip()
    return sys.stdin.readline().strip()


def _run(arguments: argparse.Namespace, state: State) -> None:
    # gRPC brings a TLS of its own; without the other one the agent is four megabytes smaller.
    sys.modules["ssl"] = None  # type: ignore[assignment]  # which makes the import fail, as asyncio allows for
    import asyncio  # noqa: PLC0415  # as above

    from clients.agent import memory  # noqa: PLC0415  # before gRPC, which starts threads

    memory.share()
    from clients.agent import agent  # noqa: PLC0415

    _use_proxy_of_environment()
    state.prepare()
    with state.alone():
        asyncio.run(agent.run(state, _version(), arguments.max_sessions))


def _version() -> str:
    """The version that is installed. Asked for in a process of its own: it takes two megabytes to find out."""
    program = "from importlib.metadata import version; print(version('jitgate'))"
    asked = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)  # noqa: S603
    return asked.stdout.strip() or "unknown"


def _use_proxy_of_environment() -> None:
    """gRPC looks at the names in small letters only."""
    for name in ("HTTPS_PROXY", "NO_PROXY"):
        if name in os.environ:
            os.environ.setdefault(name.lower(), os.environ[name])


def _status(_arguments: argparse.Namespace, state: State) -> None:
    known = state.registration()
    if known is None:
        raise Unusable(f"not registered ({state.folder}). Run: jitgate-agent register --help")
    left = known.expires_at - int(time.time())
    print(f"node         {known.node_name} ({known.node_id})")
    print(f"gateway      {known.agent_address}")
    print(f"certificate  {f'{left // 3600} h left' if left > 0 else 'expired: register this node anew'}")
    running = state.running()
    if running is None:
        raise Unusable("the agent does not run. Run: systemctl start jitgate-agent")
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(running["since"]))
    print(
        f"agent        {running['state']} since {since}" + (f": {running['detail']}" if running["detail"] else "")
    )
    if running["state"] != "attached":
        raise SystemExit(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jitgate-agent", description="Makes this machine a node: dials the gateway and runs what it orders."
    )
    parser.add_argument(
        "--state",
        type=Path,
        default=Path(os.environ.get("JITGATE_AGENT_STATE", DEFAULT_FOLDER)),
        help="folder of key, certificate and registration (default: %(default)s)",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    register = commands.add_parser("register", help="join with an activation, once")
    register.add_argument("--gateway", required=True, metavar="HOST:PORT", help="the gateway's sign-in address")
    trusted = register.add_mutually_exclusive_group(required=True)
    trusted.add_argument("--ca-fingerprint", default="", metavar="sha256:…", help="of the gateway's CA")
    trusted.add_argument("--ca-file", type=Path, metavar="FILE", help="the gateway's CA certificate, PEM")
    register.add_argument("--activation-id", required=True, metavar="act-…")
    register.add_argument(
        "--activation-code-file",
        default="",
        metavar="FILE",
        help="- for standard input; without it the code is asked for (never give it as an argument)",
    )
    register.set_defaults(command=_register)
    run = commands.add_parser("run", help="stay connected and serve sessions, in the foreground")
    run.add_argument("--max-sessions", type=int, default=64, metavar="N", help="at once (default: %(default)s)")
    run.set_defaults(command=_run)
    status = commands.add_parser("status", help="show who this node is; exit code 1 unless it is connected")
    status.set_defaults(command=_status)
    return parser


if __name__ == "__main__":
    main()

"""The entry point of `jit`. Sessions start without Typer: its import takes as long as opening one."""

import os
import sys

from clients.cli import options
from clients.cli.errors import INTERRUPTED, REFUSED, SESSION_FAILED, Failure, of_call, report
from clients.cli.wire.failure import CallFailed


def main() -> int:
    """Runs the command line in sys.argv; the exit code (docs/cli.md)."""
    plan = options.read(sys.argv[1:])
    try:
        if plan is not None:
            from clients.cli import connect

            code = connect.run(plan)
            # Taking the interpreter apart takes 10 ms, and nothing of a session is left to be cleaned up.
            sys.stderr.flush()
            os._exit(code)
        from clients.cli.app import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads: nothing to complain about
        return 141
    except Exception as error:  # noqa: BLE001 - nobody shall read a traceback of ours
        failure = _failure(error)
        report(failure)
        # A session's other exit codes belong to the remote command.
        return SESSION_FAILED if _is_session(sys.argv[1:]) else failure.exit_code


def _is_session(arguments: list[str]) -> bool:
    return arguments[:1] in (["shell"], ["exec"]) or arguments[:2] == ["sessions", "attach"]


def _failure(error: Exception) -> Failure:
    if isinstance(error, Failure):
        return error
    if isinstance(error, CallFailed):
        return of_call(error)
    if os.environ.get("JIT_DEBUG"):
        raise error
    return Failure(
        f"jit itself failed: {error!r}", "Run it again with JIT_DEBUG=1 and report what it prints.", REFUSED
    )


if __name__ == "__main__":
    sys.exit(main())

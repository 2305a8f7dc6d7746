"""`python -m tests.demo`: the demo; `python -m tests.demo stop`: ends what it left running."""

import argparse
import sys
import time
from pathlib import Path

from tests.demo.play import Differs, Play
from tests.demo.show import Show
from tests.demo.stage import PEOPLE, Stage
from tests.demo.steps import CHAPTERS
from tests.sshd import SshdMissing

_FOLDER = Path(".demo")


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.demo", description=__doc__)
    options.add_argument("what", nargs="?", choices=("run", "stop"), default="run")
    options.add_argument("--folder", type=Path, default=_FOLDER, help="where everything goes (default: .demo)")
    options.add_argument("--aws", action="store_true", help="keep recordings in stand-ins of S3 and KMS")
    given = options.parse_args()
    stage = Stage(given.folder, aws=given.aws)
    if given.what == "stop":
        print(f"stopped {stage.running.stop()} processes")
        return 0
    return _run(Play(stage, Show()))


def _run(play: Play) -> int:
    began = time.monotonic()
    play.stage.clear()
    simulated = "a mail server, Slack and Teams" + (", S3 and KMS" if play.stage.aws else "")
    play.show.remark("Jitgate, the whole way of an access request, on this machine.")
    play.show.remark(f"Nothing is simulated but what it talks to elsewhere: {simulated}.")
    play.show.remark("alice$ jit … is what you will find as .demo/alice … when this is over.")
    held = False
    try:
        for chapter in CHAPTERS:
            chapter(play)
        play.stage.write_wrappers()
        held = True
    except SshdMissing:
        play.show.failure("there is no sshd here, and the demo's nodes are real ones")
        play.show.note(
            "Install it; it need not be started: apt-get install openssh-server, or as your system does."
        )
    except (Differs, AssertionError, TimeoutError, RuntimeError, OSError) as error:
        play.show.failure(str(error))
        play.show.note(f"Everything was stopped. The gateway's log: {play.stage.gateway.log}")
    except KeyboardInterrupt:
        play.show.note("\nstopped")
    finally:
        if not held:
            play.stage.running.stop()
    if held:
        _hand_over(play, time.monotonic() - began)
    return 0 if held else 1


def _hand_over(play: Play, seconds: float) -> None:
    stage, show = play.stage, play.show
    at = f"{stage.folder.name}/" if stage.folder.parent == Path.cwd() else f"{stage.folder}/"
    show.chapter("Your turn", f"All of that held, in {seconds:.0f} s. Gateway, nodes and agent go on running.")
    show.note(f"""
  {at}alice shell web-1                        a shell on a node, recorded
  {at}alice shell edge-1                       the same through the agent
  {at}jitgate-agent status
  {at}alice request db-1 --reason "why"        then, as those who decide:
  {at}bob requests list --for-me
  {at}bob approve oi-…                         and carol after him
  {at}alice shell db-1
  {at}dave recordings list
  {at}dave recordings play s-…
  {at}admin policies explain alice db-1
  {at}admin --help

  There are wrappers for admin, {", ".join(PEOPLE)}, jitgate and jitgate-agent. Passwords, for when
  a sign-in has expired (12 hours): {at}passwords. Policies to change and put again: {at}policies/.
  Logs: {at}gateway/gateway.log, {at}nodes/agent.log. What people were told: {at}services/arrived.json.
  To end all of it: make demo-stop""")


if __name__ == "__main__":
    sys.exit(main())

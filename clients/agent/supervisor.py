"""One session's process group: starts it, tells how it ended, and leaves nothing of it alive.

A program of its own (`python -I -S supervisor.py CONTROL STDIN STDOUT STDERR`, the descriptors that it inherits),
since a process that uses gRPC must not fork. It imports next to nothing: one lives beside every session. Whatever
the session detaches is handed to it by the kernel, so that it finds everything again. When its lifetime is over,
or the agent closes the control socket or dies, it kills the session without asking anybody.

Messages on the control socket: four bytes of length, then a marshalled value. In: the order (a dictionary, see
process.py), then ("signal", number, process group or 0). Out: ("running", pid) or ("not_started", why), then
("ended", wait status).
"""

import fcntl
import marshal
import os
import select
import signal
import sys
import termios
import time

TYPE_CHECKING = False  # importing typing costs as much as all the rest
if TYPE_CHECKING:
    from typing import Any, NoReturn

KILL_SECONDS = 10.0
LONGEST_MESSAGE = 1 << 20
_PR_SET_CHILD_SUBREAPER = 36
# What this program sets itself, and whatever those who started the agent may have ignored.
_MADE_DEFAULT = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
_clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # time goes on while the machine sleeps


def main() -> None:
    control, stdin, stdout, stderr = (int(number) for number in sys.argv[1:5])
    order = _receive(control)
    if order is None:
        return
    deadline = time.clock_gettime(_clock) + order["lifetime"]
    wakeup, awake = os.pipe()
    for end in (wakeup, awake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(awake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    _adopt_orphans()
    streams = (stdin, stdout, stderr)
    child, problem = _start(order, streams)
    for descriptor in set(streams):
        os.close(descriptor)
    if problem:
        os.waitpid(child, 0)
        _send(control, ("not_started", problem))
        _remove_cgroup(order["cgroup"])
        return
    _send(control, ("running", child))
    status = _watch(control, wakeup, child, deadline)
    killed = _kill_everything(child, order["cgroup"])
    _send(control, ("ended", killed if status is None else status))


def _watch(control: int, wakeup: int, child: int, deadline: float) -> int | None:
    """The child's wait status once it has ended by itself; None when the session has to end."""
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(wakeup, select.POLLIN)
    while True:
        left = deadline - time.clock_gettime(_clock)
        if left <= 0:
            return None
        ready = {descriptor for descriptor, _ in poll.poll(min(left * 1000 + 1, 3_600_000))}
        if wakeup in ready:
            os.read(wakeup, 4096)
            ended = _reap()
            if child in ended:
                return ended[child]
        if control in ready:
            message = _receive(control)
            if message is None:
                return None
            _, number, group = message
            _signal(group or child, number)


def _signal(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except OSError:
        return  # it ended meanwhile, or took the rights of somebody whom this agent may not signal


def _start(order: "Any", streams: tuple[int, int, int]) -> tuple[int, str]:
    """The process id of the session's first process, and why it did not start."""
    if os.geteuid() == 0:
        # The login may open them again by name: its terminal, /dev/stdout.
        for descriptor in set(streams):
            os.fchown(descriptor, order["uid"], -1)
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        _become(order, streams, tell)
    os.close(tell)
    problem = b""
    while chunk := os.read(told, 4096):
        problem += chunk
    os.close(told)
    return child, problem.decode(errors="replace")


def _become(order: "Any", streams: tuple[int, int, int], tell: int) -> "NoReturn":
    """In the child: turns into the session's first process."""
    try:
        os.setsid()
        if order["cgroup"]:
            _write(order["cgroup"] + "/cgroup.procs", "0")
        if order["terminal"]:
            fcntl.ioctl(streams[0], termios.TIOCSCTTY, 0)
        for target, source in enumerate(streams):
            os.dup2(source, target)
        os.closerange(3, tell)
        os.closerange(tell + 1, os.sysconf("SC_OPEN_MAX"))
        for number in _MADE_DEFAULT:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.umask(0o022)
        if os.geteuid() == 0:
            os.initgroups(order["name"], order["gid"])
            os.setgid(order["gid"])
            os.setuid(order["uid"])
        try:
            os.chdir(order["home"])
        except OSError:
            os.chdir("/")
        os.execve(order["shell"], order["argv"], order["environment"])  # noqa: S606  # the login's shell itself
    except OSError as error:
        os.write(tell, f"{order['shell']} as {order['name']}: {error.strerror}".encode())
    except BaseException as error:  # noqa: BLE001  # nothing may get out of here: this is a copy of the parent
        os.write(tell, repr(error).encode())
    os._exit(127)


def _kill_everything(child: int, cgroup: str) -> int:
    """Kills until nothing is left or nothing can be done; how the child ended, SIGKILL if it does not matter."""
    status = int(signal.SIGKILL)
    deadline = time.monotonic() + KILL_SECONDS
    while time.monotonic() < deadline:
        if cgroup:
            _write_if_there(cgroup + "/cgroup.kill", "1")
        left = _descendants(os.getpid())
        for process in left:
            try:
                os.kill(process, signal.SIGKILL)
            except OSError:
                continue
        status = _reap().get(child, status)
        if not left and _is_empty(cgroup):
            break
        time.sleep(0.002)
    _remove_cgroup(cgroup)
    return status


def _descendants(ancestor: int) -> list[int]:
    """Everything that descends from a process, zombies aside. Nothing where there is no /proc."""
    children: dict[int, list[int]] = {}
    dead = set()
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():  # noqa: PTH112, PTH208  # pathlib is slow to import
        if not name.isdecimal():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123  # as above
                state, parent = file.read().rpartition(b")")[2].split()[:2]
        except OSError:
            continue
        children.setdefault(int(parent), []).append(int(name))
        if state in (b"Z", b"X"):
            dead.add(int(name))
    found: list[int] = []
    ancestors = [ancestor]
    while ancestors:
        for process in children.get(ancestors.pop(), ()):
            ancestors.append(process)
            if process not in dead:
                found.append(process)
    return found


def _reap() -> dict[int, int]:
    """Wait statuses of the children that have ended."""
    ended: dict[int, int] = {}
    while True:
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if process == 0:
            return ended
        ended[process] = status


def _adopt_orphans() -> None:
    if sys.platform != "linux":
        return
    import ctypes  # noqa: PLC0415  # needed here only, and slow to import

    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _is_empty(cgroup: str) -> bool:
    if not cgroup:
        return True
    try:
        with open(cgroup + "/cgroup.procs", "rb") as file:  # noqa: PTH123  # as above
            return not file.read(1)
    except OSError:
        return True


def _remove_cgroup(cgroup: str) -> None:
    if cgroup:
        try:
            os.rmdir(cgroup)  # noqa: PTH106  # as above
        except OSError:
            return  # what is left shows in it


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:  # noqa: PTH123  # as above
        file.write(text)


def _write_if_there(path: str, text: str) -> None:
    try:
        _write(path, text)
    except OSError:
        return  # before Linux 5.14; the descendants are killed one by one


def _receive(control: int) -> "Any":
    """The next message; None once the agent is gone."""
    head = _exactly(control, 4)
    if head is None or int.from_bytes(head, "big") > LONGEST_MESSAGE:
        return None
    body = _exactly(control, int.from_bytes(head, "big"))
    return None if body is None else marshal.loads(body)  # noqa: S302  # the agent's own words, on its own socket


def _exactly(descriptor: int, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        try:
            chunk = os.read(descriptor, size - len(data))
        except OSError:
            return None
        if not chunk:
            return None
        data += chunk
    return data


def _send(control: int, message: tuple[str, int | str]) -> None:
    body = marshal.dumps(message)
    try:
        os.write(control, len(body).to_bytes(4, "big") + body)
    except OSError:
        return  # the agent is gone; nobody needs to know


if __name__ == "__main__":
    main()

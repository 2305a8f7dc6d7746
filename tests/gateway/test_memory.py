import subprocess
import sys

import pytest

_FAULTS = """\
import resource
from gateway.memory import keep_freed_blocks
{call}
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    [b"x" * ((8 << 20) + block) for block in range(4)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(call: str) -> int:
    """Of a process that allocates and frees four blocks of 8 MiB, fifty times over."""
    code = _FAULTS.format(call=call)
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_a_freed_block_is_used_again() -> None:
    four_blocks = 4 * (8 << 20) // 4096
    assert page_faults("keep_freed_blocks()") < 5 * four_blocks


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_elsewhere_nothing_happens(platform: str) -> None:
    call = f"import sys; sys.platform = {platform!r}; import ctypes; ctypes.CDLL = None; keep_freed_blocks()"
    assert page_faults(call) >= 0


def test_what_is_there_is_not_gone_through_for_garbage() -> None:
    code = (
        "import gc, gateway.__main__; loaded = gc.get_freeze_count(); assert gc.isenabled();"
        "kept = [[] for _ in range(1000)]; from gateway.memory import keep_what_is_there; keep_what_is_there();"
        "print(loaded, gc.get_freeze_count() - loaded, len(gc.get_objects()))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    loaded, kept, left = map(int, out.split())
    assert loaded > 100_000
    assert kept >= 1000
    assert left < 1000

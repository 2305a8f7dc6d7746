"""That the doors of conftest are shut, or every other test here would show less than it says."""

import pytest


@pytest.mark.parametrize(
    "reach",
    [
        "import time; time.time()",
        "import time; time.monotonic()",
        "open('/etc/hostname')",
        "from pathlib import Path; Path('/etc/hostname').read_text()",
        "import socket; socket.socket()",
        "import random; random.random()",
        "import random; random.Random()",
        "import os; os.urandom(1)",
        "import uuid; uuid.uuid4()",
    ],
)
def test_the_core_cannot_reach_out(reach: str) -> None:
    with pytest.raises(AssertionError, match="the policy core reached for"):
        exec(reach, {"__name__": "policy.intruder"})


def test_others_can() -> None:
    exec("import time; time.time(); open('/dev/null').close()", {"__name__": "hypothesis.core"})

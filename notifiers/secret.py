"""Secrets that an operator keeps in a file or in the environment, and never in the configuration itself."""

import os
from pathlib import Path

from pydantic import SecretStr

from notifiers.errors import Unusable

_LONGEST = 4096


def read_secret(what: str, file: Path | None, environment: str | None) -> SecretStr:
    """From the one of both that is set. `what` names it ("the bot token"). Raises Unusable."""
    if environment is not None:
        where, found = f"the environment variable {environment}", os.environ.get(environment, "")
    elif file is not None:
        where = str(file)
        try:
            found = file.read_text(encoding="utf-8")[:_LONGEST].strip()
        except (OSError, UnicodeDecodeError):
            raise Unusable(f"{what} in {where} can't be read") from None
    else:
        raise Unusable(f"nothing says where {what} is")
    if not found:
        raise Unusable(f"{what} is not in {where}")
    return SecretStr(found)

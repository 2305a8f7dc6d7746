"""moto as a server that answers one call at a time, as a program: it says on standard error where it listens.

moto itself answers many at once and is no more than dictionaries: two conditional puts of one name can both
succeed, and an object that is being stored can show nothing of it, as happens in no S3.
"""

import io
import threading
from collections.abc import Callable, Iterable
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple

_moto = DomainDispatcherApplication(create_backend_app)
_turn = threading.Lock()


def _answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    # Read before it has the turn: whoever sends it may be paused in the middle.
    if length := int(environ.get("CONTENT_LENGTH") or 0):
        environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(length))
    with _turn:
        answer: Iterable[bytes] = _moto(environ, start_response)
    return answer


if __name__ == "__main__":
    run_simple("127.0.0.1", 0, _answer, threaded=True, request_handler=MotoRequestHandler)

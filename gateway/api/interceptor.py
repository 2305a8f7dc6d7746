"""What happens around every call: identity, permission, bounds, refusals in one form, a span, a log line."""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeAlias

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from opentelemetry import metrics, propagate, trace

from gateway.api import bounds, failures, status
from gateway.api.current import Bearer, set_caller
from gateway.api.peer import source_address
from gateway.errors import Kind, Refused
from gateway.store.failures import DatabaseUnavailable, WriteConflict
from jitgate.v1.annotations_pb2 import Permission

_log = structlog.get_logger("jitgate.api")
_tracer = trace.get_tracer("jitgate.api")
_duration = metrics.get_meter("jitgate.api").create_histogram(
    "rpc.server.duration", unit="ms", description="Time that calls took, by method and status code"
)

# Proves who is at the other end: certificate as PEM, source address -> the caller. Raises Refused.
Authenticate = Callable[[bytes, str], Awaitable[Bearer]]

_NO_GRANT = (Permission.PERMISSION_PUBLIC, Permission.PERMISSION_SIGNED_IN)
# Generic in the stubs only.
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Guard(grpc.aio.ServerInterceptor):
    """Nothing reaches a service but through here; a method without a declared permission is not served.

    The frames of a request stream are checked by their service: only that knows which of them are hot.
    """

    def __init__(
        self,
        required: Mapping[str, "Permission.ValueType"],
        authenticate: Authenticate,
        *,
        anonymous: bool = False,
    ) -> None:
        """`anonymous`: the sign-in listener, which has no client certificates and serves public methods only."""
        self._required = required
        self._authenticate = authenticate
        self._anonymous = anonymous

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]]",
        details: grpc.HandlerCallDetails,
    ) -> "_Handler | None":
        handler = await continuation(details)
        if handler is None:
            return None  # gRPC answers UNIMPLEMENTED
        method = details.method
        metadata = {key: value for key, value in details.invocation_metadata or () if isinstance(value, str)}
        if handler.request_streaming and handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._streaming(method, metadata, handler.stream_stream, streams_in=True),
                handler.request_deserializer,
                handler.response_serializer,
            )
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                self._streaming(method, metadata, handler.unary_stream),
                _tolerant(handler.request_deserializer),
                handler.response_serializer,
            )
        return grpc.unary_unary_rpc_method_handler(
            self._unary(method, metadata, handler.unary_unary),
            _tolerant(handler.request_deserializer),
            handler.response_serializer,
        )

    def _unary(self, method: str, metadata: dict[str, str], behaviour: Any) -> Any:
        async def answer(request: Any, context: "_Context") -> Any:
            async with self._guarded(method, metadata, context):
                _check(request)
                return await behaviour(request, context)

        return answer

    def _streaming(
        self, method: str, metadata: dict[str, str], behaviour: Any, *, streams_in: bool = False
    ) -> Any:
        # Never a generator: when the client leaves, gRPC forgets a generator where it stands, and what it holds
        # open would be closed at some later time, when the call is long gone. A coroutine is cancelled.
        async def answer(request: Any, context: "_Context") -> None:
            async with self._guarded(method, metadata, context):
                if not streams_in:
                    _check(request)
                if inspect.isasyncgenfunction(behaviour):
                    async with aclosing(behaviour(request, context)) as responses:
                        async for response in responses:
                            await context.write(response)
                else:
                    await behaviour(request, context)

        return answer

    @asynccontextmanager
    async def _guarded(self, method: str, metadata: dict[str, str], context: "_Context") -> AsyncIterator[None]:
        started = time.monotonic()
        code, reason = grpc.StatusCode.OK, ""
        peer = source_address(context.peer())  # asked for now: once the call is over, gRPC crashes on the question
        with _tracer.start_as_current_span(
            method.removeprefix("/"), propagate.extract(metadata), kind=trace.SpanKind.SERVER
        ):
            try:
                set_caller(await self._admit(method, context, peer))
                yield
            except (Refused, DatabaseUnavailable, WriteConflict) as stopped:
                refused = failures.refusal_of(stopped)
                code, message, trailers = status.of(refused)
                reason = refused.reason
                await context.abort(code, message, trailers)
            except grpc.aio.AbortError:
                code = grpc.StatusCode(context.code())
                raise
            except asyncio.CancelledError:
                code = grpc.StatusCode.CANCELLED
                raise
            except Exception:  # noqa: BLE001  # whatever fails in a call ends that call, never the server
                code = grpc.StatusCode.INTERNAL
                _log.exception("call_failed", method=method)
                await context.abort(
                    code, "the gateway failed; its log says why", (("x-jitgate-reason", "INTERNAL"),)
                )
            finally:
                milliseconds = (time.monotonic() - started) * 1000
                _duration.record(milliseconds, {"rpc.method": method, "rpc.grpc.status_code": code.name})
                _log.info(
                    "call",
                    method=method,
                    code=code.name,
                    reason=reason,
                    peer=peer,
                    ms=round(milliseconds),
                )

    async def _admit(self, method: str, context: "_Context", peer: str) -> Bearer | None:
        needed = self._required.get(method, Permission.PERMISSION_UNSPECIFIED)
        if needed == Permission.PERMISSION_UNSPECIFIED:
            raise Refused(Kind.PERMISSION_DENIED, "NOT_SERVED", "this method is not served")
        if needed == Permission.PERMISSION_PUBLIC:
            return None
        if self._anonymous:
            raise Refused(
                Kind.UNAUTHENTICATED,
                "SIGN_IN_REQUIRED",
                "this address only signs people in",
                "Sign in with jit login, then use the gateway's main address.",
            )
        certificates = context.auth_context().get("x509_pem_cert", ())
        certificate = next(iter(certificates), b"")
        caller = await self._authenticate(certificate, peer)
        if needed not in _NO_GRANT:
            caller.require(needed)
        return caller


def _tolerant(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    """None for bytes that are no such message: gRPC itself would answer with the words of an exception."""

    assert deserialize is not None  # the generated code gives each method one

    def message_or_none(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            return None

    return message_or_none


def _check(request: Message | None) -> None:
    if request is None:
        raise Refused(
            Kind.INVALID_ARGUMENT,
            "MALFORMED_MESSAGE",
            "the request is not the message that this method takes",
            "Make the client from the gateway's own contract; reflection shows it.",
        )
    bounds.check(request)

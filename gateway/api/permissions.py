"""Which permission each method needs, as the contract declares it. A method without one is refused at start-up."""

from collections.abc import Iterable

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from jitgate.v1.annotations_pb2 import Permission, permission

# Services of gRPC itself carry no options of ours.
_STANDARD = {
    "/grpc.health.v1.Health/Check": Permission.PERMISSION_PUBLIC,
    "/grpc.health.v1.Health/Watch": Permission.PERMISSION_PUBLIC,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Permission.PERMISSION_PUBLIC,
}


class UndeclaredPermission(Exception):
    """A service has a method that does not say what a caller needs (R32)."""


def method_path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def required_permissions(services: Iterable[ServiceDescriptor]) -> dict[str, "Permission.ValueType"]:
    """Method path -> permission, for the given services and the standard ones.

    Raises UndeclaredPermission that names every method without a declaration.
    """
    required = dict(_STANDARD)
    undeclared = []
    for service in services:
        for method in service.methods:
            needed = method.GetOptions().Extensions[permission]
            if needed == Permission.PERMISSION_UNSPECIFIED:
                undeclared.append(method_path(method))
            required[method_path(method)] = needed
    if undeclared:
        raise UndeclaredPermission(f"no permission is declared for {', '.join(sorted(undeclared))}")
    return required

"""Every method names the permission it needs; one without is refused at start-up (R32)."""

import importlib
import pkgutil

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

import jitgate.v1
from gateway.api.permissions import UndeclaredPermission, required_permissions
from jitgate.v1.annotations_pb2 import Permission


def _all_services() -> list[object]:
    modules = [name for _, name, _ in pkgutil.iter_modules(jitgate.v1.__path__) if name.endswith("_pb2")]
    descriptors = [importlib.import_module(f"jitgate.v1.{name}").DESCRIPTOR for name in modules]
    return [service for file in descriptors for service in file.services_by_name.values()]


@pytest.mark.rule("R32")
def test_every_method_of_the_contract_declares_its_permission() -> None:
    required = required_permissions(_all_services())  # type: ignore[arg-type]  # found by reflection
    assert required["/jitgate.v1.AccessService/StartAccessRequest"] == Permission.PERMISSION_REQUEST_ACCESS
    public = {method for method, needed in required.items() if needed == Permission.PERMISSION_PUBLIC}
    of_ours = {method.removeprefix("/jitgate.v1.") for method in public if method.startswith("/jitgate")}
    assert {method for method in of_ours if not method.startswith("SignInService/")} == {
        "RegistrationService/RegisterNode"
    }


@pytest.mark.rule("R32")
def test_a_method_without_one_is_refused_by_name() -> None:
    file = FileDescriptorProto(name="careless.proto", package="careless", syntax="proto3")
    file.message_type.add(name="Nothing")
    service = file.service.add(name="Careless")
    service.method.add(name="Open", input_type=".careless.Nothing", output_type=".careless.Nothing")
    pool = DescriptorPool()
    pool.Add(file)
    with pytest.raises(UndeclaredPermission, match=r"/careless\.Careless/Open"):
        required_permissions([pool.FindServiceByName("careless.Careless")])

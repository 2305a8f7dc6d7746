"""ActivationService and RegistrationService: nodes are invited, nodes join (R33)."""

# ruff: noqa: N802  # methods are named by the contract

from datetime import timedelta
from typing import Any

import grpc

from gateway.api import values
from gateway.api.current import caller
from gateway.api.peer import source_address
from gateway.nodes.agents.activations import Activations, NewActivation
from gateway.nodes.agents.model import DEFAULT_LIFETIME, Activation
from gateway.nodes.agents.registration import Registrations
from jitgate.v1 import activation_pb2, activation_pb2_grpc
from jitgate.v1.common_pb2 import Scope


class ActivationService(activation_pb2_grpc.ActivationServiceServicer):
    def __init__(self, activations: Activations) -> None:
        self._activations = activations

    async def CreateActivation(
        self, request: activation_pb2.CreateActivationRequest, context: object
    ) -> activation_pb2.CreateActivationResponse:
        new = NewActivation(
            scope=values.scope(request.scope),
            default_name=request.default_name,
            tags=dict(request.tags),
            login=request.login,
            registration_limit=request.registration_limit or 1,
            lifetime=timedelta(hours=request.hours) if request.hours else DEFAULT_LIFETIME,
        )
        activation, code = await self._activations.create(caller(), new)
        return activation_pb2.CreateActivationResponse(activation=_message(activation), code=code)

    async def ListActivations(
        self, request: activation_pb2.ListActivationsRequest, context: object
    ) -> activation_pb2.ListActivationsResponse:
        size, key = values.page(request.page)
        scope = values.scope(request.scope) if request.HasField("scope") else None
        found, more = await self._activations.list(caller(), scope, size, values.after(key))
        token = values.page_token(*values.sort_key(found[-1].created_at, found[-1].id)) if more else ""
        return activation_pb2.ListActivationsResponse(activations=map(_message, found), next_page_token=token)

    async def DeleteActivation(
        self, request: activation_pb2.DeleteActivationRequest, context: object
    ) -> activation_pb2.DeleteActivationResponse:
        await self._activations.delete(caller(), request.id)
        return activation_pb2.DeleteActivationResponse()


class RegistrationService(activation_pb2_grpc.RegistrationServiceServicer):
    """`agent_address` is the host:port that agents are to use once they have a certificate."""

    def __init__(self, registrations: Registrations, agent_address: str) -> None:
        self._registrations = registrations
        self._agent_address = agent_address

    async def RegisterNode(
        self, request: activation_pb2.RegisterNodeRequest, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> activation_pb2.RegisterNodeResponse:
        registered = await self._registrations.register(
            request.activation_id,
            request.activation_code,
            request.certificate_request,
            source_address(context.peer()),
        )
        node, certificate = registered.node, registered.certificate
        return activation_pb2.RegisterNodeResponse(
            node_id=node.id,
            node_name=node.name,
            scope=Scope(account=node.account, region=node.region),
            certificate_chain=certificate.chain,
            issued_at=values.timestamp(certificate.issued_at),
            expires_at=values.timestamp(certificate.expires_at),
            agent_address=self._agent_address,
        )


def _message(activation: Activation) -> activation_pb2.Activation:
    return activation_pb2.Activation(
        id=activation.id,
        scope=Scope(account=activation.account, region=activation.region),
        default_name=activation.default_name,
        tags=activation.tags,
        login=activation.login,
        registration_limit=activation.registration_limit,
        registrations=activation.registrations,
        expires_at=values.timestamp(activation.expires_at),
        created_at=values.timestamp(activation.created_at),
        created_by=activation.created_by,
    )

"""AllowanceService: what of AWS the preferences of an account may name."""

# ruff: noqa: N802  # methods are named by the contract

from gateway.api import values
from gateway.api.current import caller
from gateway.errors import invalid
from gateway.places.model import Allowance, AllowanceKind
from gateway.places.service import Allowances
from jitgate.v1 import allowance_pb2 as pb
from jitgate.v1 import allowance_pb2_grpc

_KINDS = {
    pb.ALLOWANCE_KIND_BUCKET: AllowanceKind.BUCKET,
    pb.ALLOWANCE_KIND_KEY: AllowanceKind.KEY,
    pb.ALLOWANCE_KIND_ROLE: AllowanceKind.ROLE,
    pb.ALLOWANCE_KIND_LOG_GROUP: AllowanceKind.LOG_GROUP,
}
_NUMBERS = {kind: number for number, kind in _KINDS.items()}


class AllowanceService(allowance_pb2_grpc.AllowanceServiceServicer):
    def __init__(self, allowances: Allowances) -> None:
        self._allowances = allowances

    async def ListAllowances(
        self, request: pb.ListAllowancesRequest, context: object
    ) -> pb.ListAllowancesResponse:
        found = await self._allowances.of(caller(), request.account)
        return pb.ListAllowancesResponse(allowances=[_message(each) for each in found])

    async def Allow(self, request: pb.AllowRequest, context: object) -> pb.AllowResponse:
        given = request.allowance
        new = Allowance(
            account=given.account or values.DEFAULT_SCOPE,
            kind=_kind("allowance.kind", given.kind),
            name=given.name,
            owner=given.owner,
            aws_region=given.aws_region,
            external_id=given.external_id,
        )
        return pb.AllowResponse(allowance=_message(await self._allowances.allow(caller(), new)))

    async def Disallow(self, request: pb.DisallowRequest, context: object) -> pb.DisallowResponse:
        account = request.account or values.DEFAULT_SCOPE
        await self._allowances.disallow(caller(), account, _kind("kind", request.kind), request.name)
        return pb.DisallowResponse()


def _kind(field: str, number: int) -> AllowanceKind:
    for declared, kind in _KINDS.items():
        if declared == number:
            return kind
    raise invalid(field, "must be a bucket, a key, a role or a log group")


def _message(allowance: Allowance) -> pb.Allowance:
    return pb.Allowance(
        account=allowance.account,
        kind=_NUMBERS[allowance.kind],
        name=allowance.name,
        owner=allowance.owner,
        aws_region=allowance.aws_region,
        external_id=allowance.external_id,
        changed_at=values.timestamp(allowance.changed_at),
        changed_by=allowance.changed_by,
    )

"""AdministrationService: the directory, roles, locks, targets, preferences, events."""

# ruff: noqa: N802  # methods are named by the contract

import json
from collections.abc import Sequence

from gateway.api import values
from gateway.api.current import caller
from gateway.api.diagnosis import Check, diagnose
from gateway.api.identity_messages import grant_from, grant_message
from gateway.api.preference_messages import preferences_from, preferences_message
from gateway.errors import invalid
from gateway.identity.directory import Directory
from gateway.identity.grants import Grants
from gateway.identity.locks import Locks
from gateway.identity.model import User
from gateway.identity.ports import Clock
from gateway.identity.session_preferences import SessionPreferences
from gateway.identity.targets import Targets
from gateway.store import events
from gateway.store.database import Database
from gateway.store.events import Event
from gateway.store.targets import Target
from gateway.version import VERSION
from jitgate.v1 import administration_pb2 as pb
from jitgate.v1 import administration_pb2_grpc, common_pb2
from jitgate.v1 import annotations_pb2 as declared

_MAXIMUM_SEQUENCE = 1 << 63


class AdministrationService(administration_pb2_grpc.AdministrationServiceServicer):
    def __init__(
        self,
        *,
        directory: Directory,
        grants: Grants,
        locks: Locks,
        targets: Targets,
        preferences: SessionPreferences,
        database: Database,
        checks: Sequence[Check],
        clock: Clock,
    ) -> None:
        self._directory = directory
        self._grants = grants
        self._locks = locks
        self._targets = targets
        self._preferences = preferences
        self._database = database
        self._checks = checks
        self._clock = clock

    async def CreateUser(self, request: pb.CreateUserRequest, context: object) -> pb.CreateUserResponse:
        user, initial = await self._directory.create(
            caller(), request.id, request.display_name, list(request.groups), dict(request.attributes)
        )
        return pb.CreateUserResponse(user=_user(user), initial_password=initial)

    async def ListUsers(self, request: pb.ListUsersRequest, context: object) -> pb.ListUsersResponse:
        size, key = values.page(request.page)
        match key:
            case [] | [str()]:
                after = "".join(key)
            case _:
                raise values.foreign_token()
        found = await self._directory.page(
            caller(),
            group_id=request.group_id,
            include_inactive=request.include_inactive,
            after=after,
            limit=size + 1,
        )
        token = values.page_token(found[size - 1].id) if len(found) > size else ""
        return pb.ListUsersResponse(users=[_user(user) for user in found[:size]], next_page_token=token)

    async def UpdateUser(self, request: pb.UpdateUserRequest, context: object) -> pb.UpdateUserResponse:
        user, initial = await self._directory.update(
            caller(),
            request.id,
            display_name=request.display_name if request.HasField("display_name") else None,
            add_groups=list(request.add_groups),
            remove_groups=list(request.remove_groups),
            set_attributes=dict(request.set_attributes),
            reset_password=request.reset_password,
        )
        return pb.UpdateUserResponse(user=_user(user), initial_password=initial)

    async def RemoveUser(self, request: pb.RemoveUserRequest, context: object) -> pb.RemoveUserResponse:
        await self._directory.remove(caller(), request.id)
        return pb.RemoveUserResponse()

    async def GrantRole(self, request: pb.GrantRoleRequest, context: object) -> pb.GrantRoleResponse:
        await self._grants.grant(caller(), grant_from(request.grant))
        return pb.GrantRoleResponse()

    async def RevokeRole(self, request: pb.RevokeRoleRequest, context: object) -> pb.RevokeRoleResponse:
        await self._grants.revoke(caller(), grant_from(request.grant))
        return pb.RevokeRoleResponse()

    async def ListRoles(self, request: pb.ListRolesRequest, context: object) -> pb.ListRolesResponse:
        return pb.ListRolesResponse(grants=[grant_message(grant) for grant in await self._grants.all(caller())])

    async def Lock(self, request: pb.LockRequest, context: object) -> pb.LockResponse:
        match request.WhichOneof("subject"):
            case "user_id":
                await self._locks.lock_user(caller(), request.user_id, request.reason)
            case "node":
                place = values.scope(request.scope)
                await self._locks.lock_node(caller(), *place, request.node, request.reason)
            case _:
                raise invalid("subject", "name a user or a node")
        return pb.LockResponse()

    async def Unlock(self, request: pb.UnlockRequest, context: object) -> pb.UnlockResponse:
        match request.WhichOneof("subject"):
            case "user_id":
                await self._locks.unlock_user(caller(), request.user_id)
            case "node":
                await self._locks.unlock_node(caller(), *values.scope(request.scope), request.node)
            case _:
                raise invalid("subject", "name a user or a node")
        return pb.UnlockResponse()

    async def ListTargets(self, request: pb.ListTargetsRequest, context: object) -> pb.ListTargetsResponse:
        return pb.ListTargetsResponse(targets=[_target(target) for target in await self._targets.all(caller())])

    async def SetTarget(self, request: pb.SetTargetRequest, context: object) -> pb.SetTargetResponse:
        unit, enabled = request.organizational_unit, request.enabled
        if unit and not request.scope.account:
            found = await self._targets.set_unit(caller(), unit, request.scope.region, enabled=enabled)
        else:
            place = values.scope(request.scope)
            found = [await self._targets.set(caller(), *place, enabled=enabled, organizational_unit=unit)]
        return pb.SetTargetResponse(targets=[_target(target) for target in found])

    async def GetPreferences(
        self, request: pb.GetPreferencesRequest, context: object
    ) -> pb.GetPreferencesResponse:
        place = values.scope(request.scope)
        found = await self._preferences.get(caller(), *place)
        return pb.GetPreferencesResponse(preferences=preferences_message(place, found))

    async def PutPreferences(
        self, request: pb.PutPreferencesRequest, context: object
    ) -> pb.PutPreferencesResponse:
        place = values.scope(request.preferences.scope)
        new = preferences_from(request.preferences)
        stored = await self._preferences.put(caller(), *place, new)
        return pb.PutPreferencesResponse(preferences=preferences_message(place, stored))

    async def ListEvents(self, request: pb.ListEventsRequest, context: object) -> pb.ListEventsResponse:
        size, key = values.page(request.page)
        match key:
            case [] | [int()] if all(0 <= part < _MAXIMUM_SEQUENCE for part in key):
                older_than = key[0] if key else None
            case _:
                raise values.foreign_token()
        wanted = events.Filter(
            request.type_prefix,
            request.subject,
            values.from_timestamp("after", request.after) if request.HasField("after") else None,
            values.from_timestamp("before", request.before) if request.HasField("before") else None,
        )
        scopes = caller().scopes(declared.PERMISSION_READ_EVENTS)
        async with self._database.read() as connection:
            found = await events.page(connection, scopes, wanted, size + 1, older_than)
        token = values.page_token(found[size - 1][0]) if len(found) > size else ""
        return pb.ListEventsResponse(events=[_event(*row) for row in found[:size]], next_page_token=token)

    async def Diagnose(self, request: pb.DiagnoseRequest, context: object) -> pb.DiagnoseResponse:
        """Everybody learns which parts work; what is wrong with them names paths and hosts, and so is for those
        who may read events."""
        told = caller().may(declared.PERMISSION_READ_EVENTS)
        parts = [
            pb.Diagnosis(
                part=found.part,
                healthy=found.healthy,
                message=found.message if told else "works" if found.healthy else "does not work",
                what_to_do=found.what_to_do if told else "" if found.healthy else "Tell an administrator.",
            )
            for found in await diagnose(self._checks)
        ]
        return pb.DiagnoseResponse(
            parts=parts, gateway_time=values.timestamp(self._clock()), gateway_version=VERSION
        )


def _user(user: User) -> pb.User:
    return pb.User(
        id=user.id,
        issuer=user.issuer,
        subject=user.subject,
        display_name=user.display_name,
        groups=sorted(user.groups),
        attributes=dict(user.attributes),
        active=user.removed_at is None,
        locked=user.locked_at is not None,
        lock_reason=user.lock_reason,
        created_at=values.timestamp(user.created_at),
        last_sign_in_at=values.timestamp(user.last_sign_in_at),
        membership_checked_at=values.timestamp(user.membership_checked_at),
    )


def _target(target: Target) -> pb.Target:
    return pb.Target(
        scope=common_pb2.Scope(account=target.account, region=target.region),
        organizational_unit=target.organizational_unit,
        enabled=target.enabled,
        changed_at=values.timestamp(target.changed_at),
        changed_by=target.changed_by,
    )


def _event(sequence: int, event: Event) -> pb.Event:
    return pb.Event(
        sequence=sequence,
        type=event.type,
        at=values.timestamp(event.at),
        actor_id=event.actor_id,
        source_address=event.source_address,
        scope=common_pb2.Scope(account=event.account, region=event.region),
        subject=event.subject,
        summary=event.summary,
        details=json.dumps(event.details, sort_keys=True),
    )

"""What the gateway is made of, and what each part is given: the one place where the parts meet."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from gateway.access.admission import Gate
from gateway.access.compiled import CompiledPolicies
from gateway.access.deadlines import Deadlines
from gateway.access.ender import Ender
from gateway.access.policies import Policies
from gateway.access.policy_reading import PolicyReader
from gateway.access.prospects import AccessProspects
from gateway.access.reading import RequestReader
from gateway.access.requests import AccessRequests
from gateway.access.tokens import AccessTokens
from gateway.access.transitions import Transitions
from gateway.api.access import AccessService
from gateway.api.activation import ActivationService, RegistrationService
from gateway.api.administration import AdministrationService
from gateway.api.agent import AgentService
from gateway.api.allowance import AllowanceService
from gateway.api.approval import ApprovalService
from gateway.api.identity import IdentityService
from gateway.api.node import NodeService
from gateway.api.notice import NoticeService
from gateway.api.policy import PolicyService
from gateway.api.recording import RecordingService
from gateway.api.scim import ScimService
from gateway.api.server import Registration, registration
from gateway.api.session import SessionService
from gateway.api.session import add_to_server as add_session_service
from gateway.api.sign_in import SignInService
from gateway.api.upload import UploadService
from gateway.chat.desk import ChatDesk
from gateway.chat.linking import ChatLinks
from gateway.chat.listening import Listening
from gateway.chat.posts import ChatPosts
from gateway.checks import checks
from gateway.config import Configuration
from gateway.http import assets, chat
from gateway.http.request_pages import RequestPages
from gateway.http.routes import Route
from gateway.http.sign_in import SignInPages
from gateway.identity.authenticate import Authenticator
from gateway.identity.browser_sessions import BrowserSessions
from gateway.identity.directory import Directory
from gateway.identity.grants import Grants
from gateway.identity.locks import Locks
from gateway.identity.oidc.provider import Provider
from gateway.identity.oidc.sign_in import OidcSignIn
from gateway.identity.passwords import Passwords
from gateway.identity.ports import Clock
from gateway.identity.scim.tokens import ScimTokens
from gateway.identity.session_preferences import SessionPreferences
from gateway.identity.sign_in import SignIn
from gateway.identity.signed_in import Certifier
from gateway.identity.targets import Targets
from gateway.keys import Keys
from gateway.nodes.agents.activations import Activations
from gateway.nodes.agents.attachments import Attachments
from gateway.nodes.agents.caller import AgentAuthenticator
from gateway.nodes.agents.connector import AgentConnector
from gateway.nodes.agents.model import AGENT
from gateway.nodes.agents.registration import Registrations
from gateway.nodes.diagnosis import NodeDoctor
from gateway.nodes.login import SshLogins
from gateway.nodes.model import SSH
from gateway.nodes.registry import NodeRegistry
from gateway.nodes.ssh import SshConnector
from gateway.notices.address_book import LINKED_ONLY, AddressBook
from gateway.notices.backlog import NoticeBacklog
from gateway.notices.carriers import Carrier, NoticeCarrier, SinkCarrier
from gateway.notices.channels import Channels
from gateway.notices.checks import channel_checks
from gateway.notices.delivering import Deliverer
from gateway.notices.expanding import Expander
from gateway.notices.timers import Timers
from gateway.places.keys_told import KeysTold
from gateway.places.routing import PlacedKeys, PlacedStore, Places
from gateway.places.service import Allowances
from gateway.recording_parts import RecordingParts
from gateway.session_logs.service import SessionLogs
from gateway.sessions.adopting import Adoption
from gateway.sessions.deletion import Deletions
from gateway.sessions.ending import LastEntries
from gateway.sessions.inventory import Inventories
from gateway.sessions.left_behind import LeftBehind
from gateway.sessions.library import Library
from gateway.sessions.lifecycle import Lifecycle
from gateway.sessions.live import LiveSessions
from gateway.sessions.opening import Opener
from gateway.sessions.recordings import RecordingIndex
from gateway.sessions.service import Sessions
from gateway.sessions.uploads import Uploads
from gateway.sessions.watch import Watch
from gateway.store.changes import Changes
from gateway.store.database import Database
from gateway.store.wakeups import Wakeups
from jitgate.v1 import (
    access_pb2,
    access_pb2_grpc,
    activation_pb2,
    activation_pb2_grpc,
    administration_pb2,
    administration_pb2_grpc,
    agent_pb2,
    agent_pb2_grpc,
    allowance_pb2,
    allowance_pb2_grpc,
    approval_pb2,
    approval_pb2_grpc,
    identity_pb2,
    identity_pb2_grpc,
    node_pb2,
    node_pb2_grpc,
    notice_pb2,
    notice_pb2_grpc,
    policy_pb2,
    policy_pb2_grpc,
    recording_pb2,
    recording_pb2_grpc,
    scim_pb2,
    scim_pb2_grpc,
    session_pb2,
    upload_pb2,
    upload_pb2_grpc,
)
from recorder.model import Durability
from recorder.service import Recorder

Worker = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Assembly:
    """The parts that the server starts and stops; everything else hangs on them."""

    authenticator: Authenticator
    recorder: Recorder
    sessions: Lifecycle
    adoption: Adoption
    session_logs: SessionLogs
    workers: tuple[Worker, ...]  # each runs until it is cancelled
    services: tuple[Registration, ...]
    attachments: Attachments
    agent_authenticator: AgentAuthenticator
    agent_services: tuple[Registration, ...]
    registrations: Registrations
    sign_in: SignIn
    oidc: OidcSignIn
    expander: Expander
    browser_sessions: BrowserSessions
    request_pages: RequestPages
    channels: Channels
    chat_desk: ChatDesk
    chat_posts: ChatPosts
    scim_routes: Callable[[str], tuple[Route, ...]]


def assemble(
    settings: Configuration,
    keys: Keys,
    database: Database,
    recordings: RecordingParts,
    clock: Clock,
    *,
    channels: Channels,
    replica: str,
) -> Assembly:
    """Builds everything; starts and reads nothing."""
    changes = Changes()
    told = () if database.is_sqlite else (Wakeups(database, changes).run,)

    transitions = Transitions(changes, timedelta(hours=settings.membership_max_age_hours))
    compiled = CompiledPolicies()
    gate = Gate(transitions)
    ender = Ender(clock, transitions, compiled)
    requests = AccessRequests(database, clock, transitions, compiled, max_pending=settings.max_pending_requests)
    reader = RequestReader(database, clock, changes, transitions)
    tokens = AccessTokens(database, clock)
    retention = timedelta(days=settings.retention_days)
    deadlines = Deadlines(database, clock, changes, transitions, retention=retention)
    expander = Expander(
        database,
        clock,
        changes,
        [channel.plan for channel in channels.notifiers],
        [sink.plan for sink in channels.sinks],
    )

    chat_links = ChatLinks(
        database,
        clock,
        LINKED_ONLY.intersection(channel.plan.kind for channel in channels.notifiers),
        {said.issuer: said.claims.chats for said in settings.identity_providers.values()},
    )
    chat_desk = ChatDesk(database, clock, requests, reader, chat_links, link_to=expander.link_to)

    passwords = Passwords()
    logins = SshLogins(keys.ssh_user_ca, settings.ssh_source_addresses)
    registry = NodeRegistry(
        database, clock, changes, ender=ender, logins=logins, user_ca=keys.ssh_user_ca.public_key_line()
    )

    doctor = NodeDoctor(registry, AccessProspects(database, compiled))

    places = Places(database, recordings.pool)
    store, data_keys = PlacedStore(places), PlacedKeys(places, KeysTold(database, clock))
    index = RecordingIndex(database, clock, changes, replica=replica)
    recorder = Recorder(
        settings.spool_directory,
        store,
        data_keys,
        recordings.signer,
        public_keys=recordings.public_keys,
        durability=Durability(settings.recordings.durability),
        quota=settings.recordings.quota,
        observer=index,
        clock=clock,
    )
    uploads = Uploads(database, recorder, index, changes, clock, replica=replica)
    attachments = Attachments(database, clock, changes, replica=replica)
    registrations = Registrations(database, keys.agents, changes, clock)
    last_entries = LastEntries(database, clock, changes)
    watch = Watch(database, gate, clock, changes, replica=replica)
    agent_connector = AgentConnector(attachments)
    opener = Opener(
        database,
        gate,
        {SSH: SshConnector(logins), AGENT: agent_connector},
        recorder,
        last_entries,
        clock=clock,
        changes=changes,
        replica=replica,
        organization=settings.recordings.organization,
        grace_seconds=settings.sessions.resume_grace_seconds,
        keepers=(AGENT,),
    )
    logs = SessionLogs(database, recordings.log_sinks, clock)
    live_sessions = LiveSessions(last_entries, clock=clock, logs=logs)
    sessions = Lifecycle(database, opener, watch, last_entries, live_sessions=live_sessions, clock=clock)
    adoption = Adoption(
        database,
        watch,
        recorder,
        {AGENT: agent_connector},
        last_entries=last_entries,
        live_sessions=live_sessions,
        keeping=sessions.keeping,
        clock=clock,
    )
    attachments.tell(adoption)
    kept_days = settings.recordings.retention_days
    deletions = Deletions(
        database, store, changes, clock, retention=timedelta(days=kept_days) if kept_days is not None else None
    )
    library = Library(database, store, data_keys, recordings.public_keys, clock=clock)
    inventories = Inventories(database, recordings.signer, clock)

    providers = {name: Provider(name, said, clock) for name, said in settings.identity_providers.items()}
    certifier = Certifier(keys.clients, changes, clock)
    scim_tokens = ScimTokens(database, settings.identity_providers, changes, clock)
    administration = AdministrationService(
        directory=Directory(database, passwords, ender, changes, clock),
        grants=Grants(database, ender, changes, clock),
        locks=Locks(database, ender, changes, clock),
        targets=Targets(database, ender, changes, clock),
        preferences=SessionPreferences(
            database,
            changes,
            clock,
            recordings.pool,
            recordings.log_sinks,
            longest_lock_days=settings.recordings.longest_object_lock_days,
        ),
        database=database,
        checks=(
            *checks(settings, database, recordings, providers, recorder.room),
            *channel_checks(channels, database, clock),
        ),
        clock=clock,
    )

    def scim_routes(public_url: str) -> tuple[Route, ...]:
        if not settings.identity_providers:
            return ()  # there is nobody who could provision
        # Its models take a second to import, which a gateway without providers need not wait for.
        from gateway.http.scim import ScimRoutes  # noqa: PLC0415

        return ScimRoutes(database, scim_tokens, ender, changes, clock=clock).routes(public_url)

    return Assembly(
        authenticator=Authenticator(database, keys.clients, clock),
        recorder=recorder,
        sessions=sessions,
        adoption=adoption,
        session_logs=logs,
        workers=(
            deadlines.run,
            watch.run,
            attachments.run,
            adoption.run,
            LeftBehind(database, last_entries, clock, replica=replica).run,
            expander.run,
            uploads.run,
            deletions.run,
            *((Timers(database, clock, changes).run,) if channels.notifiers or channels.sinks else ()),
            *(one.run for one in _deliverers(channels, database, clock, changes, replica=replica)),
            *(Listening(channel, chat_desk).run for channel in channels.notifiers),
            *told,
        ),
        expander=expander,
        services=(
            _serve(access_pb2, access_pb2_grpc, AccessService(requests, reader, tokens)),
            _serve(approval_pb2, approval_pb2_grpc, ApprovalService(requests)),
            _serve(
                policy_pb2,
                policy_pb2_grpc,
                PolicyService(
                    Policies(database, clock, changes, compiled), PolicyReader(database, clock, compiled)
                ),
            ),
            _serve(node_pb2, node_pb2_grpc, NodeService(registry, doctor)),
            _serve(activation_pb2, activation_pb2_grpc, ActivationService(Activations(database, clock))),
            Registration(
                session_pb2.DESCRIPTOR.services_by_name["SessionService"],
                add_session_service,
                SessionService(sessions, Sessions(database, clock, changes)),
            ),
            _serve(recording_pb2, recording_pb2_grpc, RecordingService(library, inventories, deletions)),
            _serve(upload_pb2, upload_pb2_grpc, UploadService(uploads)),
            _serve(allowance_pb2, allowance_pb2_grpc, AllowanceService(Allowances(database, changes, clock))),
            _serve(
                notice_pb2,
                notice_pb2_grpc,
                NoticeService(NoticeBacklog(database, changes, clock), AddressBook(database, clock), chat_links),
            ),
            _serve(administration_pb2, administration_pb2_grpc, administration),
            _serve(scim_pb2, scim_pb2_grpc, ScimService(scim_tokens)),
            _serve(identity_pb2, identity_pb2_grpc, IdentityService()),
        ),
        attachments=attachments,
        agent_authenticator=AgentAuthenticator(database, keys.agents, clock),
        agent_services=(_serve(agent_pb2, agent_pb2_grpc, AgentService(attachments, registrations)),),
        registrations=registrations,
        sign_in=SignIn(database, passwords, certifier, clock),
        oidc=OidcSignIn(database, providers, certifier, ender, clock),
        browser_sessions=BrowserSessions(
            database, changes, clock, timedelta(minutes=settings.http.session_minutes)
        ),
        request_pages=RequestPages(requests, reader),
        channels=channels,
        chat_desk=chat_desk,
        chat_posts=ChatPosts(database, clock),
        scim_routes=scim_routes,
    )


def _deliverers(
    channels: Channels, database: Database, clock: Clock, changes: Changes, *, replica: str
) -> list[Deliverer]:
    """One worker for each channel and each sink."""
    carriers: dict[str, Carrier] = {
        channel.plan.name: NoticeCarrier(database, channel, channel.plan.kind) for channel in channels.notifiers
    }
    sinks: dict[str, Carrier] = {sink.plan.name: SinkCarrier(sink) for sink in channels.sinks}
    return [
        Deliverer(database, clock, changes, name, carrier, replica=replica)
        for name, carrier in (*carriers.items(), *sinks.items())
    ]


def sign_in_service(parts: Assembly, gateway_address: str) -> Registration:
    """The service of the sign-in listener. `gateway_address` is where clients find everything else."""
    return _serve(identity_pb2, identity_pb2_grpc, SignInService(parts.sign_in, parts.oidc, gateway_address))


def registration_service(parts: Assembly, agent_address: str) -> Registration:
    """The service where nodes join. `agent_address` is where their agents find the gateway from then on."""
    return _serve(activation_pb2, activation_pb2_grpc, RegistrationService(parts.registrations, agent_address))


def http_routes(parts: Assembly, public_url: str, clock: Clock) -> tuple[Route, ...]:
    """What the web listener serves: one line a part. `public_url` is where browsers and services find it."""
    sign_in = SignInPages(parts.sign_in, parts.oidc, parts.browser_sessions, public_url, clock)
    return (
        *assets.routes(),
        *sign_in.routes(),
        *parts.request_pages.routes(),
        *chat.routes(parts.channels.notifiers, parts.chat_desk, parts.chat_posts),
        *parts.scim_routes(public_url),
    )


def _serve(messages: Any, generated: Any, servicer: Any) -> Registration:
    """The registration of a servicer under the name of its class."""
    return registration(messages.DESCRIPTOR.services_by_name[type(servicer).__name__], generated, servicer)

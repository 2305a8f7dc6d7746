"""NoticeService: what people are still to be told, and where they can be reached."""

# ruff: noqa: N802  # methods are named by the contract

from gateway.api import values
from gateway.api.current import caller
from gateway.chat.linking import ChatLinks
from gateway.notices.address_book import AddressBook
from gateway.notices.backlog import NoticeBacklog
from gateway.store.contacts import Contact
from gateway.store.outbox import Due
from jitgate.v1 import notice_pb2 as pb
from jitgate.v1 import notice_pb2_grpc


class NoticeService(notice_pb2_grpc.NoticeServiceServicer):
    def __init__(self, backlog: NoticeBacklog, address_book: AddressBook, chat_links: ChatLinks) -> None:
        self._backlog = backlog
        self._address_book = address_book
        self._chat_links = chat_links

    async def ListNotices(self, request: pb.ListNoticesRequest, context: object) -> pb.ListNoticesResponse:
        size, key = values.page(request.page)
        found = await self._backlog.page(
            caller(), dead_only=request.given_up_only, limit=size + 1, after=_after(key)
        )
        last = found[size - 1] if len(found) > size else None
        token = values.page_token(last.event, last.id) if last else ""
        return pb.ListNoticesResponse(notices=map(_notice, found[:size]), next_page_token=token)

    async def RetryNotices(self, request: pb.RetryNoticesRequest, context: object) -> pb.RetryNoticesResponse:
        count, outdated = await self._backlog.retry(caller(), list(request.ids))
        return pb.RetryNoticesResponse(count=count, discarded=outdated)

    async def DiscardNotices(
        self, request: pb.DiscardNoticesRequest, context: object
    ) -> pb.DiscardNoticesResponse:
        return pb.DiscardNoticesResponse(count=await self._backlog.discard(caller(), list(request.ids)))

    async def ListContacts(self, request: pb.ListContactsRequest, context: object) -> pb.ListContactsResponse:
        found = await self._address_book.of(caller(), request.user_id)
        return pb.ListContactsResponse(contacts=map(_contact, found))

    async def PutContact(self, request: pb.PutContactRequest, context: object) -> pb.PutContactResponse:
        contact = await self._address_book.put(caller(), request.user_id, request.kind, request.address)
        return pb.PutContactResponse(contact=_contact(contact))

    async def RemoveContact(self, request: pb.RemoveContactRequest, context: object) -> pb.RemoveContactResponse:
        await self._address_book.remove(caller(), request.user_id, request.kind)
        return pb.RemoveContactResponse()

    async def CreateChatLink(
        self, request: pb.CreateChatLinkRequest, context: object
    ) -> pb.CreateChatLinkResponse:
        made = await self._chat_links.new_code(caller(), request.kind)
        return pb.CreateChatLinkResponse(code=made.code, expires_at=values.timestamp(made.expires_at))

    async def RemoveChatLink(
        self, request: pb.RemoveChatLinkRequest, context: object
    ) -> pb.RemoveChatLinkResponse:
        await self._chat_links.unlink(caller(), request.kind)
        return pb.RemoveChatLinkResponse()


def _after(key: list[object]) -> tuple[int, str] | None:
    match key:
        case []:
            return None
        case [int(event), str(row_id)] if 0 <= event < 1 << 53:
            return event, row_id
    raise values.foreign_token()


def _notice(due: Due) -> pb.Notice:
    document = due.document
    told, event = document.get("notice"), document.get("event")
    recipient = document.get("recipient") or {}
    return pb.Notice(
        id=due.id,
        channel=due.channel,
        subject=due.subject,
        kind=told["kind"] if told else event["type"] if event else "",
        recipient=recipient.get("user_id") or " ".join(recipient.get("address", {}).values()),
        created_at=values.timestamp(due.created_at),
        due_at=values.timestamp(due.due_at),
        attempts=due.attempts,
        given_up=due.is_dead,
        last_error=due.last_error,
    )


def _contact(contact: Contact) -> pb.Contact:
    return pb.Contact(
        user_id=contact.user_id,
        kind=contact.kind,
        address=" ".join(contact.address.values()),
        linked_by=contact.linked_by,
        linked_at=values.timestamp(contact.linked_at),
    )

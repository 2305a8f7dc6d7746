"""What Microsoft Teams sends to a bot: an activity, as far as we read it."""

import json
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from notifiers.chat import NotFromThere

CHANNEL_ID: Final = "msteams"
_Id = Annotated[str, StringConstraints(max_length=300)]
_Word = Annotated[str, StringConstraints(max_length=64)]


class _Part(BaseModel):
    # What is not named here is Teams' business and left out.
    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=to_camel, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        return (
            {name: part for name, part in given.items() if part is not None} if isinstance(given, dict) else given
        )


class Sender(_Part):
    id: _Id = ""
    aad_object_id: _Word = ""


class Conversation(_Part):
    id: _Id = ""
    conversation_type: _Word = ""
    tenant_id: _Word = ""


class _Tenant(_Part):
    id: _Word = ""


class ChannelData(_Part):
    tenant: _Tenant = _Tenant()


class Data(_Part):
    """What our own card says of a button, with what was typed beside it."""

    request: _Word = ""
    level: int = Field(default=-1, ge=-1, le=5)
    comment: Annotated[str, StringConstraints(max_length=4096)] = ""


class Clicked(_Part):
    verb: _Word = ""
    data: Data = Data()


class _Value(_Part):
    action: Clicked = Clicked()


class Activity(_Part):
    type: _Word
    channel_id: _Word
    service_url: Annotated[str, StringConstraints(min_length=1, max_length=300)]
    name: _Word = ""
    action: _Word = ""  # of an installation: "add", "remove"
    sender: Sender = Field(default=Sender(), alias="from")
    conversation: Conversation = Conversation()
    channel_data: ChannelData = ChannelData()
    text: Annotated[str, StringConstraints(max_length=40_000)] = ""
    value: _Value = _Value()

    @property
    def tenants(self) -> frozenset[str]:
        """Where it comes from; more than one where somebody of one tenant writes in a place of another."""
        said = self.conversation.tenant_id, self.channel_data.tenant.id
        return frozenset(tenant.lower() for tenant in said if tenant)

    @property
    def is_personal(self) -> bool:
        return self.conversation.conversation_type == "personal"

    @property
    def is_click(self) -> bool:
        return self.type == "invoke" and self.name == "adaptiveCard/action"


def read(body: bytes) -> Activity:
    """Raises NotFromThere for what is no activity."""
    try:
        document: Any = json.loads(body)
        if isinstance(document, dict) and document.get("type") != "invoke":
            document.pop("value", None)  # of other kinds it may be anything
        return Activity.model_validate(document)
    except (ValidationError, ValueError, RecursionError):  # too deep is no activity either
        raise NotFromThere("it is no activity of the Bot Framework") from None

"""Between the resources of SCIM and their rows."""

import hashlib
import json
from typing import Any, TypeVar
from unicodedata import normalize

from scim2_models import Context, Meta, Resource
from sqlalchemy import Row

R = TypeVar("R", bound=Resource[Any])

_NOT_KEPT = ("id", "meta", "groups", "members")


def key_of(text: str | None) -> str:
    """What texts are compared by that differ in nothing but case."""
    return normalize("NFC", normalize("NFC", text or "").lower())


def kept(resource: Resource[Any]) -> dict[str, Any]:
    """What the provider said, without what is kept elsewhere."""
    document: dict[str, Any] = resource.model_dump(scim_ctx=Context.DEFAULT)
    return {name: value for name, value in document.items() if name not in _NOT_KEPT}


def restored(model: type[R], kind: str, row: Row[Any]) -> R:
    resource = model.model_validate(row.document)
    resource.id = row.id
    resource.meta = Meta(resource_type=kind, created=row.created_at, last_modified=row.changed_at)
    return resource


def versioned(resource: R) -> R:
    """With the version of exactly this content, memberships included."""
    assert resource.meta is not None
    content = json.dumps(resource.model_dump(scim_ctx=Context.DEFAULT), sort_keys=True, default=str)
    resource.meta.version = f'W/"{hashlib.sha256(content.encode()).hexdigest()[:32]}"'
    return resource

"""What a Cedar text says, with the place of each part: statements, scopes, clauses, expressions."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from policy.findings import Finding

ExprKind = Literal[
    "or", "and", "relation", "has", "like", "is", "sum", "product", "not", "minus", "if",
    "attribute", "call", "string", "number", "boolean", "variable", "entity", "function", "group", "set", "record",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Expr:
    """An expression. `text` is its name, operator or literal as written; `path` the type of an entity.

    Children: of an attribute and a call the base comes first; of `has`, `like` and `is` it is the only one
    (but for `is … in`).
    """

    kind: ExprKind
    start: int
    end: int
    text: str = ""
    children: tuple["Expr", ...] = ()
    path: str = ""
    depth: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", 1 + max((child.depth for child in self.children), default=0))

    def walk(self) -> Iterator["Expr"]:
        """This expression and all within it, in the order of the text."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True, slots=True)
class Scope:
    """`principal`, `action` or `resource` with what it is bound to."""

    variable: str
    start: int
    end: int
    operator: str = ""
    """`==`, `in`, `is`, or empty: whatever it is."""
    type: Expr | None = None
    """Of `is`: an expression of kind `entity` without an id."""
    entities: tuple[Expr, ...] = ()
    """What `==` and `in` name; only an action may be in several."""


@dataclass(frozen=True, slots=True)
class Clause:
    """`when { body }` or `unless { body }`; `word` says which."""

    word: str
    start: int
    end: int
    body: Expr


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement; `text[start:end]` goes from its first annotation to its semicolon.

    `id` is the value of its `@id`. `slips` are faults that the reader could see through: with what they say
    written instead, the rest of the statement stands as it was read. `unreadable` is the fault that it could
    not see through: then the other fields hold what came before it.
    """

    start: int
    end: int
    effect: str
    effect_start: int
    id: str | None
    scopes: tuple[Scope, ...]
    clauses: tuple[Clause, ...]
    slips: tuple[Finding, ...] = ()
    unreadable: Finding | None = None

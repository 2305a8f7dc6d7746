"""Accounts and Regions as conditions of a query."""

from collections.abc import Iterable

from sqlalchemy import ColumnElement, FromClause, and_, false, or_, true

_ALL = "*"


def within(table: FromClause, scopes: Iterable[tuple[str, str]]) -> ColumnElement[bool]:
    """Rows whose `account` and `region` lie in one of `scopes` ("*" stands for all); no scope, no row.

    Rows of no account (organization-wide events) lie in ("*", "*") only.
    """
    return or_(false(), *(_one(table, account, region) for account, region in sorted(scopes)))


def _one(table: FromClause, account: str, region: str) -> ColumnElement[bool]:
    if account == region == _ALL:
        return true()
    if account == _ALL:
        return table.c.region == region
    if region == _ALL:
        return table.c.account == account
    return and_(table.c.account == account, table.c.region == region)


def narrowed(scopes: Iterable[tuple[str, str]], account: str, region: str) -> frozenset[tuple[str, str]]:
    """What `scopes` have in common with one account and Region; all of them where none is named."""
    if not account and not region:
        return frozenset(scopes)
    covered = any(own in (_ALL, account) and there in (_ALL, region) for own, there in scopes)
    return frozenset({(account, region)} if covered else ())

"""The scope of a compiled statement: whom and which node it is about."""

from cedarpy import pst

from policy.model import Resource


def principal_scope(node: pst.Template) -> str:
    """Whom a statement is about, as Cedar writes it."""
    return _written("principal", node.principal)


def resource_scope(node: pst.Template) -> str:
    """Which node a statement is about, as Cedar writes it."""
    return _written("resource", node.resource)


def resource_scope_fits(node: pst.Template, resource: Resource) -> bool:
    """Whether the statement's resource scope fits the node. Nodes have no parents: `in` is `==`."""
    match node.resource:
        case pst.ScopeAny():
            return True
        case pst.ScopeEq(uid) | pst.ScopeIn(uid):
            return _is_node(uid, resource)
        case pst.ScopeIs(entity_type):
            return str(entity_type) == resource.entity_type
        case pst.ScopeIsIn(entity_type, uid):
            return str(entity_type) == resource.entity_type and _is_node(uid, resource)


def _is_node(uid: pst.EntityOrSlot, resource: Resource) -> bool:
    return isinstance(uid, pst.EntityUid) and (str(uid.type), uid.id) == (resource.entity_type, resource.node_id)


def _written(variable: str, scope: pst.PrincipalOrResourceConstraint) -> str:
    match scope:
        case pst.ScopeAny():
            return variable
        case pst.ScopeEq(uid):
            return f"{variable} == {uid}"
        case pst.ScopeIn(uid):
            return f"{variable} in {uid}"
        case pst.ScopeIs(entity_type):
            return f"{variable} is {entity_type}"
        case pst.ScopeIsIn(entity_type, uid):
            return f"{variable} is {entity_type} in {uid}"

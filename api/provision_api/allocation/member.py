"""Who has which role in a project, a customer or an offering, as today and as in 2021, and the roles there are."""

from collections.abc import Callable
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from psycopg.types.json import Jsonb
from sqlalchemy import func, literal, select
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from provision_api.allocation import wire
from provision_api.allocation.customer import CUSTOMERS
from provision_api.allocation.endpoint import Index, actions, call, do, made, many, path_id
from provision_api.allocation.listing import Listing, by_url, chosen, contains, exact, identity
from provision_api.allocation.offering import OFFERING
from provision_api.allocation.project import PROJECTS
from provision_api.allocation.wire import Json, at, read, wrong
from provision_api.database import Statement, fetch
from provision_api.state import state_of

ROLES = {
    "PROJECT.MEMBER": ("project", "developer"),
    "PROJECT.ADMIN": ("project", "admin"),
    "PROJECT.MANAGER": ("project", "manager"),
    "CUSTOMER.OWNER": ("customer", "owner"),
    "CUSTOMER.MANAGER": ("customer", "manager"),
    "CUSTOMER.SUPPORT": ("customer", "viewer"),
    "OFFERING.MANAGER": ("offering", "offering_manager"),
}
# The words of 2021.
OLD_ROLES = {"member": "developer", "admin": "admin", "manager": "manager"}
_OLD_NAMES = {inside: outside for outside, inside in OLD_ROLES.items()}


def _role_uuid(name: str) -> str:
    return uuid5(NAMESPACE_URL, f"role:{name}").hex


def role_name(scope: str, role: str) -> str:
    """What a role in a project, customer or offering is called outside."""
    names = [name for name, known in ROLES.items() if known == (scope, role)]
    return names[0] if names else f"{scope.upper()}.{role.upper()}"


def _role(body: Json, scope: str) -> str:
    """A role of the body, by its name, its uuid, or its word of 2021."""
    given = wire.text(body, "role", required=True) or ""
    known: dict[str, tuple[str, str]] = {}
    for name, role in ROLES.items():
        known |= {name: role, _role_uuid(name): role}
    known |= {name: ("project", role) for name, role in OLD_ROLES.items()}
    found = known.get(given) or known.get(wire.hexed(given)) or known.get(given.upper())
    if found is None:
        raise wrong("role", "Role is not found.")
    if found[0] != scope and given not in OLD_ROLES:
        raise wrong("non_field_errors", "Role is not valid for this scope.")
    return found[1]


# What a role is given in, where its path is, and by which functions it is given.
SCOPES = {"project": "projects", "customer": "customers", "offering": "marketplace-provider-offerings"}
_FUNCTIONS = {"project": "member", "customer": "member", "offering": "offering_manager"}


def _act(scope: str, action: str) -> Statement:
    return call(f"{_FUNCTIONS[scope]}_{action}", id="uuid", body="json")


_MEMBER = {action: _act("project", action) for action in ("add", "change", "remove")}


def _show_member(scope: str) -> Any:
    def show(request: Request, row: Json) -> Json:
        name = role_name(scope, row.pop("role"))
        kept: tuple[str, ...] = (
            "uuid",
            "created",
            "expiration_time",
            "user_uuid",
            "user_username",
            "user_full_name",
            "user_email",
        )
        kept += ("user_image", "created_by_uuid", "created_by_full_name")
        shown = wire.shown(request, {key: row[key] for key in kept}, {}, {"created_by_uuid"})
        return shown | {"role_name": name, "role_uuid": _role_uuid(name)}

    return show


def _show_permission(request: Request, row: Json) -> Json:
    """A membership as the API of 2021 showed it."""
    row["role"] = _OLD_NAMES.get(row["role"], row["role"])
    urls = {"user": ("users", "user_uuid"), "project": ("projects", "project_uuid")}
    urls |= {"created_by": ("users", "created_by_uuid"), "url": ("project-permissions", "pk")}
    row.pop("uuid")
    return wire.shown(request, row, urls, {"created_by_uuid"})


def _members(scope: str, **more: Any) -> Listing:
    columns = {
        "id": "uuid",
        "number": "int",
        "user_id": "uuid",
        "username": "text",
        "full_name": "text",
        "role": "text",
        "org_id": "uuid",
        "customer_id": "uuid",
        "created_date": "date",
        "expires_date": "date",
    }
    given: dict[str, Any] = {
        "filters": {
            "user": identity("user_id", "user"),
            "role": lambda view, value: view.c.role == _role({"role": value}, scope),
            "username": exact("username"),
            "full_name": contains("full_name"),
            "search_string": contains("full_name", "username"),
        },
        "show": _show_member(scope),
        "order": {"username": "username", "full_name": "full_name", "created": "created_date"},
    }
    given |= more
    if scope == "offering":
        columns = {name: type for name, type in columns.items() if name not in ("org_id", "customer_id")}
        return Listing(
            "Offering", "v_offering_manager", "offering_manager_documents", columns | {"offering_id": "uuid"}, **given
        )
    return Listing(scope.capitalize(), "v_member", "member_documents", columns, **given)


MEMBERS = {scope: _members(scope) for scope in SCOPES}
PERMISSIONS = _members(
    "project",
    filters={
        "project": identity("org_id", "project"),
        "project_url": by_url("org_id", "project_url", "projects", is_strict=False),
        "user": identity("user_id", "user"),
        "user_url": by_url("user_id", "user_url", "users", is_strict=False),
        "username": exact("username"),
        "full_name": contains("full_name"),
        # Nobody has another name in another script.
        "native_name": lambda view, value: literal(False),
        "customer": identity("customer_id", "customer"),
        "role": chosen("role", "role", {name: (role,) for name, role in OLD_ROLES.items()}),
    },
    show=_show_permission,
    newest="number",
)


def _member(scope: str, action: str, status: int) -> Any:
    statement = _act(scope, action)

    async def handle(request: Request) -> Response:
        body = await read(request)
        given: Json = {"user": _user(body), "role": _role(body, scope)}
        if action != "remove":
            given["expiration_time"] = wire.moment(body, "expiration_time")
        id = path_id(request, scope.capitalize())
        await do(request, statement, id=id, body=Jsonb(given))
        if action == "remove":
            return Response(status_code=status)
        expires = given["expiration_time"]
        return JSONResponse({"expiration_time": expires and wire.stamp(expires)}, status)

    return handle


def _user(body: Json) -> str:
    value = body.get("user")
    if isinstance(value, str) and "/" in value:
        return wire.reference(body, "user", "users") or ""
    if "user" not in body:
        raise wrong("user", wire.REQUIRED)
    return wire.uuid(value, "user", "User is not found.")


_PLACES = {"project": PROJECTS, "customer": CUSTOMERS, "offering": OFFERING}
_IN: dict[str, Callable[[Any, UUID], Any]] = {
    "project": lambda view, id: view.c.org_id == id,
    "customer": lambda view, id: (view.c.customer_id == id) & view.c.org_id.is_(None),
    "offering": lambda view, id: view.c.offering_id == id,
}


def _member_index(scope: str) -> Any:
    async def handle(request: Request) -> Response:
        id = path_id(request, scope.capitalize())
        caller = await wire.caller_of(request)
        await state_of(request).database.run(caller, lambda connection: _PLACES[scope].one(connection, id))
        return await MEMBERS[scope].index(request, lambda view: _IN[scope](view, id))

    return handle


async def create_permission(request: Request) -> Response:
    """A role in a project, one per user, as in 2021."""
    body = await read(request)
    user = wire.reference(body, "user", "users")
    project = wire.reference(body, "project", "projects")
    role = wire.text(body, "role", required=True) or ""
    if role not in OLD_ROLES:
        raise wrong("role", f'"{role}" is not a valid choice.')
    given = {"user": user, "role": OLD_ROLES[role], "is_only": True}
    given |= {"expiration_time": wire.moment(body, "expiration_time")}
    try:
        return await made(request, PERMISSIONS, _MEMBER["add"], id=UUID(project), body=Jsonb(given))
    except Exception as error:
        refusal = wire.refusal_of(error)
        if refusal.status == 404 or (refusal.status == 400 and "user" in refusal.body):
            field = "project" if refusal.status == 404 else "user"
            raise wrong(field, "Invalid hyperlink - Object does not exist.") from None
        raise


async def _permission(request: Request) -> Json:
    """The membership with the number of the path."""
    caller = await wire.caller_of(request)
    found = PERMISSIONS._table()
    pk = request.path_params["pk"]
    statement = PERMISSIONS._page(found, [found.c.number == pk, found.c.org_id.is_not(None)], [found.c.id], 0, 1)
    ((row),) = await state_of(request).database.run(caller, lambda connection: fetch(connection, statement))
    if not row["documents"]:
        raise wire.missing("ProjectPermission")
    return dict(row["documents"][0])


async def show_permission(request: Request) -> Response:
    """One of them."""
    return JSONResponse(_show_permission(request, await _permission(request)))


async def change_permission(request: Request) -> Response:
    """Another end; the role stays whatever the body says."""
    row, body = await _permission(request), await read(request)
    given = {"user": row["user_uuid"], "role": row["role"], "expiration_time": wire.moment(body, "expiration_time")}
    await do(request, _MEMBER["change"], id=UUID(row["project_uuid"]), body=Jsonb(given))
    return await show_permission(request)


async def remove_permission(request: Request) -> Response:
    """It ends now."""
    row = await _permission(request)
    given = {"user": row["user_uuid"], "role": row["role"]}
    await do(request, _MEMBER["remove"], id=UUID(row["project_uuid"]), body=Jsonb(given))
    return Response(status_code=204)


_ROLE_TABLE = Statement(select(func.role_documents().table_valued("d").render_derived().c.d.label("value")))


async def roles_index(request: Request) -> Response:
    """The roles there are."""
    held = {row["role"]: row for row in await many(request, _ROLE_TABLE)}
    rows = [
        {
            "uuid": _role_uuid(name),
            "name": name,
            "description": held[role]["description"],
            "permissions": held[role]["permissions"],
            "is_system_role": True,
            "is_active": True,
            "users_count": 0,
            "content_type": scope,
            "url": wire.link(request, "roles", _role_uuid(name)),
        }
        for name, (scope, role) in ROLES.items()
    ]
    number, size = wire.page_of(request)
    return wire.paged(request, rows[(number - 1) * size : number * size], len(rows))


routes = [
    *at("/api/roles/", get=roles_index),
    *at("/api/project-permissions/", get=Index(PERMISSIONS), post=create_permission),
    *at(
        "/api/project-permissions/{pk:int}/",
        get=show_permission,
        put=change_permission,
        patch=change_permission,
        delete=remove_permission,
    ),
]
for _scope, _path in SCOPES.items():
    routes += actions(
        _path,
        add_user=_member(_scope, "add", 201),
        update_user=_member(_scope, "change", 200),
        delete_user=_member(_scope, "remove", 200),
    )
    routes += actions(_path, "get", list_users=_member_index(_scope))

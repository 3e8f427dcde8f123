"""Names in letters beyond ASCII (RFC 5891): callers may write U-labels, the database has A-labels.

A name in ASCII is left as it is: what it must be like is decided in the database.
"""

from typing import Any

import idna

from provision_api.problem import Problem

# Where the data of an operation has names, by the kind of thing it is about.
FIELDS = {"domain": ("name", "hosts"), "host": ("name",), "ssl": ("domain_name", "alternative_names")}


def a_labels(name: str) -> str:
    """`bücher.test` as `xn--bcher-kva.test`, mapped as UTS 46 says (`BÜCHER.test` is the same name).

    Raises:
        Problem: 422, it is no name in any script.
    """
    if name.isascii():
        return name
    wildcard = "*." if name.startswith("*.") else ""
    try:
        return wildcard + idna.encode(name.removeprefix("*."), uts46=True).decode("ascii")
    except idna.IDNAError as error:
        detail = f"{name[:300]}: {error}"
        raise Problem(
            422, "the name is malformed", detail, hint="letters and digits of one script: bücher.test"
        ) from None


def item_data(operation: str, data: dict[str, Any]) -> dict[str, Any]:
    """The data of an order's item with its names in A-labels."""
    fields = FIELDS.get(operation.partition(".")[0], ())
    return data | {field: _names(data[field]) for field in fields if field in data}


def _names(value: Any) -> Any:
    """A name, a list of them, or the name of a host that has more to it; anything else is none of ours."""
    if isinstance(value, str):
        return a_labels(value)
    if isinstance(value, list):
        return [_names(one) for one in value]
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        return value | {"name": a_labels(value["name"])}
    return value

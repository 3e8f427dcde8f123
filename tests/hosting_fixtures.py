"""What the tests of web sites share: an account that is set up for hosting, and sites in it."""

from typing import Any
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from .sql_fixtures import Shop

DOMAIN = "example.net"
HOSTING = {
    "domain": DOMAIN,
    "zone_id": "Z1",
    "vpc_id": "vpc-1",
    "subnet_ids": ["subnet-1", "subnet-2"],
    "image_id": "ami-1",
    "bucket": "artifacts",
    "code_buckets": {"jane-code": "jan"},
}


def set_up(shop: Shop) -> None:
    """The shop's AWS account can host sites from now on."""
    shop.connection.execute(
        "UPDATE accreditation SET settings = %s WHERE id = %s", [Jsonb({"hosting": HOSTING}), shop.cloud]
    )


def default_org(shop: Shop, account: UUID | None = None) -> UUID:
    """The customer's default org."""
    org: UUID = shop.value("SELECT org_default(%s)", account or shop.account)
    return org


def site_item(name: str = "shop", **changes: Any) -> dict[str, Any]:
    """An order's item for a web site."""
    return {"operation": "wpaas.create", "data": {"name": name} | changes}


def update_item(name: str = "shop", generation: int | None = None, **changes: Any) -> dict[str, Any]:
    """An order's item for a change of one."""
    return {"operation": "wpaas.update", "data": {"name": name, "changes": changes, "generation": generation}}


def new_site(shop: Shop, name: str = "shop", org: UUID | None = None, **changes: Any) -> UUID:
    """A site that was ordered just now."""
    org = org or default_org(shop)
    account = shop.value("SELECT tenant_customer_id FROM org WHERE id = %s", org)
    shop.order(site_item(name, **changes), account=account, org_id=str(org))
    site: UUID = shop.value("SELECT id FROM wpaas_instance WHERE org_id = %s AND name = %s", org, name)
    return site


def acceptable(shop: Shop, change: str) -> dict[str, Any]:
    """The columns of a row that would be taken: for a new site, or for a change of one."""
    set_up(shop)
    org = default_org(shop)
    name = f"site-{uuid4().hex[:8]}"
    if not change:
        return {"org_id": org, "space_id": shop.value("SELECT space_default(%s)", org), "name": name}
    site = new_site(shop, name)
    keep_backup(shop, site)
    more: dict[str, dict[str, Any]] = {"restore": {"snapshot": f"kept-{site}"}, "update": {"changes": {}}}
    return {"org_id": org, "instance_id": site} | more.get(change, {})


def keep_backup(shop: Shop, site: UUID) -> None:
    """The site has served, and has a backup `kept-<id>`."""
    shop.connection.execute("UPDATE wpaas_instance SET observed_generation = 1 WHERE id = %s", [site])
    row = shop.row("SELECT tenant_customer_id, org_id, accreditation_id FROM wpaas_instance WHERE id = %s", site)
    shop.insert("wpaas_backup", id=uuid4(), instance_id=site, reason="asked", snapshot=f"kept-{site}", **row)

"""Domains at Route 53 Domains: over HTTP where moto has the operation, with botocore's Stubber where it has not."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import boto3
import psycopg
import pytest
from botocore.stub import ANY, Stubber
from moto.backends import get_backend
from moto.route53domains.validators import Route53DomainsOperation
from provision_worker.actions import default_actions
from provision_worker.providers.aws import Account
from psycopg.types.json import Jsonb

from . import worker_fixtures
from .sql_fixtures import ZONE, Json
from .test_actions import QUICK, reconcile
from .worker_fixtures import Customer, Engine, eventually, insert, make_accreditation, make_customer

engine = worker_fixtures.engine
aws = worker_fixtures.aws

PERSON: Json = {
    "reference": "jane",
    "name": "Jane van Doe",
    "organization": "Doe Ltd",
    "street": ["1 Road", "Second floor"],
    "city": "Bonn",
    "postal_code": "53113",
    "state": "NW",
    "country_code": "DE",
    "phone": "+49.30123",
    "email": "jane@example.net",
}
HOSTS = ["ns1.example.net", "ns2.other-example.com"]
NAME = "byron-example.com"
DS: Json = {"key_tag": 1, "algorithm": 13, "digest_type": 2, "digest": "AB" * 32}
KEY: Json = {"flags": 257, "protocol": 3, "algorithm": 13, "public_key": "mdsswUyr3DPW132mOi8V9xESWE8jTo0d"}
OLD_KEY: Json = KEY | {"public_key": "oldoldUyr3DPW132mOi8V9xESWE8jTo0"}


class Shop:
    """A customer who sells names under .com at Route 53 Domains."""

    def __init__(self, engine: Engine, url: str) -> None:
        self.engine, self.url = engine, url
        self.customer: Customer = make_customer(engine)
        self.accreditation = make_accreditation(engine, self.customer.tenant, name="cloud", region="eu-central-1")
        zone = insert(engine, "tld", name="com")
        insert(engine, "accreditation_tld", accreditation_id=self.accreditation, tld_id=zone)
        engine.owner.cursor().executemany(
            "INSERT INTO tld_setting (tld_id, name, value) VALUES (%s, %s, %s)",
            [(zone, name, Jsonb(value)) for name, value in ZONE.items()],
        )
        self.client: Any = boto3.client("route53domains", region_name="us-east-1", endpoint_url=url)

    def order(self, operation: str, **data: Any) -> UUID:
        items = Jsonb([{"operation": operation, "data": data}])
        order: UUID = self.engine.value("SELECT order_submit(%s, %s)", self.customer.account, items)
        return order

    def register(self) -> UUID:
        contacts = {"registrant": PERSON, "admin": {"reference": "jane"}}
        return self.order("domain.create", name=NAME, contacts=contacts, hosts=HOSTS, period=2)

    def run(self, order: UUID, while_waiting: Callable[[], object] = lambda: None) -> str:
        """How the order ends."""
        with self.engine.worker(default_actions(), aws_endpoint_url=self.url, **QUICK):
            while_waiting()
            eventually(lambda: self.engine.value("SELECT finished_date FROM v_order WHERE id = %s", order))
        status: str = self.engine.value("SELECT status FROM v_order WHERE id = %s", order)
        return status

    def reason(self) -> str:
        """Why the last order failed."""
        reason: str = self.engine.value("SELECT reason FROM v_order ORDER BY id DESC LIMIT 1")
        return reason


@pytest.fixture
def shop(engine: Engine, aws: str) -> Shop:
    return Shop(engine, aws)


@pytest.fixture
def named(shop: Shop) -> Shop:
    """With a registered name."""
    assert shop.run(shop.register()) == "completed", shop.reason()
    return shop


def operations() -> list[Any]:
    """What the endpoint was asked to do."""
    return list(kept().values())


def kept() -> dict[str, Any]:
    """The operations as the endpoint has them."""
    operations: dict[str, Any] = vars(get_backend("route53domains")["123456789012"]["aws"])[
        "_Route53DomainsBackend__operations"
    ]
    return operations


# Over HTTP ------------------------------------------------------------------------------------------------------------


def test_a_name_is_registered_with_its_contacts_and_given_its_name_servers(named: Shop) -> None:
    found = named.client.get_domain_detail(DomainName=NAME)
    assert sorted(server["Name"] for server in found["Nameservers"]) == sorted(HOSTS)
    assert [operation.type for operation in operations()] == ["REGISTER_DOMAIN", "UPDATE_NAMESERVER"]
    person = found["RegistrantContact"]
    assert (person["FirstName"], person["LastName"], person["OrganizationName"]) == ("Jane van", "Doe", "Doe Ltd")
    assert (person["AddressLine1"], person["AddressLine2"], person["CountryCode"]) == ("1 Road", "Second floor", "DE")
    ours = named.engine.row("SELECT * FROM v_domain")
    assert ours["ry_expiry_date"].date() == found["ExpirationDate"].astimezone(UTC).date()
    assert named.engine.value("SELECT count(*) FROM secret") == 0, "the secret is AWS's to choose"


def test_other_name_servers_and_nothing_if_it_has_them(named: Shop) -> None:
    hosts = ["ns3.example.net", "ns4.example.net"]
    for expected in (["UPDATE_NAMESERVER"], []):
        # moto takes what is done for still in progress.
        kept().clear()
        assert named.run(named.order("domain.update", name=NAME, hosts=hosts)) == "completed", named.reason()
        assert [operation.type for operation in operations()] == expected
    found = named.client.get_domain_detail(DomainName=NAME)
    assert sorted(server["Name"] for server in found["Nameservers"]) == hosts


def test_a_name_server_under_the_name_has_its_glue(named: Shop) -> None:
    inside = {"name": f"ns1.{NAME}", "addresses": ["192.0.2.1", "2001:db8::1"]}
    for expected in (["UPDATE_NAMESERVER"], []):
        kept().clear()
        assert named.run(named.order("domain.update", name=NAME, hosts=[inside, HOSTS[0]])) == "completed", (
            named.reason()
        )
        assert [operation.type for operation in operations()] == expected
    found = named.client.get_domain_detail(DomainName=NAME)["Nameservers"]
    assert {server["Name"]: server.get("GlueIps", []) for server in found} == {
        inside["name"]: inside["addresses"],
        HOSTS[0]: [],
    }


def test_a_deleted_name_is_gone_from_the_account(named: Shop) -> None:
    assert named.run(named.order("domain.delete", name=NAME)) == "completed", named.reason()
    assert named.client.list_domains()["Domains"] == []
    assert named.engine.value("SELECT rgp_state FROM v_domain") == "pendingDelete"


def test_the_inventory_is_compared_with_the_account(named: Shop) -> None:
    with named.engine.worker(default_actions(), aws_endpoint_url=named.url, **QUICK):
        assert reconcile(named.engine, named.accreditation)["missing"] == 0
        named.client.delete_domain(DomainName=NAME)
        assert reconcile(named.engine, named.accreditation)["missing"] == 1
    assert named.engine.value("SELECT reason FROM v_attention") == f"{NAME}: the account does not have it"


def test_an_operation_is_polled_to_its_end(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Route53DomainsOperation.to_json
    monkeypatch.setattr(Route53DomainsOperation, "to_json", lambda self: whole(self) | {"Status": "IN_PROGRESS"})
    order = shop.register()

    def wait() -> None:
        pending = "SELECT result_message FROM v_provision WHERE status = 'pending_action'"
        assert eventually(lambda: shop.engine.value(pending)) == "AWS works on it: REGISTER_DOMAIN is IN_PROGRESS"
        monkeypatch.setattr(Route53DomainsOperation, "to_json", whole)
        shop.engine.owner.execute("SELECT clock_advance('1 hour')")

    assert shop.run(order, wait) == "completed"
    assert [operation.type for operation in operations()] == ["REGISTER_DOMAIN", "UPDATE_NAMESERVER"]


def test_an_operation_that_failed_fails_the_order_with_aws_words(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Route53DomainsOperation.to_json
    ended = {"Status": "FAILED", "Message": "the registry did not like it"}
    monkeypatch.setattr(Route53DomainsOperation, "to_json", lambda self: whole(self) | ended)
    assert shop.run(shop.register()) == "failed"
    assert shop.reason().endswith(f"REGISTER_DOMAIN of {NAME}: the registry did not like it")
    assert shop.engine.value("SELECT count(*) FROM v_attention") == 0


def test_a_registration_whose_answer_was_lost_is_found_and_not_repeated(shop: Shop) -> None:
    """As if a worker had died between the call and noting its answer."""
    shop.engine.owner.execute("UPDATE setting SET value = '0' WHERE name = 'retry_base_seconds'")
    order = shop.register()
    with shop.engine.worker(
        {key: action for key, action in default_actions().items() if key != "provision_domain_create"},
        aws_endpoint_url=shop.url,
        **QUICK,
    ):
        eventually(lambda: shop.engine.value("SELECT count(*) FROM v_provision WHERE kind = 'provision_domain'"))
    dead = shop.engine.value("SELECT worker_register('dead', 'host', 1, '0', '{}')")
    job = shop.engine.row("SELECT * FROM job_claim(%s, '{provision_domain_create}', 1)", dead)
    since = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S+00:00}"
    parameters = Jsonb({"step": "registrar.register", "since": since, "name": NAME, "period": 2})
    begin = "SELECT token FROM effect_begin(%s, %s, 'registrar.register', %s)"
    shop.engine.value(begin, job["job_id"], job["claim_no"], parameters)
    person = {"FirstName": "Jane", "LastName": "Doe", "Email": "j@example.net", "PhoneNumber": "+49.30123"}
    person |= {"AddressLine1": "1 Road", "City": "Bonn", "CountryCode": "DE", "ContactType": "PERSON", "ZipCode": "1"}
    people = dict.fromkeys(("RegistrantContact", "AdminContact", "TechContact"), person)
    shop.client.register_domain(DomainName=NAME, DurationInYears=2, **people)
    shop.engine.value("SELECT worker_deregister(%s)", dead)
    assert shop.run(order) == "completed", shop.reason()
    assert [operation.type for operation in operations()] == ["REGISTER_DOMAIN", "UPDATE_NAMESERVER"]


# What is refused ------------------------------------------------------------------------------------------------------

REFUSED: list[tuple[str, Json, str]] = [
    ("domain.restore", {}, "names are not restored there"),
    ("domain.update", {"statuses": ["clientHold"]}, "the provider has no such lock"),
    ("domain.update", {"ds_records": [DS]}, "the provider makes DS records itself"),
    ("domain.update", {"hosts": [{"name": "ns1.byron-example.com", "addresses": []}, HOSTS[0]]}, "needs its addresses"),
    ("domain.update", {"hosts": [{"name": "ns1.x.com", "addresses": ["192.0.2.1"]}, HOSTS[0]]}, "no addresses there"),
    (
        "domain.update",
        {"hosts": [{"name": "ns1.byron-example.com", "addresses": ["192.0.2.1", "192.0.2.2"]}, HOSTS[0]]},
        "too many addresses",
    ),
    ("domain.update", {"pw": "Transfer-me-7"}, "the provider chooses the auth info itself"),
]


@pytest.mark.parametrize(("operation", "data", "text"), REFUSED)
def test_what_route_53_domains_does_not_have_is_refused_at_once(
    named: Shop, operation: str, data: Json, text: str
) -> None:
    with pytest.raises(psycopg.Error, match=text) as refusal:
        named.order(operation, name=NAME, **data)
    assert (refusal.value.sqlstate, bool(refusal.value.diag.message_hint)) == ("PV422", True)


# Where moto has no such operation -------------------------------------------------------------------------------------


@pytest.fixture
def stub(named: Shop, monkeypatch: pytest.MonkeyPatch) -> Stubber:
    """What Route 53 Domains answers, call by call."""
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
    client = boto3.client("route53domains", region_name="us-east-1", **keys)  # type: ignore[call-overload]
    stubber = Stubber(client)
    stubber.activate()
    monkeypatch.setattr(Account, "route53domains", property(lambda account: client))
    return stubber


def detail(expires: datetime, *statuses: str, **more: Any) -> Json:
    person = {"FirstName": "Jane"}
    people = dict.fromkeys(("RegistrantContact", "AdminContact", "TechContact"), person)
    dates = {"CreationDate": datetime(2026, 1, 1, tzinfo=UTC), "ExpirationDate": expires}
    return {"DomainName": NAME, "Nameservers": [], "StatusList": list(statuses)} | people | dates | more


def asked(stub: Stubber, operation: str, kind: str, expected: Json) -> None:
    """An operation that is asked for and has succeeded."""
    stub.add_response(operation, {"OperationId": "op-1"}, expected)
    done = {"OperationId": "op-1", "Status": "SUCCESSFUL", "Type": kind, "DomainName": NAME}
    stub.add_response("get_operation_detail", done, {"OperationId": "op-1"})


def test_a_name_is_renewed_from_the_year_it_ends(named: Shop, stub: Stubber) -> None:
    ends: datetime = named.engine.value("SELECT ry_expiry_date FROM v_domain")
    later = ends.replace(year=ends.year + 1)
    stub.add_response("list_domains", {"Domains": [{"DomainName": NAME}]}, {})
    stub.add_response("get_domain_detail", detail(ends), {"DomainName": NAME})
    renewal = {"DomainName": NAME, "DurationInYears": 1, "CurrentExpiryYear": ends.astimezone(UTC).year}
    asked(stub, "renew_domain", "RENEW_DOMAIN", renewal)
    stub.add_response("get_domain_detail", detail(later), {"DomainName": NAME})
    assert named.run(named.order("domain.renew", name=NAME)) == "completed", named.reason()
    stub.assert_no_pending_responses()
    assert named.engine.value("SELECT ry_expiry_date FROM v_domain") == later


def test_a_name_that_lives_as_long_already_is_not_renewed(named: Shop, stub: Stubber) -> None:
    ends: datetime = named.engine.value("SELECT ry_expiry_date FROM v_domain")
    stub.add_response("list_domains", {"Domains": [{"DomainName": NAME}]}, {})
    stub.add_response("get_domain_detail", detail(ends.replace(year=ends.year + 1)), {"DomainName": NAME})
    assert named.run(named.order("domain.renew", name=NAME)) == "completed", named.reason()
    stub.assert_no_pending_responses()


@pytest.mark.parametrize("is_locked", [False, True])
def test_the_lock_is_set_and_taken_away(named: Shop, stub: Stubber, is_locked: bool) -> None:
    lock = "clientTransferProhibited"
    before, after = ([], [lock]) if is_locked else ([f"{lock} https://icann.org/epp#{lock}"], [])
    ends = datetime(2030, 1, 1, tzinfo=UTC)
    stub.add_response("get_domain_detail", detail(ends, *before), {"DomainName": NAME})
    verb = "enable" if is_locked else "disable"
    asked(stub, f"{verb}_domain_transfer_lock", "DOMAIN_LOCK", {"DomainName": NAME})
    stub.add_response("get_domain_detail", detail(ends, *after), {"DomainName": NAME})
    order = named.order("domain.update", name=NAME, statuses=[lock] if is_locked else [])
    assert named.run(order) == "completed", named.reason()
    stub.assert_no_pending_responses()
    assert named.engine.value("SELECT statuses FROM v_domain") == after


def test_other_contacts_travel_with_their_details(named: Shop, stub: Stubber) -> None:
    zoe = PERSON | {"reference": "zoe", "name": "Zoe", "organization": "", "email": "zoe@example.net"}
    asked(stub, "update_domain_contact", "UPDATE_DOMAIN_CONTACT", {"DomainName": NAME, "TechContact": ANY})
    stub.add_response("get_domain_detail", detail(datetime(2030, 1, 1, tzinfo=UTC)), {"DomainName": NAME})
    order = named.order("domain.update", name=NAME, contacts={"tech": zoe})
    assert named.run(order) == "completed", named.reason()
    stub.assert_no_pending_responses()
    assert named.engine.value("SELECT contacts -> 'tech' FROM v_domain") == ["zoe"]


def test_the_auth_code_is_asked_for_and_kept_for_its_owner(named: Shop, stub: Stubber) -> None:
    stub.add_response("retrieve_domain_auth_code", {"AuthCode": "aws-chose-this"}, {"DomainName": NAME})
    stub.add_response("get_domain_detail", detail(datetime(2030, 1, 1, tzinfo=UTC)), {"DomainName": NAME})
    order = named.order("domain.update", name=NAME, pw=None)
    assert named.run(order) == "completed", named.reason()
    find = "SELECT s.value FROM secret AS s JOIN domain AS d ON d.auth_info_ref = 'db:' || s.id"
    assert named.engine.value(find) == "aws-chose-this"
    for view in ("v_job", "v_audit", "v_effect", "v_provision"):
        assert "aws-chose" not in named.engine.value(f"SELECT string_agg(to_jsonb(t)::text, ' ') FROM {view} AS t")


def test_dnssec_keys_are_added_and_taken_away(named: Shop, stub: Stubber) -> None:
    has = {"Flags": 257, "Algorithm": 13, "PublicKey": OLD_KEY["public_key"], "Id": "key-1"}
    ends = datetime(2030, 1, 1, tzinfo=UTC)
    stub.add_response("get_domain_detail", detail(ends, DnssecKeys=[has]), {"DomainName": NAME})
    attributes = {"Flags": 257, "Algorithm": 13, "PublicKey": KEY["public_key"]}
    added = {"DomainName": NAME, "SigningAttributes": attributes}
    asked(stub, "associate_delegation_signer_to_domain", "ADD_DNSSEC", added)
    removed = {"DomainName": NAME, "Id": "key-1"}
    asked(stub, "disassociate_delegation_signer_from_domain", "REMOVE_DNSSEC", removed)
    stub.add_response("get_domain_detail", detail(ends), {"DomainName": NAME})
    assert named.run(named.order("domain.update", name=NAME, ds_records=[KEY])) == "completed", named.reason()
    stub.assert_no_pending_responses()
    assert named.engine.value("SELECT ds_records FROM v_domain") == [KEY]


# Transfers ------------------------------------------------------------------------------------------------------------

FOREIGN = "shelley-example.com"
SECRET = "told-by-the-holder"


def may_come(stub: Stubber, verdict: str, **more: str) -> None:
    """What AWS thinks of the transfer."""
    answer = {"Transferability": {"Transferable": verdict}} | more
    stub.add_response("check_domain_transferability", answer, {"DomainName": FOREIGN, "AuthCode": SECRET})


def transfer(shop: Shop, **changes: Any) -> UUID:
    people = {"registrant": {"reference": "jane"}, "tech": PERSON | {"reference": "zoe", "name": "Zoe"}}
    return shop.order("domain.transfer", **({"name": FOREIGN, "pw": SECRET, "contacts": people} | changes))


def test_a_name_of_another_registrar_comes_with_all_it_has(named: Shop, stub: Stubber) -> None:
    may_come(stub, "TRANSFERABLE")
    wanted = {"DomainName": FOREIGN, "DurationInYears": 1, "AuthCode": SECRET, "AutoRenew": False}
    people = dict.fromkeys(("RegistrantContact", "AdminContact", "TechContact"), ANY)
    stub.add_response("transfer_domain", {"OperationId": "op-1"}, wanted | people)
    operation = {"OperationId": "op-1", "Type": "TRANSFER_IN_DOMAIN", "DomainName": FOREIGN}
    stub.add_response("get_operation_detail", operation | {"Status": "IN_PROGRESS"}, {"OperationId": "op-1"})
    order = transfer(named)

    def wait() -> None:
        pending = "SELECT result_message FROM v_provision WHERE status = 'pending_action'"
        assert eventually(lambda: named.engine.value(pending)).endswith("TRANSFER_IN_DOMAIN is IN_PROGRESS")
        stub.add_response("get_operation_detail", operation | {"Status": "SUCCESSFUL"}, {"OperationId": "op-1"})
        servers = [{"Name": "NS1.Example.net"}, {"Name": f"ns1.{FOREIGN}", "GlueIps": ["192.0.2.9"]}]
        key = {"Flags": 257, "Algorithm": 13, "PublicKey": KEY["public_key"], "Id": "key-1"}
        found = detail(datetime(2031, 1, 1, tzinfo=UTC), "ok", Nameservers=servers, DnssecKeys=[key])
        stub.add_response("get_domain_detail", found, {"DomainName": FOREIGN})
        named.engine.owner.execute("SELECT clock_advance('1 hour')")

    assert named.run(order, wait) == "completed", named.reason()
    stub.assert_no_pending_responses()
    row = named.engine.row("SELECT * FROM v_domain WHERE name = %s", FOREIGN)
    assert (row["hosts"], row["ds_records"], row["statuses"]) == (["ns1.example.net", f"ns1.{FOREIGN}"], [KEY], [])
    assert (row["contacts"], row["ry_expiry_date"].year) == ({"registrant": ["jane"], "tech": ["zoe"]}, 2031)
    assert named.engine.value("SELECT count(*) FROM secret") == 0, "the secret is AWS's to choose"
    for view in ("v_job", "v_audit", "v_effect", "v_provision", "v_order"):
        assert SECRET not in named.engine.value(f"SELECT string_agg(to_jsonb(t)::text, ' ') FROM {view} AS t")


@pytest.mark.parametrize(
    ("verdict", "text"),
    [("UNTRANSFERABLE", "it cannot be transferred (60 days)"), ("DOMAIN_IN_OWN_ACCOUNT", "the account has it already")],
)
def test_what_aws_will_not_transfer_is_not_asked_for(named: Shop, stub: Stubber, verdict: str, text: str) -> None:
    may_come(stub, verdict, **({"Message": "60 days"} if verdict == "UNTRANSFERABLE" else {}))
    assert named.run(transfer(named)) == "failed"
    stub.assert_no_pending_responses()
    assert named.reason().endswith(f"{FOREIGN}: {text}")
    assert named.engine.value("SELECT count(*) FROM secret") == 0


def test_a_transfer_that_failed_at_aws_says_why(named: Shop, stub: Stubber) -> None:
    may_come(stub, "DONT_KNOW")
    stub.add_response("transfer_domain", {"OperationId": "op-1"})
    ended = {"OperationId": "op-1", "Type": "TRANSFER_IN_DOMAIN", "DomainName": FOREIGN, "Status": "FAILED"}
    stub.add_response("get_operation_detail", ended | {"Message": "the registrar said no"}, {"OperationId": "op-1"})
    assert named.run(transfer(named)) == "failed"
    assert named.reason().endswith(f"TRANSFER_IN_DOMAIN of {FOREIGN}: the registrar said no")
    assert named.engine.value("SELECT count(*) FROM secret") == 0


def test_a_transfer_without_a_registrant_is_refused_at_once(named: Shop) -> None:
    for contacts in ({}, {"contacts": {"tech": {"reference": "jane"}}}):
        with pytest.raises(psycopg.Error, match="contacts are missing") as refusal:
            named.order("domain.transfer", name=FOREIGN, pw=SECRET, **contacts)
        assert refusal.value.sqlstate == "PV422"


def test_no_command_takes_a_transfer_back(named: Shop) -> None:
    transfer(named, contacts={"registrant": {"reference": "jane"}})
    with pytest.raises(psycopg.Error, match="no command takes a transfer back there") as refusal:
        named.order("transfer.cancel", name=FOREIGN)
    assert refusal.value.sqlstate == "PV422"

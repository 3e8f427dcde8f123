"""The registry simulator through pyepp, a client that others have written: what we both say is EPP."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest
from provision_worker.simulator import Certificates, RegistrySimulator

from . import epp_fixtures
from .epp_fixtures import AUTH_INFO, REGISTRARS, days

certificates = epp_fixtures.certificates
lab = epp_fixtures.lab
clock = epp_fixtures.clock
registry = epp_fixtures.registry

pytestmark = pytest.mark.clients


@pytest.fixture
def connect(registry: RegistrySimulator, certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Logs a registrar in with pyepp, which takes its authorities from the environment alone."""
    from pyepp import EppCommunicator

    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca_file))
    opened = []

    def log_in(registrar: str) -> Any:
        line = EppCommunicator("127.0.0.1", str(registry.port))
        line.connect()
        opened.append(line)
        assert line.login(registrar, REGISTRARS[registrar], extensions=["rgp-1.0"]).code == 1000
        return line

    yield log_in
    for line in opened:
        line.logout()


def contact_data(handle: str) -> Any:
    from pyepp.contact import AddressData, ContactData, PostalInfoData

    # Nothing that XML escapes: pyepp 0.3 escapes it twice.
    address = AddressData("12 Square", "London", "GB", "Floor 2", "Rear", "LND", "SW1Y 4JH")
    postal = PostalInfoData("Ada Lovelace", "Engines Ltd", address, "int")
    return ContactData(handle, "ada@engines.example", postal, phone="+44.2079300000", password=AUTH_INFO)


def register(line: Any, name: str = "engines.test") -> Any:
    from pyepp.contact import Contact
    from pyepp.domain import Domain, DomainData

    Contact(line).create(contact_data("ADA-1"))
    data = DomainData(name, 2, "ADA-1", admin="ADA-1", tech="ADA-1", password=AUTH_INFO)
    return Domain(line).create(data)


def test_a_contact_from_check_to_delete(connect: Any) -> None:
    from pyepp.contact import Contact

    contacts = Contact(connect("alpha"))
    assert contacts.check(["ADA-1"]).result_data["ADA-1"]["avail"] is True
    assert contacts.create(contact_data("ADA-1")).code == 1000
    found = contacts.info("ADA-1")
    wanted = contact_data("ADA-1")
    assert found.repository_object_id.endswith("-SIM")
    assert (found.result_data.email, found.result_data.phone) == (wanted.email, wanted.phone)
    assert found.result_data.postal_info.address == wanted.postal_info.address
    assert found.result_data.sponsoring_client_id == "alpha"
    assert contacts.check(["ADA-1"]).result_data["ADA-1"] == {"avail": False, "reason": "In use"}
    assert contacts.delete("ADA-1").code == 1000
    assert contacts.info("ADA-1").code == 2303


def test_a_host_from_check_to_delete(connect: Any) -> None:
    from pyepp.host import Host, HostData, IPAddressData

    line = connect("alpha")
    register(line)
    hosts = Host(line)
    addresses = [IPAddressData("192.0.2.1", "v4"), IPAddressData("2001:db8::1", "v6")]
    assert hosts.create(HostData("ns1.engines.test", addresses)).code == 1000
    assert hosts.info("ns1.engines.test").result_data.address == addresses
    assert hosts.update("ns1.engines.test", remove_ip_address=addresses[:1]).code == 1000
    assert hosts.info("ns1.engines.test").result_data.address == addresses[1:]
    assert hosts.check(["ns1.engines.test"]).result_data["ns1.engines.test"]["avail"] is False
    assert hosts.delete("ns1.engines.test").code == 1000


def test_a_domain_from_check_to_delete(connect: Any) -> None:
    from pyepp.domain import Domain

    line = connect("alpha")
    domains = Domain(line)
    assert domains.check(["engines.test"]).result_data["engines.test"]["avail"] is True
    assert register(line).code == 1000
    found = domains.info("engines.test").result_data
    assert (found.registrant, found.admin, found.tech, found.password) == ("ADA-1", "ADA-1", "ADA-1", AUTH_INFO)
    assert found.expiry_date == "2026-02-28T12:00:00.000Z"
    assert domains.renew("engines.test", date(2026, 2, 28), 1).code == 1000
    assert domains.renew("engines.test", date(2026, 2, 28), 1).code == 2004
    assert domains.update("engines.test", add_statuses=[("clientHold", "unpaid")]).code == 1000
    assert domains.info("engines.test").result_data.status == ["clientHold", "inactive"]
    assert domains.delete("engines.test").code == 1000
    assert domains.check(["engines.test"]).result_data["engines.test"]["avail"] is True


def test_dnssec(connect: Any) -> None:
    from pyepp.domain import Domain, DomainData

    line = connect("alpha")
    register(line)
    record = {"key_tag": 12345, "algorithm": 13, "digest_type": 2, "digest": "AB12"}
    data = DomainData("signed.test", 1, "ADA-1", password=AUTH_INFO, dns_sec=[record])
    assert Domain(line).create(data).code == 1000
    (found,) = Domain(line).info("signed.test").result_data.dns_sec
    assert (found.key_tag, found.algorithm, found.digest_type, found.digest) == ("12345", "13", "2", "AB12")


def test_a_restore_with_its_report(connect: Any, registry: RegistrySimulator) -> None:
    from pyepp.domain import Domain

    line = connect("alpha")
    register(line)
    registry.advance(days(6))
    domains = Domain(line)
    domains.delete("engines.test")
    assert domains.info("engines.test").result_data.status == ["inactive", "pendingDelete"]
    assert domains.restore("engines.test").code == 1000
    assert domains.info("engines.test").result_data.status == ["inactive"]
    moment = datetime(2024, 3, 6, tzinfo=UTC)
    report = domains.restore_report("engines.test", "a", "b", moment, moment, "mistake", "one", "two", "other")
    assert report.code == 2304


def test_a_transfer_and_its_message(connect: Any) -> None:
    from pyepp.domain import Domain
    from pyepp.poll import Poll

    alpha, beta = connect("alpha"), connect("beta")
    register(alpha)
    assert Domain(beta).transfer("engines.test", "wrong-secret").code == 2202
    assert Domain(beta).transfer("engines.test", AUTH_INFO).code == 1001
    poll = Poll(alpha)
    message = poll.request()
    assert (message.code, message.result_data.message_count) == (1301, 1)
    assert message.result_data.messages[0].message == "Transfer of engines.test requested."
    assert poll.acknowledge(message.result_data.message_id).code == 1000
    assert poll.request().code == 1300


def test_a_refusal_with_its_reason(connect: Any) -> None:
    refused = register(connect("alpha"), "refused-name.test")
    assert (refused.code, refused.reason) == (2306, "refused-name.test is reserved by the policy of this registry")

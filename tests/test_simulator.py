"""The registry simulator: rules, time, faults, the control line, and the process, as clients see them."""

import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from provision_worker.providers import epp
from provision_worker.providers.epp import framing, xml
from provision_worker.providers.epp.connection import Connection
from provision_worker.providers.epp.contact import ContactDetails, ContactUpdate, PostalInfo
from provision_worker.providers.epp.domain import (
    DomainContact,
    DomainUpdate,
    DsRecord,
    Part,
    Registration,
    RestoreReport,
)
from provision_worker.providers.epp.host import Host, HostUpdate
from provision_worker.simulator import (
    Certificates,
    Control,
    ControlError,
    ControlServer,
    FaultKind,
    Policy,
    RegistrySimulator,
)
from provision_worker.simulator.cli import simulator as simulator_command
from provision_worker.simulator.records import plus_years

from . import epp_fixtures
from .epp_fixtures import AUTH_INFO, POSTAL, REGISTRARS, START, Clock, Lab, Registrar, days, registration

certificates = epp_fixtures.certificates
lab = epp_fixtures.lab
clock = epp_fixtures.clock
registry = epp_fixtures.registry
alpha = epp_fixtures.alpha
beta = epp_fixtures.beta

GLUE = (ip_address("192.0.2.1"),)
REPORT = RestoreReport("before", "after", START, START, "a mistake", ("one", "two"))


# Raw frames: what a client of our own never says


class RawClient:
    """Says anything, and reads result codes."""

    def __init__(self, registry: RegistrySimulator) -> None:
        self._line = Connection.open("127.0.0.1", registry.port, epp.tls_context(registry.ca_file), 5, 1 << 20)
        self.greeting = self._line.receive(5)

    def say(self, payload: str | bytes) -> tuple[int, str]:
        self._line.send(payload if isinstance(payload, bytes) else payload.encode(), 5)
        response = xml.need(xml.parse(self._line.receive(5)), "epp:response")
        code = xml.need(response, "epp:result").get("code") or ""
        return int(code), xml.text(response, "epp:result/epp:extValue/epp:reason") or ""

    def command(self, inside: str) -> tuple[int, str]:
        return self.say(
            '<epp xmlns="urn:ietf:params:xml:ns:epp-1.0" xmlns:d="urn:ietf:params:xml:ns:domain-1.0"'
            ' xmlns:c="urn:ietf:params:xml:ns:contact-1.0" xmlns:h="urn:ietf:params:xml:ns:host-1.0"'
            f' xmlns:rgp="urn:ietf:params:xml:ns:rgp-1.0"><command>{inside}<clTRID>raw-1</clTRID></command></epp>'
        )

    def login(self, password: str = "beta-secret", version: str = "1.0", lang: str = "en", services: str = "") -> int:
        objects = "".join(
            f"<objURI>urn:ietf:params:xml:ns:{kind}-1.0</objURI>" for kind in ("domain", "contact", "host")
        )
        return self.command(
            f"<login><clID>beta</clID><pw>{password}</pw><options><version>{version}</version><lang>{lang}</lang></options>"
            f"<svcs>{services or objects}</svcs></login>"
        )[0]

    def write(self, data: bytes) -> None:
        self._line._socket.sendall(data)

    def read(self) -> bytes:
        return self._line.receive(5)

    def hangs_up(self) -> bool:
        with pytest.raises(OSError, match=r".*"):
            self._line.receive(5)
        return True

    def close(self) -> None:
        self._line.close()


@pytest.fixture
def raw(registry: RegistrySimulator) -> Iterator[RawClient]:
    client = RawClient(registry)
    yield client
    client.close()


def test_the_greeting_offers_objects_and_extensions(raw: RawClient) -> None:
    menu = xml.need(xml.parse(raw.greeting), "epp:greeting/epp:svcMenu")
    assert xml.texts(menu, "epp:objURI") == tuple(xml.NS[kind] for kind in ("contact", "host", "domain"))
    assert xml.texts(menu, "epp:svcExtension/epp:extURI") == (xml.NS["rgp"], xml.NS["secDNS"], xml.NS["fee"])


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"not xml", 2001),
        (b"<!DOCTYPE epp [<!ENTITY a 'b'>]><epp>&a;</epp>", 2001),
        ('<epp xmlns="urn:ietf:params:xml:ns:epp-1.0"/>', 2001),
        ('<epp xmlns="urn:other"><command/></epp>', 2001),
        ('<epp xmlns="urn:ietf:params:xml:ns:epp-1.0"><command/></epp>', 2001),
    ],
)
def test_what_is_no_command_is_a_syntax_error(raw: RawClient, payload: str | bytes, code: int) -> None:
    assert raw.say(payload)[0] == code
    assert raw.login() == 1000


@pytest.mark.parametrize(
    ("inside", "code", "reason"),
    [
        ("<frobnicate/>", 2000, "no command frobnicate"),
        ("<check/>", 2001, "check holds one object"),
        ("<check><d:info><d:name>a.test</d:name></d:info></check>", 2001, "check cannot hold domain:info"),
        ("<check><x:check xmlns:x='urn:x'/></check>", 2307, "not offered"),
        ("<check><d:check/></check>", 2001, "domain:check holds nothing; it should be: name+"),
        ("<check><d:check><c:id>ABC</c:id></d:check></check>", 2001, "domain:check cannot hold contact:id"),
        ("<check><d:check><d:name><d:name/></d:name></d:check></check>", 2001, "domain:name holds name; it should be"),
        ("<info><d:info><d:name>a.test</d:name></d:info></info><extension><rgp:update/></extension>", 2103, "rgp-1.0"),
        ("<renew><h:renew><h:name>ns1.a.test</h:name></h:renew></renew>", 2101, "not implemented for host"),
        ("<poll op='look'/>", 2001, "req or ack"),
        ("<poll op='ack'/>", 2003, "msgID"),
        ("<poll op='ack' msgID='12'/>", 2303, "no message 12"),
        ("<transfer op='steal'><d:transfer><d:name>a.test</d:name></d:transfer></transfer>", 2303, "does not exist"),
    ],
)
def test_commands_out_of_shape_are_refused(raw: RawClient, inside: str, code: int, reason: str) -> None:
    assert raw.login() == 1000
    answer = raw.command(inside)
    assert answer[0] == code
    assert reason in answer[1]


def test_the_order_of_elements_is_that_of_the_schema(raw: RawClient) -> None:
    raw.login()
    code, reason = raw.command(
        "<create><d:create><d:name>a.test</d:name><d:registrant>ADA-1</d:registrant><d:period unit='y'>1</d:period>"
        "<d:authInfo><d:pw>abcdefgh</d:pw></d:authInfo></d:create></create>"
    )
    assert code == 2001
    assert reason == (
        "domain:create holds name, registrant, period, authInfo;"
        " it should be: name period? ns? registrant? contact* authInfo"
    )


def test_transfer_knows_five_operations(raw: RawClient, alpha: Registrar) -> None:
    alpha.domain()
    raw.login()
    code, reason = raw.command("<transfer op='steal'><d:transfer><d:name>engines.test</d:name></d:transfer></transfer>")
    assert (code, reason) == (2001, "transfer has no op 'steal'")


@pytest.mark.parametrize(
    "inside", ["<poll op='req'/>", "<logout/>", "<check><d:check><d:name>a.test</d:name></d:check></check>"]
)
def test_nothing_goes_before_the_login(raw: RawClient, inside: str) -> None:
    assert raw.command(inside) == (2002, "log in first")


@pytest.mark.parametrize(
    ("login", "code"),
    [
        ({"password": "wrong"}, 2200),
        ({"version": "2.0"}, 2100),
        ({"lang": "tlh"}, 2102),
        ({"services": "<objURI>urn:ietf:params:xml:ns:org-1.0</objURI>"}, 2307),
        ({"services": f"<objURI>{xml.NS['host']}</objURI><svcExtension><extURI>urn:x</extURI></svcExtension>"}, 2103),
    ],
)
def test_logins_are_refused_for_a_reason(raw: RawClient, login: dict[str, str], code: int) -> None:
    assert raw.login(**login) == code
    assert raw.login() == 1000
    assert raw.login() == 2002


def test_only_what_the_login_asked_for_is_served(raw: RawClient) -> None:
    raw.login(services="<objURI>urn:ietf:params:xml:ns:host-1.0</objURI>")
    assert raw.command("<check><h:check><h:name>ns1.a.net</h:name></h:check></check>")[0] == 1000
    assert raw.command("<check><d:check><d:name>a.test</d:name></d:check></check>")[0] == 2307


def test_a_logout_ends_the_connection(raw: RawClient, registry: RegistrySimulator) -> None:
    raw.login()
    assert raw.command("<logout/>")[0] == 1500
    assert raw.hangs_up()


def test_a_frame_over_the_limit_ends_the_connection(raw: RawClient) -> None:
    raw.write((1 << 30).to_bytes(4, "big"))
    assert raw.hangs_up()


@settings(max_examples=25, deadline=None)
@given(cuts=st.sets(st.integers(1, 70), max_size=8))
def test_frames_are_read_however_they_are_cut(certificates: Certificates, cuts: set[int]) -> None:
    stream = framing.encode(b'<epp xmlns="urn:ietf:params:xml:ns:epp-1.0"><hello/></epp>')
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    with RegistrySimulator(REGISTRARS, certificates=certificates) as registry:
        client = RawClient(registry)
        for start, end in pairwise(edges):
            client.write(stream[start:end])
        assert b"<greeting>" in client.read()
        client.close()


@pytest.mark.parametrize("kind", [FaultKind.CUT, FaultKind.LOSE_ANSWER, FaultKind.MID_FRAME])
def test_a_connection_that_is_cut_ends_without_an_answer(
    raw: RawClient, registry: RegistrySimulator, kind: FaultKind
) -> None:
    raw.login()
    registry.faults.add(kind)
    with pytest.raises(OSError, match=r".*"):
        raw.command("<check><d:check><d:name>a.test</d:name></d:check></check>")


def test_a_connection_that_is_gone_leaves_room_for_another_session(lab: Lab) -> None:
    registry = lab.registry(Policy(max_sessions=1))
    for _ in range(2):
        client = RawClient(registry)
        assert client.login() == 1000
        registry.drop_connections()
        client.close()


# Rules


def register(name: str = "a.test", years: int = 1, *hosts: str, **more: Any) -> epp.Command[Any]:
    return epp.domain.create(registration(name, years, *hosts, **more))


def register_for(registrant: str | None, auth_info: str = AUTH_INFO, **more: Any) -> epp.Command[Any]:
    return epp.domain.create(Registration("a.test", registrant, auth_info, **more))


def change(**changes: Any) -> epp.Command[Any]:
    return epp.domain.update(DomainUpdate("engines.test", **changes))


def make_contact(
    handle: str = "ABC", email: str = "a@b.example", postal: PostalInfo = POSTAL, **more: Any
) -> epp.Command[Any]:
    return epp.contact.create(ContactDetails(handle, email, postal, auth_info=AUTH_INFO, **more))


TECH, OWNER = DomainContact("tech", "ADA-1"), DomainContact("owner", "ADA-1")
DS = DsRecord(1, 13, 2, "AB")
EXPIRY = datetime(2025, 2, 28, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("command", "code", "reason"),
    [
        (register("refused-name.test"), 2306, "reserved by the policy"),
        (register("engines.nowhere"), 2306, "in none of the zones"),
        (register("test"), 2005, "not a host name"),
        (register("co.test"), 2306, "in none of the zones"),
        (register("a.b.test"), 2306, "not directly below .test"),
        (register("-a.test"), 2005, "not a host name"),
        (register("a_b.test"), 2005, "not a host name"),
        (register("a.test", 11), 2004, "1–10 years"),
        (register("a.test", 1, "ns1.missing.net"), 2303, "host ns1.missing.net does not exist"),
        (register("a.test", 1, "ns1.elsewhere.net", "ns1.elsewhere.net"), 2306, "named twice"),
        (register(ds_records=(DsRecord(70000, 13, 2, "AB"),)), 2005, "DS record"),
        (register(ds_records=(DsRecord(1, 13, 2, "XY"),)), 2005, "hexadecimal"),
        (register("engines.test"), 2302, "exists"),
        (register_for("NOBODY"), 2303, "contact NOBODY does not exist"),
        (register_for(None), 2003, "registrant is required"),
        (register_for("ADA-1", contacts=(OWNER,)), 2005, "admin, billing, tech"),
        (register_for("ADA-1", "short"), 2306, "authInfo must match"),
        (register_for("ADA-1", host_attributes=(Host("ns1.a.net"),)), 2306, "name servers as hostObj"),
        (epp.domain.renew("engines.test", EXPIRY, 10), 2105, "at most 10 years"),
        (epp.domain.renew("engines.test", START), 2004, "curExpDate is not 2025-02-28"),
        (epp.domain.restore("engines.test"), 2304, "not in its redemption period"),
        (epp.domain.report_restore("engines.test", REPORT), 2304, "waits for no restore report"),
        (epp.domain.info("missing.test"), 2303, "does not exist"),
        (epp.domain.info("engines.test", "wrong-secret"), 2202, "auth info is wrong"),
        (change(add=Part(statuses=("serverHold",))), 2306, "cannot change status"),
        (change(remove=Part(statuses=("clientHold",))), 2306, "no status"),
        (change(remove=Part(("ns9.a.net",))), 2306, "no name server ns9.a.net"),
        (change(add=Part(contacts=(TECH,))), 2306, "there already"),
        (change(remove=Part(ds_records=(DS,))), 2306, "no DS record"),
        (change(auth_info="short"), 2306, "authInfo must match"),
        (make_contact("AB"), 2005, "3–16 characters"),
        (make_contact(postal=PostalInfo("A", "B", "gb")), 2005, "country"),
        (make_contact(postal=PostalInfo("", "B", "GB")), 2003, "contact:name"),
        (make_contact(postal=PostalInfo("Zoë", "B", "GB")), 2005, "ASCII"),
        (make_contact(email="nowhere"), 2005, "e-mail"),
        (make_contact(voice="12345"), 2005, "E.164"),
        (make_contact("ADA-1"), 2302, "exists"),
        (epp.contact.delete("ADA-1"), 2305, "in use by engines.test"),
        (epp.contact.update(ContactUpdate("ADA-1", ("linked",))), 2306, "cannot change status"),
        (epp.host.create(Host("ns1.a.net", GLUE)), 2306, "outside this registry's zones"),
        (epp.host.create(Host("ns1.engines.test")), 2003, "at least one address"),
        (epp.host.create(Host("ns1.missing.test", GLUE)), 2303, "domain missing.test does not exist"),
        (epp.host.create(Host("localhost")), 2005, "not a host name"),
        (epp.host.create(Host("ns1.elsewhere.net")), 2302, "exists"),
        (epp.host.update(HostUpdate("ns1.elsewhere.net", new_name="ns2.elsewhere.net")), 2302, "exists"),
        (epp.host.update(HostUpdate("ns1.elsewhere.net", remove_addresses=GLUE)), 2306, "no address"),
        (epp.poll.acknowledge("99"), 2303, "no message"),
        (epp.domain.transfer(epp.TransferOp.REQUEST, "engines.test", AUTH_INFO), 2106, "yours already"),
        (epp.domain.transfer(epp.TransferOp.REQUEST, "engines.test"), 2003, "authInfo is required"),
        (epp.domain.transfer(epp.TransferOp.APPROVE, "engines.test"), 2301, "not being transferred"),
        (epp.domain.transfer(epp.TransferOp.QUERY, "engines.test"), 2301, "never been transferred"),
    ],
    ids=lambda value: str(value) if isinstance(value, epp.Command) else None,
)
def test_rules(alpha: Registrar, command: epp.Command[Any], code: int, reason: str) -> None:
    alpha.domain()
    alpha.host("ns1.elsewhere.net")
    alpha.host("ns2.elsewhere.net")
    found = alpha.refused(command)
    assert found[0] == code
    assert reason in found[1]


@pytest.mark.parametrize(
    "command",
    [
        epp.domain.delete("engines.test"),
        epp.domain.renew("engines.test", datetime(2025, 2, 28, tzinfo=UTC)),
        epp.domain.update(DomainUpdate("engines.test", Part(statuses=("clientHold",)))),
        epp.domain.restore("engines.test"),
        epp.contact.info("ADA-1"),
        epp.contact.delete("ADA-1"),
        epp.contact.update(ContactUpdate("ADA-1", email="b@b.example")),
        epp.host.create(Host("ns2.engines.test", GLUE)),
        epp.host.delete("ns1.engines.test"),
        epp.host.update(HostUpdate("ns1.engines.test", add_statuses=("clientDeleteProhibited",))),
    ],
    ids=str,
)
def test_another_registrars_objects_are_out_of_reach(
    alpha: Registrar, beta: Registrar, command: epp.Command[Any]
) -> None:
    alpha.domain()
    alpha.send(epp.host.create(Host("ns1.engines.test", GLUE)))
    assert beta.refused(command)[0] == 2201


def test_another_registrars_domain_shows_little_without_its_auth_info(alpha: Registrar, beta: Registrar) -> None:
    alpha.domain()
    little = beta.send(epp.domain.info("engines.test")).data
    assert (little.trail.sponsor, little.auth_info, little.registrant) == ("alpha", None, None)
    assert beta.send(epp.domain.info("engines.test", AUTH_INFO)).data.registrant == "ADA-1"
    assert beta.send(epp.contact.info("ADA-1", AUTH_INFO)).data.email == "ada@engines.example"


@pytest.mark.parametrize(
    ("status", "command"),
    [
        ("clientDeleteProhibited", epp.domain.delete("engines.test")),
        ("clientRenewProhibited", epp.domain.renew("engines.test", datetime(2025, 2, 28, tzinfo=UTC))),
        ("clientUpdateProhibited", epp.domain.update(DomainUpdate("engines.test", Part(statuses=("clientHold",))))),
    ],
)
def test_a_status_prohibits_until_it_is_removed(alpha: Registrar, status: str, command: epp.Command[Any]) -> None:
    alpha.domain()
    alpha.send(epp.domain.update(DomainUpdate("engines.test", Part(statuses=(status,)))))
    assert alpha.refused(command) == (2304, f"engines.test has status {status}")
    alpha.send(epp.domain.update(DomainUpdate("engines.test", remove=Part(statuses=(status,)))))
    assert alpha.send(command).code == 1000


def test_a_refused_update_changes_nothing(alpha: Registrar) -> None:
    alpha.domain()
    before = alpha.send(epp.domain.info("engines.test")).data
    mixed = DomainUpdate(
        "engines.test", Part(statuses=("clientHold",)), Part(("ns9.a.net",)), auth_info="Another-secret"
    )
    assert alpha.refused(epp.domain.update(mixed))[0] == 2306
    assert alpha.send(epp.domain.info("engines.test")).data == before


def test_a_check_tells_why_not(alpha: Registrar) -> None:
    alpha.domain()
    names = ("engines.test", "free.test", "refused-x.test", "a.nowhere")
    lines = alpha.send(epp.domain.check(*names)).data
    assert [lines[name].available for name in names] == [False, True, False, False]
    assert lines["engines.test"].reason == "In use"
    assert lines["free.test"].reason is None


def test_names_are_compared_in_lower_case(alpha: Registrar) -> None:
    alpha.domain("Engines.TEST")
    assert alpha.send(epp.domain.info("ENGINES.test")).data.name == "engines.test"


def test_the_longest_zone_counts(alpha: Registrar) -> None:
    alpha.domain("engines.co.test")
    assert (
        alpha.refused(epp.domain.create(registration("a.engines.co.test")))[1]
        == "a.engines.co.test is not directly below .co.test"
    )


def test_hosts_in_use_stay(alpha: Registrar) -> None:
    alpha.contact()
    alpha.host()
    alpha.domain("engines.test", 1, "ns1.elsewhere.net")
    assert alpha.send(epp.host.info("ns1.elsewhere.net")).data.statuses == ("linked", "ok")
    assert alpha.refused(epp.host.delete("ns1.elsewhere.net")) == (
        2305,
        "host ns1.elsewhere.net is in use by engines.test",
    )
    alpha.send(epp.domain.delete("engines.test"))
    assert alpha.send(epp.host.delete("ns1.elsewhere.net")).code == 1000


def test_subordinate_hosts_go_before_their_domain(alpha: Registrar) -> None:
    alpha.domain()
    alpha.send(epp.host.create(Host("ns1.engines.test", GLUE)))
    assert alpha.send(epp.domain.info("engines.test")).data.subordinate_hosts == ("ns1.engines.test",)
    assert alpha.refused(epp.domain.delete("engines.test")) == (
        2305,
        "engines.test has subordinate hosts ns1.engines.test",
    )
    alpha.send(epp.host.delete("ns1.engines.test"))
    assert alpha.send(epp.domain.delete("engines.test")).code == 1000


def test_domains_follow_a_host_that_is_renamed(alpha: Registrar) -> None:
    alpha.contact()
    alpha.host()
    alpha.domain("engines.test", 1, "ns1.elsewhere.net")
    alpha.send(epp.host.update(HostUpdate("ns1.elsewhere.net", new_name="ns9.elsewhere.net")))
    assert alpha.send(epp.domain.info("engines.test")).data.host_objects == ("ns9.elsewhere.net",)


def test_a_domain_has_a_limit_of_name_servers(lab: Lab) -> None:
    alpha = lab.registrar(lab.registry(Policy(max_name_servers=2)))
    hosts = [alpha.host(f"ns{number}.elsewhere.net") for number in range(3)]
    alpha.contact()
    assert alpha.refused(epp.domain.create(registration("a.test", 1, *hosts)))[0] == 2306
    assert alpha.send(epp.domain.create(registration("a.test", 1, *hosts[:2]))).code == 1000


# Time


@pytest.mark.parametrize(
    ("start", "years", "end"),
    [
        ("2024-02-29", 1, "2025-02-28"),
        ("2024-02-29", 4, "2028-02-29"),
        ("2023-02-28", 1, "2024-02-28"),
        ("2024-12-31", 10, "2034-12-31"),
    ],
)
def test_years_are_added_to_any_day(start: str, years: int, end: str) -> None:
    assert plus_years(datetime.fromisoformat(start), years) == datetime.fromisoformat(end)


def test_after_the_add_grace_period_a_deleted_name_can_be_redeemed(
    alpha: Registrar, registry: RegistrySimulator
) -> None:
    alpha.domain()
    registry.advance(days(6))
    alpha.send(epp.domain.delete("engines.test"))
    deleted = alpha.send(epp.domain.info("engines.test")).data
    assert (deleted.statuses, deleted.rgp_statuses) == (("inactive", "pendingDelete"), ("redemptionPeriod",))
    assert alpha.refused(epp.domain.delete("engines.test"))[0] == 2304
    assert alpha.send(epp.domain.restore("engines.test")).code == 1000
    restored = alpha.send(epp.domain.info("engines.test")).data
    assert (restored.statuses, restored.rgp_statuses) == (("inactive",), ())


def test_a_restore_may_wait_for_a_report(lab: Lab, clock: Clock) -> None:
    registry = lab.registry(Policy(restore_report=True), clock=clock)
    alpha = lab.registrar(registry)
    alpha.domain()
    registry.advance(days(6))
    alpha.send(epp.domain.delete("engines.test"))
    alpha.send(epp.domain.restore("engines.test"))
    assert alpha.send(epp.domain.info("engines.test")).data.rgp_statuses == ("pendingRestore",)
    registry.advance(days(8))
    assert alpha.send(epp.domain.info("engines.test")).data.rgp_statuses == ("redemptionPeriod",)
    alpha.send(epp.domain.restore("engines.test"))
    assert alpha.send(epp.domain.report_restore("engines.test", REPORT)).code == 1000
    assert alpha.send(epp.domain.info("engines.test")).data.rgp_statuses == ()


def test_a_name_nobody_redeems_is_purged_and_free(alpha: Registrar, registry: RegistrySimulator) -> None:
    alpha.domain()
    registry.advance(days(6))
    alpha.send(epp.domain.delete("engines.test"))
    registry.advance(days(31))
    assert alpha.send(epp.domain.info("engines.test")).data.rgp_statuses == ("pendingDelete",)
    assert alpha.refused(epp.domain.restore("engines.test"))[0] == 2304
    registry.advance(days(4.5))
    assert [message.text for message in alpha.messages()] == ["engines.test was purged."]
    assert alpha.domain() == "engines.test"


def test_a_leap_over_all_periods_purges_as_well(alpha: Registrar, registry: RegistrySimulator) -> None:
    alpha.domain()
    registry.advance(days(6))
    alpha.send(epp.domain.delete("engines.test"))
    registry.advance(days(36))
    assert registry.objects("domain") == {}


def test_an_expired_domain_renews_itself_and_says_so(alpha: Registrar, registry: RegistrySimulator) -> None:
    alpha.domain()
    registry.advance(days(366))
    found = alpha.send(epp.domain.info("engines.test")).data
    assert (found.expires_at, found.rgp_statuses) == (datetime(2026, 2, 28, 12, tzinfo=UTC), ("autoRenewPeriod",))
    (message,) = alpha.messages()
    assert message.text == "engines.test was renewed automatically."
    assert isinstance(message.data, epp.domain.DomainInfo)
    assert message.data.expires_at == found.expires_at


# Transfers


def test_a_transfer_that_is_approved_moves_the_domain_and_its_hosts(alpha: Registrar, beta: Registrar) -> None:
    alpha.domain()
    alpha.send(epp.host.create(Host("ns1.engines.test", GLUE)))
    beta.send(epp.domain.transfer(epp.TransferOp.REQUEST, "engines.test", AUTH_INFO, 2))
    assert alpha.send(epp.domain.info("engines.test")).data.statuses == ("inactive", "pendingTransfer")
    assert beta.refused(epp.domain.transfer(epp.TransferOp.REQUEST, "engines.test", AUTH_INFO))[0] == 2300
    assert alpha.refused(epp.domain.delete("engines.test"))[0] == 2304
    assert beta.refused(epp.domain.transfer(epp.TransferOp.APPROVE, "engines.test"))[0] == 2201
    done = alpha.send(epp.domain.transfer(epp.TransferOp.APPROVE, "engines.test")).data
    assert (done.status, done.expires_at) == ("clientApproved", datetime(2027, 2, 28, 12, tzinfo=UTC))
    moved = beta.send(epp.domain.info("engines.test")).data
    assert (moved.trail.sponsor, moved.trail.transferred_at, moved.rgp_statuses) == ("beta", START, ("transferPeriod",))
    assert beta.send(epp.host.info("ns1.engines.test")).data.trail.sponsor == "beta"
    assert [message.text for message in beta.messages()] == ["Transfer of engines.test: clientApproved."]
    for party in (alpha, beta):
        assert party.send(epp.domain.transfer(epp.TransferOp.QUERY, "engines.test")).data.status == "clientApproved"


@pytest.mark.parametrize(("op", "status"), [("reject", "clientRejected"), ("cancel", "clientCancelled")])
def test_a_transfer_can_come_to_nothing(alpha: Registrar, beta: Registrar, op: str, status: str) -> None:
    alpha.domain()
    beta.send(epp.domain.transfer(epp.TransferOp.REQUEST, "engines.test", AUTH_INFO))
    alpha.messages()
    actor, told, other = (alpha, beta, beta) if op == "reject" else (beta, alpha, alpha)
    assert other.refused(epp.domain.transfer(epp.TransferOp(op), "engines.test"))[0] == 2201
    assert actor.send(epp.domain.transfer(epp.TransferOp(op), "engines.test")).data.status == status
    (message,) = told.messages()
    assert isinstance(message.data, epp.Transfer)
    assert message.data.status == status
    kept = alpha.send(epp.domain.info("engines.test")).data
    assert (kept.trail.sponsor, kept.statuses) == ("alpha", ("inactive",))


def test_a_transfer_nobody_answers_is_approved_by_the_registry(
    alpha: Registrar, beta: Registrar, registry: RegistrySimulator
) -> None:
    alpha.domain()
    beta.send(epp.domain.transfer(epp.TransferOp.REQUEST, "engines.test", AUTH_INFO))
    registry.advance(days(5))
    assert beta.send(epp.domain.info("engines.test")).data.trail.sponsor == "beta"
    assert [message.text for message in beta.messages()] == ["Transfer of engines.test approved by the registry."]


def test_a_transfer_may_be_done_at_once(lab: Lab) -> None:
    registry = lab.registry(Policy(transfer_at_once=True))
    alpha, beta = lab.registrar(registry), lab.registrar(registry, "beta")
    alpha.domain()
    result = beta.send(epp.domain.transfer(epp.TransferOp.REQUEST, "engines.test", AUTH_INFO))
    assert (result.code, result.data.status) == (1000, "serverApproved")


def test_a_locked_domain_is_not_transferred(alpha: Registrar, beta: Registrar) -> None:
    alpha.domain()
    alpha.send(epp.domain.update(DomainUpdate("engines.test", Part(statuses=("clientTransferProhibited",)))))
    assert beta.refused(epp.domain.transfer(epp.TransferOp.REQUEST, "engines.test", AUTH_INFO))[0] == 2304
    assert beta.refused(epp.domain.transfer(epp.TransferOp.REQUEST, "engines.test", "guess-1"))[0] == 2202


def test_a_contact_is_transferred(alpha: Registrar, beta: Registrar) -> None:
    alpha.contact()
    asked = beta.send(epp.contact.transfer(epp.TransferOp.REQUEST, "ADA-1", AUTH_INFO)).data
    assert (asked.object, asked.status, asked.expires_at) == ("contact", "pending", None)
    alpha.send(epp.contact.transfer(epp.TransferOp.APPROVE, "ADA-1"))
    assert beta.send(epp.contact.info("ADA-1")).data.trail.sponsor == "beta"


# Faults


def test_faults_hit_what_they_match_and_as_often_as_they_should(alpha: Registrar, registry: RegistrySimulator) -> None:
    registry.faults.add("fail", verb="create", object="contact", name="BAD-*", registrar="alpha", times=2)
    registry.faults.add(FaultKind.FAIL, registrar="beta", times=None)
    alpha.contact()
    for handle in ("BAD-1", "BAD-2"):
        with pytest.raises(epp.EppUnavailable):
            alpha.contact(handle)
    assert alpha.contact("BAD-3")
    assert [fault.registrar for fault in registry.faults.active()] == ["beta"]


def test_a_fault_can_refuse_with_any_code(alpha: Registrar, registry: RegistrySimulator) -> None:
    registry.faults.add(FaultKind.FAIL, verb="create", code=2104, reason="no credit")
    assert alpha.refused(epp.host.create(Host("ns1.a.net"))) == (2104, "no credit")
    assert registry.objects("host") == {}


@pytest.mark.parametrize("fault", [{"kind": "explode"}, {"kind": "fail", "code": 1999}, {"kind": "cut", "times": 0}])
def test_impossible_faults_are_refused(registry: RegistrySimulator, fault: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"explode|1999|times"):
        registry.faults.add(**fault)


def test_a_held_command_is_executed_when_it_is_released(alpha: Registrar, registry: RegistrySimulator) -> None:
    held = registry.faults.add(FaultKind.HOLD, verb="create")
    with ThreadPoolExecutor(1) as threads:
        making = threads.submit(alpha.contact)
        assert held.reached.wait(10)
        assert registry.objects("contact") == {}
        held.release()
        assert making.result(10) == "ADA-1"


def test_a_held_answer_comes_by_itself_after_its_time(alpha: Registrar, registry: RegistrySimulator) -> None:
    held = registry.faults.add(FaultKind.HOLD_ANSWER, verb="create", seconds=0.05)
    assert alpha.contact() == "ADA-1"
    assert held.reached.is_set()


def test_clearing_faults_releases_what_they_hold(alpha: Registrar, registry: RegistrySimulator) -> None:
    held = registry.faults.add(FaultKind.HOLD, times=None)
    with ThreadPoolExecutor(1) as threads:
        making = threads.submit(alpha.contact)
        assert held.reached.wait(10)
        registry.faults.clear()
        assert making.result(10) == "ADA-1"


def test_a_pending_create_reserves_the_name_and_can_be_turned_down(
    alpha: Registrar, registry: RegistrySimulator
) -> None:
    alpha.contact()
    registry.faults.add(FaultKind.PENDING, verb="create", object="domain")
    assert alpha.send(epp.domain.create(registration("engines.test"))).code == 1001
    assert alpha.send(epp.domain.info("engines.test")).data.statuses == ("inactive", "pendingCreate")
    assert alpha.refused(epp.domain.create(registration("engines.test")))[0] == 2302
    assert registry.settle("domain", "engines.test", done=False, reason="bad taste") is False
    (message,) = alpha.messages()
    assert isinstance(message.data, epp.poll.PendingAction)
    assert message.data.done is False
    assert "bad taste" in message.text
    assert registry.objects("domain") == {}
    with pytest.raises(KeyError, match=r"pending command on domain engines\.test"):
        registry.settle("domain", "engines.test")


@pytest.mark.parametrize("done", [True, False])
def test_a_pending_delete_is_carried_out_when_it_is_settled(
    alpha: Registrar, registry: RegistrySimulator, done: bool
) -> None:
    alpha.domain()
    registry.faults.add(FaultKind.PENDING, verb="delete")
    assert alpha.send(epp.domain.delete("engines.test")).outcome is epp.Outcome.PENDING
    assert alpha.send(epp.domain.info("engines.test")).data.statuses == ("inactive", "pendingDelete")
    registry.settle("domain", "engines.test", done)
    assert ("engines.test" not in registry.objects("domain")) is done


def test_a_pending_action_may_fail_in_the_end(alpha: Registrar, registry: RegistrySimulator) -> None:
    alpha.contact()
    registry.faults.add(FaultKind.PENDING, verb="delete")
    alpha.send(epp.contact.delete("ADA-1"))
    alpha.send(epp.domain.create(registration("engines.test")))
    assert registry.settle("contact", "ADA-1") is False
    assert "in use by engines.test" in alpha.messages()[0].text


def test_what_is_still_pending_cannot_be_used(alpha: Registrar, registry: RegistrySimulator) -> None:
    registry.faults.add(FaultKind.PENDING, verb="create", object="contact")
    alpha.contact()
    assert alpha.refused(epp.domain.create(registration("engines.test"))) == (2304, "ADA-1 has status pendingCreate")


def test_the_ledger_proves_that_a_thing_was_made_once(alpha: Registrar, registry: RegistrySimulator) -> None:
    registry.faults.add(FaultKind.CUT, verb="create", object="host")
    registry.faults.add(FaultKind.LOSE_ANSWER, verb="create", object="host")
    for trid in ("try-1", "try-2"):
        with pytest.raises(epp.EppUncertain):
            alpha.send(epp.host.create(Host("ns1.a.net")), trid)
    with pytest.raises(epp.EppObjectExists):
        alpha.send(epp.host.create(Host("ns1.a.net")), "try-3")
    entries = registry.ledger.entries(verb="create", object="host", name="ns1.a.net")
    assert [(entry.cl_trid, entry.code, entry.fault, entry.executed) for entry in entries] == [
        ("try-1", None, "cut", False),
        ("try-2", 1000, "lose_answer", True),
        ("try-3", 2302, None, False),
    ]
    assert registry.ledger.executed("create", "host", "ns1.a.net") == 1
    assert [entry.at for entry in entries] == [START] * 3


# The control line


@pytest.fixture
def control(registry: RegistrySimulator) -> Iterator[Control]:
    server = ControlServer(registry)
    server.start()
    yield Control(server.url)
    server.stop()


def test_another_process_can_steer_faults(control: Control, alpha: Registrar) -> None:
    fault = control.add_fault("hold_answer", verb="create", object="contact")
    assert control.wait_reached(fault, 0) is False
    with ThreadPoolExecutor(1) as threads:
        making = threads.submit(alpha.contact)
        assert control.wait_reached(fault, 10)
        assert list(control.objects("contact")) == ["ADA-1"]
        control.release(fault)
        assert making.result(10) == "ADA-1"
    control.add_fault("fail", times=None)
    control.clear_faults()
    assert alpha.send(epp.domain.check("a.test")).code == 1000


def test_another_process_can_read_and_settle(control: Control, alpha: Registrar) -> None:
    alpha.contact()
    control.add_fault("pending", verb="create", object="domain")
    alpha.send(epp.domain.create(registration("engines.test")), "order-1")
    assert control.objects("domain")["engines.test"]["statuses"] == ["pendingCreate"]
    assert control.settle("domain", "engines.test") is True
    (entry,) = control.ledger(verb="create", object="domain", executed="true")
    assert (entry["name"], entry["cl_trid"], entry["code"], entry["executed"]) == (
        "engines.test",
        "order-1",
        1001,
        True,
    )
    control.advance(days=366)
    assert control.objects("domain")["engines.test"]["expires_at"] == "2026-02-28T12:00:00.000Z"
    assert AUTH_INFO not in json.dumps(control.objects("domain"))
    control.drop_connections()
    assert len(alpha.messages()) == 2


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda control: control.objects("zone"), "there is no zone"),
        (lambda control: control.release(99), "there is no fault 99"),
        (lambda control: control.settle("domain", "a.test"), "there is no pending command on domain a.test"),
        (lambda control: control.add_fault("explode"), "explode"),
        (lambda control: control.add_fault("cut", colour="red"), "colour"),
        (lambda control: control.add_fault("cut", times="often"), "not supported"),
        (lambda control: control.ledger(colour="red"), "the ledger has no colour"),
        (lambda control: control._ask("POST", "/nowhere"), "there is no POST /nowhere"),
    ],
)
def test_mistakes_on_the_control_line_are_explained(
    control: Control, ask: Callable[[Control], object], message: str
) -> None:
    with pytest.raises(ControlError, match=message):
        ask(control)


def test_the_control_line_explains_itself_and_refuses_what_is_not_json(control: Control) -> None:
    assert "/faults/ID/release" in control._ask("GET", "/")["help"]
    for body, status in ((b"{", 400), (b" " * 70_000, 413)):
        request = urllib.request.Request(f"{control._url}/faults", data=body, method="POST")
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(request, timeout=10)
        assert error.value.code == status
        error.value.close()


# Starting and stopping


def test_a_taken_port_is_an_error_at_start(certificates: Certificates) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = RegistrySimulator(REGISTRARS, port=listener.getsockname()[1], certificates=certificates)
        with pytest.raises(OSError, match="address already in use"):
            taken.start()


def test_a_simulator_makes_certificates_of_its_own() -> None:
    with RegistrySimulator({"alpha": "secret"}) as registry:
        tls = epp.tls_context(registry.ca_file)
        with epp.Client(epp.Settings("localhost", "alpha", "secret", tls, registry.port)) as client:
            assert client.hello().server == "Registry simulator"
    assert not registry.ca_file.exists()


def test_stopping_ends_held_commands_and_connections(lab: Lab, certificates: Certificates) -> None:
    registry = RegistrySimulator(REGISTRARS, certificates=certificates).start()
    held = registry.faults.add(FaultKind.HOLD, verb="check")
    client = lab.client(registry.port)
    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(client.send, epp.domain.check("a.test"), "abc-1")
        assert held.reached.wait(10)
        registry.stop()
        assert isinstance(asking.exception(10), epp.EppUncertain | None)


@contextmanager
def _process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    command = [sys.executable, "-m", "provision_worker.simulator", "--port", "0", "--control-port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def test_the_simulator_runs_as_a_process(tmp_path: Path) -> None:
    arguments = ("--zone", "zone", "--registrar", "us:our-secret", "--directory", str(tmp_path))
    with _process(*arguments) as (process, about):
        settings = epp.Settings(about["host"], "us", "our-secret", epp.tls_context(about["ca_file"]), about["port"])
        with epp.Client(settings) as client:
            assert client.send(epp.domain.check("a.zone"), "abc-1").data["a.zone"].available
        assert [entry["verb"] for entry in Control(about["control"]).ledger()] == ["login", "check", "logout"]
        assert about["ca_file"] == str(tmp_path / "ca.pem")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


@pytest.mark.parametrize("option", ["--port", "--control-port"])
def test_a_process_that_cannot_listen_says_so(option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        other = {"--port": "--control-port", "--control-port": "--port"}[option]
        port = str(listener.getsockname()[1])
        result = CliRunner().invoke(simulator_command, ["registry", option, port, other, "0"])
    assert result.exit_code == 1
    assert "cannot listen" in result.output
    assert "Traceback" not in result.output


def test_a_registrar_without_a_password_is_a_usage_error() -> None:
    result = CliRunner().invoke(simulator_command, ["registry", "--registrar", "alpha"])
    assert result.exit_code == 2
    assert "'alpha' is not ID:PASSWORD" in result.output

"""The EPP client: framing, XML, sessions, and above all what it knows when something goes wrong."""

import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta, timezone
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from provision_worker.providers import epp
from provision_worker.providers.epp import framing, protocol, xml
from provision_worker.providers.epp.connection import Connection
from provision_worker.providers.epp.contact import ContactDetails, ContactUpdate, Disclose, PostalInfo
from provision_worker.providers.epp.domain import (
    DomainContact,
    DomainUpdate,
    DsRecord,
    Part,
    Registration,
    RestoreReport,
)
from provision_worker.providers.epp.host import Host, HostUpdate
from provision_worker.providers.epp.pool import RateLimit
from provision_worker.simulator import Certificates, FaultKind, Policy, RegistrySimulator
from provision_worker.simulator.certificates import generate
from provision_worker.simulator.schema import validate

from . import epp_fixtures
from .epp_fixtures import (
    AUTH_INFO,
    GREETING,
    POSTAL,
    SECRET,
    START,
    Lab,
    Line,
    Registrar,
    answer,
    greet_and_let_in,
    registration,
    scripted_server,
)

certificates = epp_fixtures.certificates
lab = epp_fixtures.lab
clock = epp_fixtures.clock
registry = epp_fixtures.registry
alpha = epp_fixtures.alpha
beta = epp_fixtures.beta

CHECK = epp.domain.check("engines.test")


# Framing


@given(st.binary(min_size=1, max_size=300))
def test_a_frame_announces_its_own_length(payload: bytes) -> None:
    frame = framing.encode(payload)
    assert framing.payload_length(frame[:4]) == len(payload)
    assert frame[4:] == payload


@given(st.integers(0, 2**32 - 1), st.integers(100, 10_000))
def test_lengths_outside_the_limit_are_refused(total: int, limit: int) -> None:
    header = total.to_bytes(4, "big")
    if 4 < total <= limit:
        assert framing.payload_length(header, limit) == total - 4
    else:
        with pytest.raises(framing.FrameError, match=f"a frame of {total} bytes"):
            framing.payload_length(header, limit)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=4),
    st.sets(st.integers(1, 250), max_size=12),
)
def test_frames_arrive_whole_however_the_network_cuts_them(
    certificates: Certificates, payloads: list[bytes], cuts: set[int]
) -> None:
    stream = b"".join(map(framing.encode, payloads))
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]

    def send_in_pieces(line: Line) -> None:
        for start, end in pairwise(edges):
            line.socket.sendall(stream[start:end])
        line.gone()

    with scripted_server(certificates, send_in_pieces) as port:
        connection = Connection.open("127.0.0.1", port, epp.tls_context(certificates.ca_file), 5, 1000)
        try:
            assert [connection.receive(5) for _ in payloads] == payloads
        finally:
            connection.close()


@pytest.mark.parametrize("header", [b"\x00\x00\x00\x04", b"\x00\x00\x00\x00", b"\xff\xff\xff\xff"])
def test_an_impossible_length_ends_the_session_before_anything_is_read(lab: Lab, header: bytes) -> None:
    def script(line: Line) -> None:
        greet_and_let_in(line)
        line.receive()
        line.socket.sendall(header)
        line.gone()

    client = lab.client(lab.scripted(script))
    with pytest.raises(epp.EppUncertain, match="a frame of"):
        client.send(CHECK, "abc-1")


def test_an_answer_that_trickles_in_is_given_up_in_time(lab: Lab) -> None:
    given_up = threading.Event()

    def script(line: Line) -> None:
        greet_and_let_in(line)
        line.receive()
        line.socket.sendall(b"\x00\x00\x40\x00")
        while not given_up.wait(0.02):
            line.socket.sendall(b" ")

    client = lab.client(lab.scripted(script), command_timeout=0.5)
    with pytest.raises(epp.EppUncertain, match=r"not complete in time|timed out"):
        client.send(CHECK, "abc-1")
    given_up.set()


# XML from outside

BOMB = (
    b'<?xml version="1.0"?>\n<!-- harmless -->\n<!DOCTYPE epp [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]>'
    b'<epp xmlns="urn:ietf:params:xml:ns:epp-1.0">&b;</epp>'
)


@pytest.mark.parametrize(
    "payload",
    [
        BOMB,
        b"\xef\xbb\xbf<!DOCTYPE epp SYSTEM 'file:///etc/passwd'><epp/>",
        b"<?xml version='1.0'?><?pi x?><!DOCTYPE epp [<!ENTITY x SYSTEM 'file:///etc/hostname'>]><epp>&x;</epp>",
    ],
)
def test_a_document_type_declaration_is_refused(payload: bytes) -> None:
    with pytest.raises(xml.XmlError, match="document type declaration"):
        xml.parse(payload)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(
            "<?xml version='1.0' encoding='UTF-16'?><!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>".encode("utf-16"),
            id="utf-16",
        ),
        pytest.param(b"<a>&undeclared;</a>", id="undeclared entity"),
        pytest.param(b"<a>" * 5000 + b"</a>" * 5000, id="deep"),
        pytest.param(b"<a><b></a>", id="crossed"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\xfe\x00", id="bytes"),
        pytest.param(b"<a>\xe9</a>", id="latin-1"),
    ],
)
def test_what_is_not_well_formed_utf8_is_refused(payload: bytes) -> None:
    with pytest.raises(xml.XmlError):
        xml.parse(payload)


def test_a_text_that_only_mentions_a_declaration_is_read() -> None:
    assert xml.parse(b"<a><![CDATA[<!DOCTYPE html>]]></a>").text == "<!DOCTYPE html>"


def test_an_entity_bomb_for_an_answer_leaves_the_effect_uncertain(lab: Lab) -> None:
    def script(line: Line) -> None:
        greet_and_let_in(line)
        line.receive()
        line.send(BOMB)
        line.gone()

    client = lab.client(lab.scripted(script))
    with pytest.raises(epp.EppUncertain, match="document type declaration"):
        client.send(CHECK, "abc-1")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-02-29T12:00:00.0Z", START),
        ("2024-02-29T14:00:00+02:00", START),
        ("2024-02-29T12:00:00", START),
        ("2024-02-29", datetime(2024, 2, 29, tzinfo=UTC)),
        ("2023-02-29T12:00:00Z", None),
        ("soon", None),
        ("", None),
    ],
)
def test_odd_dates_wedge_nothing(text: str, moment: datetime | None) -> None:
    assert xml.moment(xml.node("epp:greeting", xml.node("epp:svDate", text)), "epp:svDate") == moment


def test_a_current_expiry_is_a_date_in_utc() -> None:
    late = datetime(2024, 3, 1, 0, 30, tzinfo=timezone(timedelta(hours=2)))
    assert xml.day(late) == "2024-02-29"
    assert xml.day(date(2024, 2, 29)) == "2024-02-29"


def test_text_that_xml_cannot_carry_never_leaves_the_house() -> None:
    with pytest.raises(ValueError, match="XML compatible"):
        epp.domain.info("nul\x00.test")


# Secrets

WORD = st.text(st.characters(codec="ascii", min_codepoint=33), min_size=4)


@given(WORD, st.sampled_from(["epp:pw", "epp:newPW", "domain:authInfo", "contact:pw", "secDNS:pw"]), st.booleans())
def test_redaction_leaves_no_secret(secret: str, name: str, nested: bool) -> None:
    secret = f"geheim{secret}"
    holder = xml.node(name, xml.node("domain:ext", secret) if nested else secret)
    shown = xml.redact(
        xml.serialise(xml.node("epp:epp", xml.node("epp:clID", "alpha"), holder, xml.node("epp:lang", "en")))
    )
    assert "geheim" not in shown
    assert xml.MASK in shown
    assert "alpha" in shown
    assert "en" in shown


@pytest.mark.parametrize("payload", [b"<pw>hidden", b"<epp><pw>hidden</pw></ep>", BOMB.replace(b"harmless", b"hidden")])
def test_redaction_shows_nothing_of_what_it_cannot_read(payload: bytes) -> None:
    assert xml.redact(payload) == f"<{len(payload)} bytes that are not well-formed XML>"


def test_neither_log_nor_repr_nor_error_has_a_secret(
    lab: Lab, registry: RegistrySimulator, alpha: Registrar, monkeypatch: pytest.MonkeyPatch
) -> None:
    with structlog.testing.capture_logs() as entries:
        speaker = lab.registrar(registry, log_frames=True)
        speaker.domain()
        info = speaker.send(epp.domain.info("engines.test")).data
        refusal = speaker.refused(epp.domain.create(Registration("other.test", "ADA-1", "sp aces are not allowed")))
        speaker.send(epp.domain.update(DomainUpdate("engines.test", auth_info="Brand-new-secret")))
    told = " ".join(map(str, [entries, info, refusal, lab.settings(1), registration("a.test"), speaker.client]))
    assert info.auth_info == AUTH_INFO
    assert [entry["event"] for entry in entries].count("epp.sent") > 4
    for secret in (
        SECRET,
        xml.serialise(xml.node("epp:pw", SECRET)).decode(),
        AUTH_INFO,
        "Brand-new-secret",
        "sp aces",
    ):
        assert secret not in told


def test_frames_are_logged_only_on_request(alpha: Registrar) -> None:
    with structlog.testing.capture_logs() as entries:
        alpha.contact()
    assert {entry["event"] for entry in entries} == {"epp.login", "epp.command"}
    assert "Lovelace" not in str(entries)
    assert entries[-1]["command"] == "create contact ADA-1"
    assert entries[-1]["code"] == 1000


def test_the_reason_of_a_refusal_is_kept_without_the_secret_in_it(lab: Lab) -> None:
    value = (
        '<value><d:pw xmlns:d="urn:ietf:params:xml:ns:domain-1.0">hidden-pw</d:pw></value>'
        "<extValue><value><undef/></value><reason>too\n  short</reason></extValue>"
    )

    def script(line: Line) -> None:
        greet_and_let_in(line)
        line.receive()
        line.send(answer(2306, "abc-1", value=value))
        line.gone()

    client = lab.client(lab.scripted(script))
    with pytest.raises(epp.EppRefused) as error:
        client.send(CHECK, "abc-1")
    assert error.value.result.reasons == ("***", "too short")
    assert str(error.value) == (
        "the registry refused check domain engines.test: 2306 Said by the script (***; too short)"
    )


# Result codes


@pytest.mark.parametrize(
    ("code", "verb", "outcome"),
    [
        (1000, None, "done"),
        (1001, epp.Verb.CREATE, "pending"),
        (1300, epp.Verb.POLL, "done"),
        (1301, epp.Verb.POLL, "done"),
        (1500, epp.Verb.LOGOUT, "done"),
        (2001, None, "refused"),
        (2302, epp.Verb.CREATE, "refused"),
        (2303, epp.Verb.INFO, "refused"),
        (2303, epp.Verb.DELETE, "done"),
        (2308, None, "refused"),
        (2400, None, "retry"),
        (2500, None, "retry"),
        (2502, None, "retry"),
    ],
)
def test_result_codes_have_one_policy(code: int, verb: epp.Verb | None, outcome: str) -> None:
    assert epp.classify(code, verb) == outcome


@given(st.integers().filter(lambda code: not 1000 <= code < 2600))
def test_other_numbers_are_no_result_codes(code: int) -> None:
    with pytest.raises(ValueError, match="not an EPP result code"):
        epp.classify(code)


# Commands

COMMANDS: list[epp.Command[Any]] = [
    epp.contact.check("ADA-1", "ADA-2"),
    epp.contact.info("ADA-1", AUTH_INFO),
    epp.contact.create(
        ContactDetails(
            "ADA-1",
            "ada@engines.example",
            POSTAL,
            PostalInfo("Zoë", "Łódź", "PL"),
            "+44.2079300000x7",
            "+44.2079300001",
            AUTH_INFO,
            Disclose(False, ("name/int", "org/loc", "addr/int", "voice", "email")),
        )
    ),
    epp.contact.update(
        ContactUpdate("ADA-1", ("clientDeleteProhibited",), ("clientUpdateProhibited",), POSTAL, email="a@b.example")
    ),
    epp.contact.delete("ADA-1"),
    epp.contact.transfer(epp.TransferOp.REQUEST, "ADA-1", AUTH_INFO),
    epp.host.check("ns1.engines.test"),
    epp.host.info("ns1.engines.test"),
    epp.host.create(Host("ns1.engines.test", (ip_address("192.0.2.1"), ip_address("2001:db8::1")))),
    epp.host.update(
        HostUpdate(
            "ns1.engines.test",
            (ip_address("192.0.2.2"),),
            ("clientDeleteProhibited",),
            (ip_address("192.0.2.1"),),
            (),
            "ns2.engines.test",
        )
    ),
    epp.host.delete("ns1.engines.test"),
    epp.domain.check("engines.test", "engines.example"),
    epp.domain.info("engines.test", AUTH_INFO),
    epp.domain.create(registration("engines.test", 2, "ns1.a.net", ds_records=(DsRecord(12345, 13, 2, "AB12"),))),
    epp.domain.create(
        Registration(
            "engines.test", None, AUTH_INFO, host_attributes=(Host("ns1.engines.test", (ip_address("192.0.2.1"),)),)
        )
    ),
    epp.domain.renew("engines.test", date(2025, 2, 28), 3),
    epp.domain.update(
        DomainUpdate(
            "engines.test",
            Part(("ns3.a.net",), (), (DomainContact("admin", "ADA-2"),), ("clientHold",), (DsRecord(1, 13, 2, "AB"),)),
            Part(
                ("ns1.a.net",),
                (),
                (DomainContact("tech", "ADA-1"),),
                ("clientRenewProhibited",),
                (DsRecord(2, 13, 2, "CD"),),
            ),
            "ADA-2",
            "Another-1",
        )
    ),
    epp.domain.delete("engines.test"),
    epp.domain.transfer(epp.TransferOp.REQUEST, "engines.test", AUTH_INFO, 1),
    epp.domain.transfer(epp.TransferOp.APPROVE, "engines.test"),
    epp.domain.restore("engines.test"),
    epp.domain.report_restore(
        "engines.test", RestoreReport("before", "after", START, START, "a mistake", ("one", "two"))
    ),
    epp.poll.request(),
    epp.poll.acknowledge("7"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_commands_have_the_shape_of_the_schemas(command: epp.Command[Any]) -> None:
    frame = protocol.command_frame(command.body, command.extensions, "abc-1")
    validate(xml.parse(xml.serialise(frame)))


def test_a_command_makes_a_frame_of_its_own_each_time() -> None:
    command = epp.domain.restore("engines.test")
    first, second = (protocol.command_frame(command.body, command.extensions, "abc-1") for _ in range(2))
    assert xml.serialise(first) == xml.serialise(second)


def test_a_contact_is_created_as_rfc_5733_shows_it() -> None:
    details = ContactDetails(
        "sh8013",
        "jdoe@example.com",
        PostalInfo("John Doe", "Dulles", "US", ("123 Example Dr.", "Suite 100"), "Example Inc.", "VA", "20166-6503"),
        voice="+1.7035555555x1234",
        fax="+1.7035555556",
        auth_info="2fooBAR",
        disclose=Disclose(False, ("voice", "email")),
    )
    assert _written(epp.contact.create(details)) == (
        '<epp xmlns="urn:ietf:params:xml:ns:epp-1.0"><command><create>'
        '<contact:create xmlns:contact="urn:ietf:params:xml:ns:contact-1.0"><contact:id>sh8013</contact:id>'
        '<contact:postalInfo type="int"><contact:name>John Doe</contact:name><contact:org>Example Inc.</contact:org>'
        "<contact:addr><contact:street>123 Example Dr.</contact:street><contact:street>Suite 100</contact:street>"
        "<contact:city>Dulles</contact:city><contact:sp>VA</contact:sp><contact:pc>20166-6503</contact:pc>"
        "<contact:cc>US</contact:cc></contact:addr></contact:postalInfo>"
        '<contact:voice x="1234">+1.7035555555</contact:voice><contact:fax>+1.7035555556</contact:fax>'
        "<contact:email>jdoe@example.com</contact:email>"
        "<contact:authInfo><contact:pw>2fooBAR</contact:pw></contact:authInfo>"
        '<contact:disclose flag="0"><contact:voice/><contact:email/></contact:disclose>'
        "</contact:create></create><clTRID>ABC-12345</clTRID></command></epp>"
    )


def test_a_domain_is_created_as_rfc_5731_shows_it() -> None:
    wanted = Registration(
        "example.com",
        "jd1234",
        "2fooBAR",
        2,
        (DomainContact("admin", "sh8013"), DomainContact("tech", "sh8013")),
        ("ns1.example.net", "ns2.example.net"),
    )
    assert _written(epp.domain.create(wanted)) == (
        '<epp xmlns="urn:ietf:params:xml:ns:epp-1.0"><command><create>'
        '<domain:create xmlns:domain="urn:ietf:params:xml:ns:domain-1.0"><domain:name>example.com</domain:name>'
        '<domain:period unit="y">2</domain:period><domain:ns><domain:hostObj>ns1.example.net</domain:hostObj>'
        "<domain:hostObj>ns2.example.net</domain:hostObj></domain:ns><domain:registrant>jd1234</domain:registrant>"
        '<domain:contact type="admin">sh8013</domain:contact><domain:contact type="tech">sh8013</domain:contact>'
        "<domain:authInfo><domain:pw>2fooBAR</domain:pw></domain:authInfo></domain:create></create>"
        "<clTRID>ABC-12345</clTRID></command></epp>"
    )


def _written(command: epp.Command[Any]) -> str:
    frame = xml.serialise(protocol.command_frame(command.body, command.extensions, "ABC-12345")).decode()
    return frame.partition("?>")[2].strip()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ContactDetails("ADA-1", "a@b.example"), "neither international nor local"),
        (
            lambda: epp.contact.create(ContactDetails("ADA-1", "a@b.example", PostalInfo("A", "B", "GBR"))),
            "two letters",
        ),
        (
            lambda: epp.contact.create(ContactDetails("ADA-1", "a@b.example", PostalInfo("A", "B", "GB", ("1",) * 4))),
            "3 street lines",
        ),
        (lambda: Registration("a.test", None, AUTH_INFO, 1, (), ("ns1.a.net",), (Host("ns2.a.net"),)), "never both"),
        (lambda: DomainUpdate("a.test", remove=Part(("ns1.a.net",), (Host("ns2.a.net"),))), "never both"),
        (lambda: epp.domain.create(registration("a.test", 0)), "1–99 years"),
        (lambda: protocol.command_frame(CHECK.body, (), "ab"), "3–64 characters"),
        (lambda: protocol.command_frame(CHECK.body, (), "a" * 65), "3–64 characters"),
    ],
)
def test_parameters_no_registry_could_accept_are_refused_at_home(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# Objects at the registry


def test_a_contact_lives_from_check_to_delete(alpha: Registrar) -> None:
    details = ContactDetails(
        "ADA-1",
        "ada@engines.example",
        POSTAL,
        PostalInfo("Zoë <&>", "Łódź", "PL"),
        "+44.2079300000x7",
        "+44.2079300001",
        AUTH_INFO,
        Disclose(False, ("voice", "email")),
    )
    assert alpha.send(epp.contact.check("ADA-1")).data["ADA-1"].available
    assert alpha.send(epp.contact.create(details)).data == epp.Created("ADA-1", START)
    found = alpha.send(epp.contact.info("ADA-1")).data
    assert (found.handle, found.statuses, found.roid) == ("ADA-1", ("ok",), found.roid)
    assert found.roid
    assert found.roid.endswith("-SIM")
    assert (found.international, found.local) == (details.international, details.local)
    assert (found.voice, found.fax, found.email) == (details.voice, details.fax, details.email)
    assert (found.auth_info, found.disclose) == (AUTH_INFO, details.disclose)
    assert found.trail == epp.Trail("alpha", "alpha", START, None, None, None)
    assert alpha.send(epp.contact.check("ADA-1")).data["ADA-1"] == epp.Availability("ADA-1", False, "In use")
    assert alpha.send(epp.contact.delete("ADA-1")).code == 1000
    assert alpha.refused(epp.contact.info("ADA-1"))[0] == 2303


def test_a_contact_is_updated(alpha: Registrar) -> None:
    alpha.contact()
    alpha.send(
        epp.contact.update(
            ContactUpdate("ADA-1", ("clientDeleteProhibited",), email="new@engines.example", voice="+44.1")
        )
    )
    found = alpha.send(epp.contact.info("ADA-1")).data
    assert (found.statuses, found.email, found.voice) == (("clientDeleteProhibited",), "new@engines.example", "+44.1")
    assert (found.international, found.trail.updated_by, found.trail.updated_at) == (POSTAL, "alpha", START)
    assert alpha.refused(epp.contact.delete("ADA-1"))[0] == 2304


def test_a_host_lives_from_check_to_delete(alpha: Registrar) -> None:
    alpha.domain()
    host = Host("ns1.engines.test", (ip_address("192.0.2.1"), ip_address("2001:db8::1")))
    assert alpha.send(epp.host.check(host.name)).data[host.name].available
    assert alpha.send(epp.host.create(host)).data.name == host.name
    found = alpha.send(epp.host.info(host.name)).data
    assert (found.name, found.addresses, found.statuses) == (host.name, host.addresses, ("ok",))
    assert found.trail.sponsor == "alpha"
    alpha.send(epp.host.update(HostUpdate(host.name, remove_addresses=host.addresses[:1], new_name="ns2.engines.test")))
    assert alpha.send(epp.host.info("ns2.engines.test")).data.addresses == host.addresses[1:]
    assert alpha.send(epp.host.delete("ns2.engines.test")).outcome is epp.Outcome.DONE
    assert alpha.refused(epp.host.info("ns2.engines.test"))[0] == 2303


def test_a_domain_lives_from_check_to_delete(alpha: Registrar) -> None:
    alpha.contact()
    alpha.host("ns1.elsewhere.net")
    wanted = registration("engines.test", 2, "ns1.elsewhere.net", ds_records=(DsRecord(12345, 13, 2, "AB12"),))
    assert alpha.send(epp.domain.check(wanted.name)).data[wanted.name].available
    made = alpha.send(epp.domain.create(wanted), "order-7")
    assert (made.code, made.cl_trid, made.data.created_at) == (1000, "order-7", START)
    assert made.data.expires_at == datetime(2026, 2, 28, 12, tzinfo=UTC)
    found = alpha.send(epp.domain.info(wanted.name)).data
    assert (found.registrant, found.contacts) == ("ADA-1", wanted.contacts)
    assert (found.host_objects, found.ds_records) == (wanted.host_objects, wanted.ds_records)
    assert (found.statuses, found.rgp_statuses) == (("ok",), ("addPeriod",))
    assert (found.expires_at, found.auth_info) == (made.data.expires_at, AUTH_INFO)
    assert alpha.send(epp.contact.info("ADA-1")).data.statuses == ("linked", "ok")
    assert alpha.send(epp.domain.delete(wanted.name)).code == 1000
    assert alpha.send(epp.domain.check(wanted.name)).data[wanted.name].available


def test_a_domain_is_updated(alpha: Registrar) -> None:
    alpha.domain()
    alpha.contact("ADA-2")
    alpha.host("ns1.elsewhere.net")
    alpha.send(
        epp.domain.update(
            DomainUpdate(
                "engines.test",
                Part(
                    ("ns1.elsewhere.net",),
                    (),
                    (DomainContact("admin", "ADA-2"),),
                    ("clientHold",),
                    (DsRecord(1, 13, 2, "AB"),),
                ),
                Part(contacts=(DomainContact("tech", "ADA-1"),)),
                "ADA-2",
                "Another-1",
            )
        )
    )
    found = alpha.send(epp.domain.info("engines.test")).data
    assert (found.host_objects, found.contacts) == (("ns1.elsewhere.net",), (DomainContact("admin", "ADA-2"),))
    assert (found.statuses, found.registrant, found.auth_info) == (("clientHold",), "ADA-2", "Another-1")
    alpha.send(
        epp.domain.update(
            DomainUpdate("engines.test", remove=Part(ds_records=found.ds_records, statuses=("clientHold",)))
        )
    )
    assert alpha.send(epp.domain.info("engines.test")).data.ds_records == ()


def test_a_domain_with_host_attributes(lab: Lab) -> None:
    alpha = lab.registrar(lab.registry(Policy(host_model="attributes")))
    alpha.contact()
    servers = (
        Host("ns1.engines.test", (ip_address("192.0.2.1"), ip_address("2001:db8::1"))),
        Host("ns1.elsewhere.net"),
    )
    alpha.send(epp.domain.create(Registration("engines.test", "ADA-1", AUTH_INFO, host_attributes=servers)))
    alpha.send(epp.domain.update(DomainUpdate("engines.test", remove=Part(host_attributes=servers[1:]))))
    assert alpha.send(epp.domain.info("engines.test")).data.host_attributes == servers[:1]


def test_a_renewal_needs_the_current_expiry(alpha: Registrar) -> None:
    alpha.domain()
    expires = datetime(2025, 2, 28, 12, tzinfo=UTC)
    renewed = alpha.send(epp.domain.renew("engines.test", expires, 2)).data
    assert (renewed.name, renewed.expires_at) == ("engines.test", datetime(2027, 2, 28, 12, tzinfo=UTC))
    assert alpha.refused(epp.domain.renew("engines.test", expires, 2))[0] == 2004


def test_deleting_what_is_not_there_is_done(alpha: Registrar) -> None:
    result = alpha.send(epp.domain.delete("engines.test"))
    assert (result.code, result.outcome) == (2303, epp.Outcome.DONE)


def test_refusals_tell_who_exists_and_who_does_not(alpha: Registrar) -> None:
    alpha.contact()
    with pytest.raises(epp.EppObjectExists, match=r"create contact ADA-1: 2302 Object exists \(contact ADA-1 exists\)"):
        alpha.contact()
    with pytest.raises(epp.EppObjectNotFound, match="2303"):
        alpha.send(epp.host.info("ns1.nowhere.net"))


def test_messages_are_polled_and_acknowledged(alpha: Registrar, beta: Registrar, registry: RegistrySimulator) -> None:
    assert alpha.send(epp.poll.request()).data is None
    alpha.domain()
    asked = beta.send(epp.domain.transfer(epp.TransferOp.REQUEST, "engines.test", AUTH_INFO))
    assert (asked.outcome, asked.data.status) == (epp.Outcome.PENDING, "pending")
    other = alpha.send(CHECK)
    assert other.queue
    assert other.queue.count == 1
    message = alpha.send(epp.poll.request()).data
    assert message
    assert (message.id, message.count, message.queued_at) == (other.queue.first, 1, START)
    assert message.text == "Transfer of engines.test requested."
    assert isinstance(message.data, epp.Transfer)
    assert (message.data.name, message.data.requested_by, message.data.acted_by) == ("engines.test", "beta", "alpha")
    assert "trnData" in message.xml
    assert alpha.send(epp.poll.acknowledge(message.id)).code == 1000
    assert alpha.send(epp.poll.request()).code == 1300


def test_a_stored_message_holds_no_secret() -> None:
    domain = xml.NS["domain"]
    data = (
        f'<msgQ count="3" id="7"/><resData><d:infData xmlns:d="{domain}"><d:name>a.test</d:name>'
        "<d:authInfo><d:pw>hidden-pw</d:pw></d:authInfo></d:infData></resData>"
    )
    response = xml.need(xml.parse(answer(1301, "abc-1", data)), "epp:response")
    for _ in range(2):
        message = epp.poll.request().parse(response)
        assert message
        assert isinstance(message.data, epp.domain.DomainInfo)
        assert message.data.auth_info == "hidden-pw"
        assert "hidden-pw" not in message.xml + str(message)


# Sessions


def test_the_login_asks_for_what_we_know_and_they_offer(lab: Lab) -> None:
    heard: list[bytes] = []

    def script(line: Line) -> None:
        offered = b"".join(
            b"<extURI>urn:ietf:params:xml:ns:%s</extURI>" % name for name in (b"fee-1.0", b"secDNS-1.1", b"launch-1.0")
        )
        line.send(GREETING.replace(b"</svcMenu>", b"<svcExtension>" + offered + b"</svcExtension></svcMenu>"))
        heard.append(line.receive())
        trid = heard[0].partition(b"<clTRID>")[2].partition(b"</clTRID>")[0].decode()
        line.send(answer(1000, trid))
        line.receive()
        line.send(GREETING)

    greeting = lab.client(lab.scripted(script)).hello()
    assert greeting.server == "Scripted"
    login = xml.parse(heard[0])
    assert xml.texts(login, ".//epp:objURI") == (xml.NS["domain"],)
    assert xml.texts(login, ".//epp:extURI") == (xml.NS["secDNS"],)


def test_a_command_that_needs_an_extension_is_not_sent_without_it(lab: Lab) -> None:
    registry = lab.registry(Policy(extensions=()))
    alpha = lab.registrar(registry)
    alpha.domain()
    with pytest.raises(epp.EppNotOffered, match=r"does not offer urn:ietf:params:xml:ns:rgp-1\.0"):
        alpha.send(epp.domain.restore("engines.test"))
    with pytest.raises(epp.EppNotOffered, match="secDNS"):
        alpha.send(epp.domain.create(registration("other.test", ds_records=(DsRecord(1, 13, 2, "AB"),))))
    assert [entry.name for entry in registry.ledger.entries(object="domain", verb="create")] == ["engines.test"]


def test_a_session_serves_many_commands_and_logs_out(lab: Lab, registry: RegistrySimulator) -> None:
    with epp.Client(lab.settings(registry.port)) as client:
        for number in range(5):
            client.send(CHECK, f"abc-{number}")
    assert [entry.verb for entry in registry.ledger.entries()] == ["login", *["check"] * 5, "logout"]


def test_a_wrong_password_is_not_an_uncertain_command(lab: Lab, registry: RegistrySimulator) -> None:
    client = lab.client(registry.port, password="guessed")
    with pytest.raises(epp.EppLoginRefused, match="refused the login of alpha: 2200") as error:
        client.send(CHECK, "abc-1")
    assert error.value.result
    assert error.value.result.code == 2200
    assert isinstance(error.value, epp.EppNotExecuted)
    assert "guessed" not in str(error.value)


def test_a_new_password_is_set_at_login(lab: Lab, registry: RegistrySimulator) -> None:
    lab.client(registry.port, new_password="fresh-secret").hello()
    assert lab.client(registry.port, password="fresh-secret").hello().server == "Registry simulator"


def test_the_registrys_session_limit_is_a_matter_of_waiting(lab: Lab) -> None:
    registry = lab.registry(Policy(max_sessions=1))
    lab.client(registry.port).hello()
    with pytest.raises(epp.EppBusy, match="2502"):
        lab.client(registry.port).send(CHECK, "abc-1")


@pytest.mark.parametrize("code", [2400, 2500, 2501])
def test_a_login_that_fails_has_sent_nothing(lab: Lab, registry: RegistrySimulator, code: int) -> None:
    registry.faults.add(FaultKind.FAIL, verb="login", code=code)
    client = lab.client(registry.port)
    with pytest.raises(epp.EppLoginRefused if code == 2501 else epp.EppUnavailable, match=str(code)):
        client.send(CHECK, "abc-1")
    assert client.send(CHECK, "abc-2").code == 1000


def test_an_unverified_registry_gets_no_password(lab: Lab, registry: RegistrySimulator) -> None:
    with pytest.raises(epp.EppUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        lab.client(registry.port, tls=epp.tls_context()).hello()
    assert len(registry.ledger) == 0


def test_a_registry_with_another_name_gets_no_password(lab: Lab, tmp_path: Path) -> None:
    others = generate(tmp_path, "registry.example")
    registry = lab.registry(certificates=others)
    with pytest.raises(epp.EppUnavailable, match="not valid for '127"):
        lab.client(registry.port, tls=epp.tls_context(others.ca_file)).hello()
    assert len(registry.ledger) == 0


def test_a_context_that_verifies_nothing_is_refused(lab: Lab) -> None:
    careless = ssl.create_default_context()
    careless.check_hostname = False
    with pytest.raises(ValueError, match="does not verify"):
        lab.settings(1, tls=careless)


def test_a_client_certificate_is_shown(lab: Lab, certificates: Certificates) -> None:
    registry = lab.registry(require_client_certificate=True)
    with pytest.raises(epp.EppNotExecuted):
        lab.client(registry.port).hello()
    tls = epp.tls_context(certificates.ca_file, certificates.client_file)
    assert lab.client(registry.port, tls=tls).hello().server == "Registry simulator"


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"max_sessions": 0}, "at least 1"), ({"burst": 0}, "at least 1"), ({"commands_per_second": 0}, "above 0")],
)
def test_impossible_settings_are_refused(lab: Lab, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lab.settings(1, **changes)


# Certain or not


def test_nobody_listens_is_certain(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(epp.EppUnavailable, match=f"cannot connect to 127.0.0.1:{port}"):
        lab.client(port).send(CHECK, "abc-1")


def test_a_server_that_never_greets_is_certain(lab: Lab) -> None:
    with pytest.raises(epp.EppUnavailable, match="no greeting"):
        lab.client(lab.scripted(Line.gone), connect_timeout=0.1).send(CHECK, "abc-1")


@pytest.mark.parametrize("words", [b"220 mail.example ESMTP", b"<epp/>", BOMB])
def test_a_server_that_is_no_registry_is_certain(lab: Lab, words: bytes) -> None:
    def script(line: Line) -> None:
        line.send(words)
        line.gone()

    with pytest.raises(epp.EppUnavailable, match="no greeting"):
        lab.client(lab.scripted(script)).send(CHECK, "abc-1")


def test_a_server_that_never_shakes_hands_is_certain(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(epp.EppUnavailable, match="cannot connect"):
        lab.client(listener.getsockname()[1], connect_timeout=0.1).send(CHECK, "abc-1")


@pytest.mark.parametrize(
    ("kind", "executed"),
    [
        (FaultKind.CUT, False),
        (FaultKind.LOSE_ANSWER, True),
        (FaultKind.MID_FRAME, True),
        (FaultKind.GARBAGE, True),
    ],
)
def test_a_command_without_an_answer_is_uncertain(
    alpha: Registrar, registry: RegistrySimulator, kind: FaultKind, executed: bool
) -> None:
    alpha.contact()
    registry.faults.add(kind, verb="create", object="domain")
    with pytest.raises(epp.EppUncertain, match=r"no usable answer to create domain engines\.test"):
        alpha.send(epp.domain.create(registration("engines.test")), "order-1")
    assert ("engines.test" in registry.objects("domain")) is executed
    # The broken session is gone; the next command has a new one and finds out.
    if executed:
        assert alpha.send(epp.domain.info("engines.test")).data.trail.sponsor == "alpha"
    else:
        assert alpha.refused(epp.domain.info("engines.test"))[0] == 2303
    assert len(registry.ledger.entries(verb="login")) == 2
    assert [entry.cl_trid for entry in registry.ledger.entries(verb="create", object="domain")] == ["order-1"]


@pytest.mark.parametrize("kind", [FaultKind.HOLD, FaultKind.HOLD_ANSWER])
def test_a_slow_answer_is_uncertain_and_its_session_is_not_used_again(
    lab: Lab, registry: RegistrySimulator, kind: FaultKind
) -> None:
    held = registry.faults.add(kind, verb="check")
    alpha = lab.registrar(registry, command_timeout=0.5)
    with pytest.raises(epp.EppUncertain, match="timed out"):
        alpha.send(CHECK)
    held.release()
    assert alpha.send(epp.domain.check("other.test")).data["other.test"].available


@pytest.mark.parametrize(("kind", "exists"), [(FaultKind.FAIL, False), (FaultKind.FAIL_AFTER, True)])
def test_a_failure_of_the_registry_is_to_be_tried_again(
    alpha: Registrar, registry: RegistrySimulator, kind: FaultKind, exists: bool
) -> None:
    registry.faults.add(kind, verb="create", code=2400, reason="database is away")
    with pytest.raises(epp.EppUnavailable, match=r"2400 Command failed .*database is away") as error:
        alpha.contact()
    assert error.value.result
    assert error.value.result.code == 2400
    assert ("ADA-1" in registry.objects("contact")) is exists


def test_a_registry_that_hangs_up_with_its_answer_loses_the_session(
    alpha: Registrar, registry: RegistrySimulator
) -> None:
    registry.faults.add(FaultKind.FAIL, code=2500, verb="check")
    with pytest.raises(epp.EppUnavailable, match="2500"):
        alpha.send(CHECK)
    assert alpha.send(CHECK).code == 1000
    assert len(registry.ledger.entries(verb="login")) == 2


def test_a_pending_command_is_a_result(alpha: Registrar, registry: RegistrySimulator) -> None:
    alpha.contact()
    registry.faults.add(FaultKind.PENDING, verb="create")
    result = alpha.send(epp.domain.create(registration("engines.test")), "order-1")
    assert (result.code, result.outcome, result.data.name) == (1001, epp.Outcome.PENDING, "engines.test")
    registry.settle("domain", "engines.test")
    message = alpha.send(epp.poll.request()).data
    assert message
    pending = message.data
    assert isinstance(pending, epp.poll.PendingAction)
    assert (pending.object, pending.name, pending.done) == ("domain", "engines.test", True)
    assert (pending.cl_trid, pending.sv_trid, pending.decided_at) == ("order-1", result.sv_trid, START)


@pytest.mark.parametrize(
    "reply",
    [
        answer(999, "abc-1"),
        answer(3000, "abc-1"),
        answer(1000, "abc-1"),
        GREETING,
        b"<epp/>",
    ],
    ids=["no code", "unknown code", "check without data", "greeting", "not EPP"],
)
def test_an_answer_that_cannot_be_ours_is_uncertain(lab: Lab, reply: bytes) -> None:
    sessions: list[Line] = []

    def script(line: Line) -> None:
        sessions.append(line)
        greet_and_let_in(line)
        line.receive()
        line.send(reply)
        line.gone()

    client = lab.client(lab.scripted(script))
    for number in (1, 2):
        with pytest.raises(epp.EppUncertain):
            client.send(CHECK, "abc-1")
        assert len(sessions) == number


def test_an_answer_to_another_command_is_not_taken_for_ours(lab: Lab) -> None:
    def script(line: Line) -> None:
        greet_and_let_in(line)
        line.receive()
        line.send(answer(1000, "abc-0"))
        line.gone()

    client = lab.client(lab.scripted(script))
    with pytest.raises(epp.EppUncertain, match=r"belongs to another command \(abc-0\)"):
        client.send(epp.host.create(Host("ns1.a.net")), "abc-1")


def test_a_broken_session_is_closed_at_once(lab: Lab) -> None:
    hung_up = threading.Event()

    def script(line: Line) -> None:
        greet_and_let_in(line)
        line.receive()
        line.send(b"<epp/>")
        if not line.socket.recv(1):
            hung_up.set()

    client = lab.client(lab.scripted(script))
    with pytest.raises(epp.EppUncertain):
        client.send(CHECK, "abc-1")
    assert hung_up.wait(10)


def test_a_session_is_over_when_the_registry_announces_it(lab: Lab) -> None:
    sessions: list[Line] = []

    def script(line: Line) -> None:
        sessions.append(line)
        greet_and_let_in(line)
        line.receive()
        line.send(answer(2500, "abc-1"))
        line.gone()

    client = lab.client(lab.scripted(script))
    for number in (1, 2):
        with pytest.raises(epp.EppUnavailable, match="2500"):
            client.send(CHECK, "abc-1")
        assert len(sessions) == number


def test_an_interrupt_leaves_no_session_with_an_unread_answer(
    alpha: Registrar, registry: RegistrySimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    alpha.send(CHECK)
    with monkeypatch.context() as patch:
        patch.setattr(Connection, "receive", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            alpha.send(CHECK)
    assert alpha.send(epp.domain.check("other.test")).data["other.test"].available
    assert len(registry.ledger.entries(verb="login")) == 2


def _interrupted(self: Connection, timeout: float) -> bytes:
    raise KeyboardInterrupt


def test_a_create_whose_answer_tells_nothing_is_done_all_the_same(lab: Lab) -> None:
    def script(line: Line) -> None:
        greet_and_let_in(line)
        line.receive()
        line.send(answer(1000, None))
        line.receive()
        line.send(answer(1000, "abc-2", "<resData><x xmlns='urn:other'/></resData>"))
        line.gone()

    client = lab.client(lab.scripted(script))
    assert client.send(epp.host.create(Host("ns1.a.net")), "abc-1").data == epp.Created("ns1.a.net", None)
    assert client.send(epp.domain.renew("a.test", date(2025, 1, 1)), "abc-2").data.expires_at is None


def test_a_session_the_registry_has_closed_loses_no_command(alpha: Registrar, registry: RegistrySimulator) -> None:
    alpha.send(CHECK)
    registry.drop_connections()
    assert alpha.send(CHECK).code == 1000
    assert len(registry.ledger.entries(verb="login")) == 2
    assert len(registry.ledger.entries(verb="check")) == 2


def test_a_session_with_bytes_nobody_asked_for_is_not_used(lab: Lab) -> None:
    sessions: list[Line] = []

    def script(line: Line) -> None:
        sessions.append(line)
        greet_and_let_in(line)
        line.receive()
        wanted, stray = answer(2303, f"abc-{len(sessions)}"), answer(1000, "abc-2")
        line.socket.sendall(framing.encode(wanted) + framing.encode(stray))
        line.gone()

    client = lab.client(lab.scripted(script))
    for trid in ("abc-1", "abc-2"):
        with pytest.raises(epp.EppObjectNotFound):
            client.send(epp.domain.info("engines.test"), trid)
    assert len(sessions) == 2


def test_a_server_that_forgot_the_login_gets_a_new_session(alpha: Registrar, registry: RegistrySimulator) -> None:
    registry.faults.add(FaultKind.FAIL, verb="check", code=2002)
    assert alpha.refused(CHECK)[0] == 2002
    assert alpha.send(CHECK).code == 1000
    assert len(registry.ledger.entries(verb="login")) == 2


def test_a_dead_session_is_told_by_hello(lab: Lab) -> None:
    def script(line: Line) -> None:
        greet_and_let_in(line)
        line.receive()

    with pytest.raises(epp.EppUnavailable, match="does not answer hello"):
        lab.client(lab.scripted(script)).hello()


# The pool


class Ticks:
    """A monotonic clock that a test moves; sleeping moves it too."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@given(st.floats(0.1, 1000), st.integers(1, 20), st.lists(st.floats(0, 5), min_size=1, max_size=60))
def test_the_rate_limit_is_never_exceeded(rate: float, burst: int, pauses: list[float]) -> None:
    ticks = Ticks()
    limit = RateLimit(rate, burst, ticks)
    went: list[float] = []
    for pause in pauses:
        ticks.now += pause
        wait = limit.reserve(float("inf"))
        assert wait is not None
        ticks.now += wait
        went.append(ticks.now)
    for first in range(len(went)):
        for last in range(first, len(went)):
            allowed = burst + (went[last] - went[first]) * rate
            assert last - first + 1 <= allowed + 1e-3


def test_without_patience_nothing_is_reserved() -> None:
    ticks = Ticks()
    limit = RateLimit(1.0, 1, ticks)
    assert limit.reserve(0) == 0
    assert limit.reserve(0.5) is None
    assert limit.reserve(0.5) is None
    assert limit.reserve(1.0) == 1.0


def test_commands_wait_for_their_turn(lab: Lab, registry: RegistrySimulator) -> None:
    ticks = Ticks()
    alpha = lab.registrar(registry, commands_per_second=2, clock=ticks, pause=ticks.sleep)
    for _ in range(3):
        alpha.send(CHECK)
    # The login counts as well.
    assert ticks.slept == [0.5, 0.5, 0.5]


def test_a_turn_that_comes_too_late_is_busy_and_nothing_is_sent(lab: Lab, registry: RegistrySimulator) -> None:
    ticks = Ticks()
    alpha = lab.registrar(registry, commands_per_second=0.1, burst=2, wait_timeout=5, clock=ticks, pause=ticks.sleep)
    alpha.send(CHECK)
    with pytest.raises(epp.EppBusy, match=r"0\.1 commands/s leaves no room"):
        alpha.send(CHECK)
    assert len(registry.ledger.entries(verb="check")) == 1
    ticks.now += 10
    assert alpha.send(CHECK).code == 1000
    assert len(registry.ledger.entries(verb="login")) == 1


def test_threads_share_the_sessions(lab: Lab, registry: RegistrySimulator) -> None:
    alpha = lab.registrar(registry, max_sessions=3)

    def ask(number: int) -> bool:
        name = f"name-{number}.test"
        return alpha.send(epp.domain.check(name)).data[name].available

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(100)))
    assert 1 <= len(registry.ledger.entries(verb="login")) <= 3
    assert len(registry.ledger.entries(verb="check")) == 100


def test_a_slow_registry_holds_up_nobody_else(lab: Lab, registry: RegistrySimulator) -> None:
    held = registry.faults.add(FaultKind.HOLD, registrar="alpha", verb="check")
    alpha = lab.registrar(registry, max_sessions=1, wait_timeout=0.1)
    beta = lab.registrar(registry, "beta")
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(alpha.send, CHECK)
        assert held.reached.wait(10)
        with pytest.raises(epp.EppBusy, match="all 1 sessions"):
            alpha.send(CHECK)
        assert beta.send(CHECK).code == 1000
        held.release()
        assert first.result(10).code == 1000
    assert alpha.send(CHECK).code == 1000


def test_a_place_that_becomes_free_is_taken(lab: Lab, registry: RegistrySimulator) -> None:
    held = registry.faults.add(FaultKind.HOLD, verb="check", name="slow.test")
    alpha = lab.registrar(registry, max_sessions=1)
    with ThreadPoolExecutor(2) as threads:
        slow = threads.submit(alpha.send, epp.domain.check("slow.test"))
        assert held.reached.wait(10)
        waiting = threads.submit(alpha.send, CHECK)
        held.release()
        assert (slow.result(10).code, waiting.result(10).code) == (1000, 1000)
    assert len(registry.ledger.entries(verb="login")) == 1


@pytest.mark.parametrize(("idle", "logins"), [(100, 1), (300, 2)])
def test_a_session_is_replaced_before_the_registry_thinks_it_idle(
    lab: Lab, registry: RegistrySimulator, idle: float, logins: int
) -> None:
    ticks = Ticks()
    alpha = lab.registrar(registry, idle_limit=240, clock=ticks)
    alpha.send(CHECK)
    ticks.now += idle
    alpha.send(CHECK)
    assert len(registry.ledger.entries(verb="login")) == logins


def test_an_old_session_is_replaced(lab: Lab, registry: RegistrySimulator) -> None:
    ticks = Ticks()
    alpha = lab.registrar(registry, idle_limit=240, age_limit=500, clock=ticks)
    for _ in range(4):
        alpha.send(CHECK)
        ticks.now += 200
    assert len(registry.ledger.entries(verb="login")) == 2


def test_a_failed_login_gives_its_place_back(lab: Lab, registry: RegistrySimulator) -> None:
    registry.faults.add(FaultKind.CUT, verb="login", times=3)
    alpha = lab.registrar(registry, max_sessions=1, wait_timeout=0.1)
    for _ in range(3):
        with pytest.raises(epp.EppUnavailable, match="no session"):
            alpha.send(CHECK)
    assert alpha.send(CHECK).code == 1000


def test_a_closed_client_sends_nothing_more(lab: Lab, registry: RegistrySimulator) -> None:
    client = lab.client(registry.port)
    client.send(CHECK, "abc-1")
    client.close()
    client.close()
    with pytest.raises(epp.EppUnavailable, match="is closed"):
        client.send(CHECK, "abc-2")
    assert [entry.verb for entry in registry.ledger.entries()] == ["login", "check", "logout"]


def test_closing_lets_a_running_command_end(lab: Lab) -> None:
    asked, closed, hung_up = threading.Event(), threading.Event(), threading.Event()

    def script(line: Line) -> None:
        greet_and_let_in(line)
        line.receive()
        asked.set()
        closed.wait(10)
        line.send(answer(1000, "abc-1"))
        if not line.socket.recv(1):
            hung_up.set()

    client = lab.client(lab.scripted(script))
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(client.send, epp.host.create(Host("ns1.a.net")), "abc-1")
        assert asked.wait(10)
        client.close()
        closed.set()
        assert running.result(10).code == 1000
    assert hung_up.wait(10)


def test_closing_does_not_wait_for_a_registry_that_hangs(
    lab: Lab, registry: RegistrySimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provision_worker.providers.epp.session.FAREWELL_SECONDS", 0.05)
    registry.faults.add(FaultKind.HOLD, verb="logout")
    client = lab.client(registry.port)
    client.send(CHECK, "abc-1")
    client.close()
    assert registry.ledger.entries(verb="logout") == []


def test_a_command_can_be_sent_again(alpha: Registrar, registry: RegistrySimulator) -> None:
    command = epp.contact.create(ContactDetails("ADA-1", "ada@engines.example", POSTAL, auth_info=AUTH_INFO))
    registry.faults.add(FaultKind.FAIL, verb="create")
    with pytest.raises(epp.EppUnavailable):
        alpha.send(command)
    assert alpha.send(command).code == 1000

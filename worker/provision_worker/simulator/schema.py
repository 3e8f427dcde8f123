"""The shape of EPP commands: which children an element has, in which order (RFC 5730–5733, 5910, 3915).

A model is a regular expression over the children's local names; elements without a model hold text alone. A model under
`parent/child` counts only there. That is what a registry's schema validation refuses with 2001.
"""

from __future__ import annotations

import re

from provision_worker.providers.epp.xml import Element, name_of

from .results import Refusal

ANYTHING = "*"

_UPDATE = "add? rem? chg?"
_DS = "maxSigLife? (dsData+ | keyData+)"

MODELS = {
    "epp:epp": "hello | command",
    "epp:command": "(check|info|create|delete|update|renew|transfer|poll|login|logout) extension? clTRID?",
    "epp:login": "clID pw newPW? options svcs",
    "epp:options": "version lang",
    "epp:svcs": "objURI+ svcExtension?",
    "epp:svcExtension": "extURI+",
    **{f"epp:{verb}": ANYTHING for verb in ("check", "info", "create", "delete", "update", "renew", "transfer")},
    "epp:extension": ANYTHING,
    "contact:check": "id+",
    "contact:info": "id authInfo?",
    "contact:delete": "id",
    "contact:transfer": "id authInfo?",
    "contact:create": "id postalInfo{1,2} voice? fax? email authInfo disclose?",
    "contact:update": f"id {_UPDATE}",
    "contact:add": "status{1,7}",
    "contact:rem": "status{1,7}",
    "contact:chg": "postalInfo{0,2} voice? fax? email? authInfo? disclose?",
    "contact:postalInfo": "name org? addr",
    "contact:chg/contact:postalInfo": "name? org? addr?",
    "contact:addr": "street{0,3} city sp? pc? cc",
    "contact:disclose/contact:addr": "",
    "contact:authInfo": "pw",
    "contact:disclose": "name{0,2} org{0,2} addr{0,2} voice? fax? email?",
    "host:check": "name+",
    "host:info": "name",
    "host:delete": "name",
    "host:create": "name addr*",
    "host:update": f"name {_UPDATE}",
    "host:add": "addr* status{0,7}",
    "host:rem": "addr* status{0,7}",
    "host:chg": "name",
    "domain:check": "name+",
    "domain:info": "name authInfo?",
    "domain:delete": "name",
    "domain:create": "name period? ns? registrant? contact* authInfo",
    "domain:renew": "name curExpDate period?",
    "domain:transfer": "name period? authInfo?",
    "domain:update": f"name {_UPDATE}",
    "domain:add": "ns? contact* status{0,11}",
    "domain:rem": "ns? contact* status{0,11}",
    "domain:chg": "registrant? authInfo?",
    "domain:ns": "hostObj+ | hostAttr+",
    "domain:hostAttr": "hostName hostAddr*",
    "domain:authInfo": "pw",
    "secDNS:create": _DS,
    "secDNS:update": "rem? add? chg?",
    "secDNS:add": _DS,
    "secDNS:rem": "all | dsData+ | keyData+",
    "secDNS:chg": "maxSigLife?",
    "secDNS:dsData": "keyTag alg digestType digest keyData?",
    "secDNS:keyData": "flags protocol alg pubKey",
    "fee:check": ANYTHING,
    "fee:create": ANYTHING,
    "fee:renew": ANYTHING,
    "fee:transfer": ANYTHING,
    "fee:update": ANYTHING,
    "rgp:update": "restore",
    "rgp:restore": "report?",
    "rgp:report": "preData postData delTime resTime resReason statement{1,2} other?",
    "rgp:preData": ANYTHING,
    "rgp:postData": ANYTHING,
}


def _compiled(model: str) -> re.Pattern[str]:
    """The model as a pattern over the children's names, each followed by a space."""
    return re.compile("".join(re.sub(r"[A-Za-z]\w*", r"(?:\g<0> )", token) for token in model.split()))


_PATTERNS = {name: None if model == ANYTHING else _compiled(model) for name, model in MODELS.items()}
_LEAF = re.compile("")


def validate(element: Element, parent: str = "") -> None:
    """Raises Refusal(2001), with what is wrong where, unless `element` and all below it have their shape."""
    name = name_of(element)
    pattern = _PATTERNS.get(f"{parent}/{name}", _PATTERNS.get(name, _LEAF))
    if pattern is not None:
        _validate_children(element, name, pattern)
    for child in element:
        if pattern is not None or name.startswith("epp:"):
            validate(child, name)


def _validate_children(element: Element, name: str, pattern: re.Pattern[str]) -> None:
    prefix = name.partition(":")[0]
    children = [name_of(child).partition(":") for child in element]
    foreign = [child for child in children if child[0] != prefix]
    if foreign:
        raise Refusal(2001, f"{name} cannot hold {''.join(foreign[0])}")
    if not pattern.fullmatch("".join(f"{local} " for _, _, local in children)):
        found = ", ".join(local for _, _, local in children) or "nothing"
        raise Refusal(2001, f"{name} holds {found}; it should be: {MODELS.get(name) or 'text'}")

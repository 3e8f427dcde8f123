"""What the converger thinks with: the site that is wanted, what was seen of it, what is remembered, and a plan."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Json = dict[str, Any]
SUBJECT_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Network:
    """Where sites of an AWS account are put, as its accreditation's settings say."""

    domain: str
    zone_id: str
    vpc_id: str
    subnet_ids: tuple[str, ...]
    image_id: str
    bucket: str
    instance_profile: str | None = None
    """The role by which nodes read secrets and code."""
    dump_profile: str | None = None
    """The role by which machines that dump databases write to the bucket; None: that of the nodes."""
    api_url: str | None = None
    """Where nodes ask whether a log-in link is good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What is wanted, from `wpaas_site()`. `key` begins the names of all its things, `org_key` those of its org's."""

    id: str
    key: str
    org_key: str
    name: str
    org: str
    cid: str
    hostname: str
    network: Network
    cost_tag: str = ""
    """By which Cost Explorer tells what the org's sites cost."""
    nodes: int = 1
    """How many where the load does not decide."""
    range: tuple[int, int] | None = None
    """Least and most where it does."""
    features: frozenset[str] = frozenset()
    version: int = 0
    artifact: str | None = None
    artifacts: Mapping[str, str] = field(default_factory=dict)
    """The code of each version, which routes may point at."""
    is_resolved: bool = True
    domains: tuple[str, ...] = ()
    routes: tuple[Mapping[str, Any], ...] = ()
    basic_auth_revision: int = 0
    """How often the password was given that routes may ask for: nodes read it when they start."""
    is_suspended: bool = False
    is_deletion_wanted: bool = False
    database_revision: int = 1
    generation: int = 1
    has_served: bool = False
    is_changing: bool = True
    """Whether a generation is on its way that has not come true yet."""
    is_busy: bool = False
    """Whether jobs beside the caretaker are at work that may make something for it."""
    is_last_of_org: bool = False
    load_percent: int = 85
    """From which load a site of fixed size has too much to do."""

    @property
    def database_name(self) -> str:
        """The name of the database that is to be used."""
        return f"{self.key}-{self.database_revision}"

    @property
    def certificate_names(self) -> tuple[str, str]:
        """The site's own name, and all names one level below it, where its routes are."""
        return self.hostname, f"*.{self.hostname}"

    @property
    def subject(self) -> str:
        """The first name in its certificate, which ACM wants to have at most 64 characters (RFC 5280, ub-common-name):
        where the site's own is longer, one that nobody uses.
        """
        return self.hostname if len(self.hostname) <= SUBJECT_LENGTH else f"{self.key}.{self.network.domain}"

    @property
    def secret_name(self) -> str:
        """The path of its secrets, below its org's."""
        return f"provision/{self.org}/{self.key}"

    @property
    def is_dedicated(self) -> bool:
        """Whether it has an address of its own."""
        return "dedicated_ip" in self.features

    @property
    def balancer_name(self) -> str:
        """Its own load balancer's, or its org's."""
        return self.key if self.is_dedicated else self.org_key

    @property
    def final_snapshot(self) -> str:
        """What is left in the end."""
        return f"{self.database_name}-final"


NodeState = Literal["starting", "ready", "ill", "gone", "leaving"]


@dataclass(frozen=True, slots=True)
class Node:
    """A machine with the site's tag. `is_ours`: the Auto Scaling group has it. `digest`: what it was started from.
    `is_routed`: the load balancer knows it, or need not yet.
    """

    id: str
    state: NodeState
    started: datetime
    digest: str = ""
    is_ours: bool = True
    is_routed: bool = True


@dataclass(frozen=True, slots=True)
class Database:
    """A database instance at RDS."""

    name: str
    status: str
    host: str | None = None
    is_protected: bool = True
    has_standby: bool = False
    """Or will have, as it was told."""


@dataclass(frozen=True, slots=True)
class Files:
    """The shared file system and the subnets that reach it."""

    id: str
    is_available: bool
    mounts: Mapping[str, str] = field(default_factory=dict)
    """Id of the mount target by subnet."""
    is_mounted: bool = False
    """Whether all of them can be used."""


@dataclass(frozen=True, slots=True)
class Template:
    """The launch template: what each of its versions starts nodes from."""

    id: str
    versions: Mapping[str, str]
    """Digest by version number."""
    latest: str = ""

    def number_of(self, digest: str) -> str | None:
        """The newest version with that digest."""
        return max((number for number, one in self.versions.items() if one == digest), key=int, default=None)


@dataclass(frozen=True, slots=True)
class Group:
    """The Auto Scaling group."""

    least: int
    most: int
    desired: int
    template_version: str
    digest: str = ""
    """What its nodes are started from: the tag that they get."""
    has_policy: bool = False
    is_left_alone: bool = True
    """Whether the processes are suspended by which it would replace nodes on its own account."""
    is_going: bool = False


@dataclass(frozen=True, slots=True)
class Balancer:
    """A load balancer with its listeners for HTTPS and HTTP, and the rules of the former by their host names."""

    arn: str
    dns: str
    zone: str
    is_active: bool = True
    listener: str | None = None
    redirect: str | None = None
    rules: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Host names of the rules that lead to the site's target group, by ARN of the rule."""
    priorities: frozenset[int] = frozenset()
    certificates: frozenset[str] = frozenset()
    """ARNs the listener shows, the default one included."""
    default: str | None = None


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate at ACM, with the records that validate it, by name."""

    arn: str
    status: str
    records: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_issued(self) -> bool:
        return self.status == "ISSUED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is there. What is None or empty is not."""

    secret: str | None = None
    security: Mapping[str, str] = field(default_factory=dict)
    """Ids of the org's security groups by what they are for: web, node, data."""
    has_subnets: bool = False
    databases: Mapping[str, Database] = field(default_factory=dict)
    files: Files | None = None
    template: Template | None = None
    target: str | None = None
    balancer: Balancer | None = None
    group: Group | None = None
    nodes: tuple[Node, ...] = ()
    certificates: Mapping[str, Certificate] = field(default_factory=dict)
    """By the first name in them."""
    records: Mapping[str, str] = field(default_factory=dict)
    """What the names of ours in the zone lead to."""
    address: tuple[str, str] | None = None
    """Allocation id and IP of its own address."""
    snapshots: Mapping[str, str] = field(default_factory=dict)
    """Status of all of its databases' snapshots by name; looked at when it is being deleted."""
    artifacts: tuple[str, ...] = ()
    """Keys of the copies of its code and of dumps; likewise."""


@dataclass(frozen=True, slots=True)
class Step:
    """One change to make. `action` names the function of `act` that makes it, `given` are its parameters."""

    action: str
    given: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return " ".join([self.action, *(str(value) for value in self.given.values())])[:200]


@dataclass(slots=True)
class Memory:
    """What is remembered from one look to the next."""

    strikes: dict[str, int] = field(default_factory=dict)
    """How many times in a row a node was found ill."""
    counted: float = 0.0
    """When that was last counted, in seconds since 1970: looks that follow each other at once count as one."""
    failed_starts: int = 0
    failed: str = ""
    """The digest that was given up, in this generation."""
    failed_generation: int = 0
    good: Json = field(default_factory=dict)
    """What ran well last: digest, template version, code version."""
    databases: list[str] = field(default_factory=list)
    """Databases that were there once: they are never made again, as they would be empty."""

    certificates: dict[str, str] = field(default_factory=dict)
    """ARNs by the first name in them: listing all of an account takes longer than looking at one."""
    load: dict[str, float] = field(default_factory=dict)
    """Per cent of processor and memory, and `at`, when that was asked: CloudWatch knows it every five minutes."""

    def document(self) -> Json:
        """As it is kept."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class Plan:
    """What to do now, and what to say of the site."""

    steps: list[Step] = field(default_factory=list)
    phase: str = "creating"
    conditions: dict[str, Json] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)
    alarm: str | None = None
    ready: int = 0
    code_version: int | None = None
    is_done: bool = False
    """Whether everything is as this generation wants it."""
    fall_back: int | None = None
    """The version to want instead of one that does not start."""
    is_waiting: bool = False
    """Whether something is under way that takes minutes."""
    domain_states: list[Json] = field(default_factory=list)
    address: str | None = None
    has_final_snapshot: bool = False

    @property
    def replaced(self) -> list[str]:
        """Snapshots that are left of databases which the plan removes."""
        removed = (step.given for step in self.steps if step.action == "database.remove")
        return [given["snapshot"] for given in removed if self.phase != "deleting" and given["snapshot"]]


def digest_of(site: Site, database_host: str, files: str) -> str:
    """What nodes are started from, in short: those with another digest are replaced."""
    wanted = {
        "version": site.version,
        "artifact": site.artifact,
        "routes": [
            dict(route) | {"artifact": site.artifacts.get(str(route.get("version")))}
            for route in sorted(site.routes, key=lambda route: str(route["route"]))
        ],
        "basic_auth": site.basic_auth_revision if any(route.get("basic_auth") for route in site.routes) else 0,
        "host": site.hostname,
        "database": database_host,
        "files": files,
        "image": site.network.image_id,
        "is_large": "large_nodes" in site.features,
    }
    text = json.dumps(wanted, sort_keys=True, default=list)
    return f"{site.version}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

"""What to do about a site, from what is wanted, what was seen and what is remembered: a pure function.

It is asked anew at every look and never told what happened before, so that it does not matter whether a worker died, a
person changed something at AWS, or an answer was lost. A step is planned when everything it needs is there; what needs
something that is still being made waits for a later look. Creation goes from the secret to the DNS record, deletion the
other way round.
"""

import copy
from collections.abc import Sequence
from datetime import datetime, timedelta

from .model import Balancer, Certificate, Group, Memory, Node, Plan, Seen, Site, Step, digest_of

GRACE = timedelta(minutes=10)
"""So long a node may take to start before it counts as one that does not."""
STRIKES = 3
STRIKE_SECONDS = 20.0
FAILED_STARTS = 2
ROLES = ("web", "node", "data")
ALARM_STATUSES = frozenset({"failed", "incompatible-network", "incompatible-parameters", "storage-full", "stopped"})
USABLE = frozenset({"available", "backing-up", "modifying", "storage-optimization", "configuring-enhanced-monitoring"})


def plan(site: Site, seen: Seen, memory: Memory, now: datetime) -> Plan:
    """The shortest way from what is there to what is wanted, as far as it can be gone now."""
    if site.is_deletion_wanted:
        return _Deletion(site, seen, memory).plan()
    return _Upkeep(site, seen, memory, now).plan()


class _Upkeep:
    """A site that is to be there."""

    def __init__(self, site: Site, seen: Seen, memory: Memory, now: datetime) -> None:
        self.site, self.seen, self.now = site, seen, now
        self.made = Plan(memory=copy.deepcopy(memory))
        self.memory = self.made.memory
        self.wanted = 0
        self.is_rolling = False
        if site.generation > self.memory.failed_generation:
            self.memory.failed = ""

    def plan(self) -> Plan:
        self.foundation()
        self.database()
        self.files()
        template = self.template()
        self.front()
        if template:
            self.group(*template)
        else:
            self.say("NodesReady", False, "what nodes need is not there yet")
        self.certificates()
        self.routes()
        self.load()
        self.conclude()
        return self.made

    # Saying

    def step(self, action: str, **given: object) -> None:
        self.made.steps.append(Step(action, given))

    def say(self, condition: str, status: bool, reason: str = "") -> None:
        self.made.conditions[condition] = {"status": status} | ({"reason": reason} if reason else {})

    def alarm(self, reason: str) -> None:
        self.made.alarm = self.made.alarm or reason

    # What others stand on

    def foundation(self) -> None:
        if self.seen.secret is None:
            self.step("secret.create")
        for role in ROLES:
            if role not in self.seen.security and (role == "web" or "web" in self.seen.security):
                self.step("security.create", role=role)
        if not self.seen.has_subnets:
            self.step("subnets.create")
        reason = "" if self.site.is_resolved else "the code is still being fetched"
        self.say("CodeReady", self.site.is_resolved, reason)

    @property
    def is_founded(self) -> bool:
        return all(role in self.seen.security for role in ROLES)

    def database(self) -> None:
        name = self.site.database_name
        found = self.seen.databases.get(name)
        if found:
            if name not in self.memory.databases:
                self.memory.databases.append(name)
            is_usable = found.status in USABLE and found.host is not None
            self.say("DatabaseReady", is_usable, "" if is_usable else f"the database is {found.status}")
            has_standby = "database_standby" in self.site.features
            if is_usable and found.has_standby != has_standby:
                self.step("database.standby", name=name, is_wanted=has_standby)
            if found.status in ALARM_STATUSES:
                self.alarm(f"the database {name} is {found.status}")
        elif name in self.memory.databases or self.site.has_served or self.site.database_revision > 1:
            # An empty one in its place would look like the site and have lost everything.
            self.say("DatabaseReady", False, "the database is missing")
            self.alarm(f"the database {name} is missing; it is not made anew: restore a backup")
        else:
            self.say("DatabaseReady", False, "the database is being made")
            if self.is_founded and self.seen.has_subnets:
                self.step("database.create", name=name)

    @property
    def database_host(self) -> str | None:
        found = self.seen.databases.get(self.site.database_name)
        return found.host if found and found.status in USABLE else None

    def files(self) -> None:
        files = self.seen.files
        if files is None:
            self.step("files.create")
        elif files.is_available and self.is_founded:
            for subnet in self.site.network.subnet_ids:
                if subnet not in files.mounts:
                    self.step("files.mount", id=files.id, subnet=subnet)

    # Nodes

    def template(self) -> tuple[str, str] | None:
        """Digest and number of the version that nodes are to be started from; None: it cannot be made yet."""
        files, template, host = self.seen.files, self.seen.template, self.database_host
        if not (files and files.is_mounted and self.is_founded and self.seen.secret and self.site.is_resolved and host):
            return None
        digest = digest_of(self.site, host, files.id)
        good = self.memory.good
        if digest == self.memory.failed and good:
            digest = good["digest"]
            if self.site.version != good["version"]:
                self.made.fall_back = good["version"]
        if template is None:
            self.step("template.create", digest=digest, host=host, files=files.id)
            return None
        number = template.number_of(digest)
        if number is None:
            self.step("template.version", id=template.id, digest=digest, host=host, files=files.id)
            return None
        return digest, number

    def group(self, digest: str, number: str) -> None:
        """The Auto Scaling group: it starts what is missing; which nodes go is decided here."""
        group = self.seen.group
        self.size(group)
        if group is None:
            if self.seen.target and self.seen.balancer:
                self.step("group.create", template=number, digest=digest, **self.limits(), desired=self.wanted)
            self.say("NodesReady", self.wanted == 0, "the first nodes are being started")
            return
        if not group.is_left_alone:
            self.step("group.leave_alone")
        live = [node for node in self.seen.nodes if node.state not in ("gone", "leaving")]
        live = [self.overdue(node) for node in live]
        self.is_rolling = self.wanted > 0 and any(node.digest != digest for node in live if node.is_ours)
        found = (group.template_version, group.digest, group.least, group.most)
        if found != (number, digest, *self.limits().values()):
            self.step("group.update", template=number, digest=digest, **self.limits())
        if group.has_policy != (self.site.range is not None):
            self.step("group.policy" if self.site.range else "group.no_policy")
        for node in self.seen.nodes:
            if node.state == "gone" and node.is_ours:
                self.step("node.replace", id=node.id)
            elif not node.is_routed:
                self.step("node.register", id=node.id, target=self.seen.target)
        if not self.heal(live, digest):
            self.resize(group, live, digest)
        self.report(live, digest, number)

    def size(self, group: Group | None) -> None:
        if self.site.is_suspended:
            self.wanted = 0
        elif self.site.range:
            least, most = self.site.range
            # What the group itself wishes between the two is no gap.
            self.wanted = min(max(group.desired if group else least, least), most)
        else:
            self.wanted = self.site.nodes

    def limits(self) -> dict[str, int]:
        """Least and most of the group. Nodes are taken out by lowering its wish, which may not fall below the least."""
        room = 1 if self.is_rolling or not self.site.range else 0
        least, most = self.site.range if self.site.range and not self.site.is_suspended else (0, self.wanted)
        # Where fewer are wanted than there are, who goes is not the group's to choose.
        return {"least": least, "most": max(most + room, self.seen.group.desired if self.seen.group else 0)}

    def overdue(self, node: Node) -> Node:
        """A node that takes too long to start is ill, and need not be looked at twice more."""
        if node.state != "starting" or self.now - node.started <= GRACE:
            return node
        self.memory.strikes[node.id] = STRIKES
        return Node(node.id, "ill", node.started, node.digest, node.is_ours)

    def heal(self, live: Sequence[Node], digest: str) -> bool:
        """Replaces nodes that were ill three times; whether any was, so that sizes wait for the next look."""
        ill = [node for node in live if node.state == "ill" and node.is_ours]
        is_counted = self.now.timestamp() - self.memory.counted >= STRIKE_SECONDS
        if ill and is_counted:
            self.memory.counted = self.now.timestamp()
        self.memory.strikes = {node.id: self.memory.strikes.get(node.id, 0) + is_counted for node in ill}
        condemned = [node for node in ill if self.memory.strikes[node.id] >= STRIKES]
        if not condemned:
            return False
        good = self.memory.good
        newcomers = [node for node in condemned if node.digest == digest and good and good["digest"] != digest]
        if newcomers:
            self.give_up(newcomers, digest)
        elif len(ill) > 1 and len(ill) * 2 > len(live):
            self.alarm(f"{len(ill)} of {len(live)} nodes are ill; none is replaced until a person has looked")
        elif not good and self.memory.failed_starts >= FAILED_STARTS:
            self.alarm("nodes do not start; none has ever run")
        else:
            self.memory.failed_starts += 0 if good else 1
            for node in condemned[: max(1, len(live) // 3)]:
                self.step("node.replace", id=node.id)
                self.memory.strikes.pop(node.id)
        return True

    def give_up(self, newcomers: Sequence[Node], digest: str) -> None:
        """A new version does not start. After the second time the old one is wanted again."""
        self.memory.failed_starts += len(newcomers)
        for node in newcomers:
            self.step("node.remove", id=node.id, is_ours=True)
            self.memory.strikes.pop(node.id)
        if self.memory.failed_starts >= FAILED_STARTS:
            self.memory.failed, self.memory.failed_generation = digest, self.site.generation
            self.memory.failed_starts = 0

    def resize(self, group: Group, live: Sequence[Node], digest: str) -> None:
        """More, fewer, or the next step of a roll: one more first, then one old out."""
        goal = self.wanted + self.is_rolling
        surplus = len(live) - goal
        ready = [node for node in live if node.state == "ready" and node.is_ours]
        has_new = any(node.digest == digest for node in ready)
        if surplus > 0:
            self.remove(live, digest, surplus)
        elif self.is_rolling and len(ready) > self.wanted and (has_new or len(ready) == len(live)):
            self.remove([node for node in live if node.digest != digest], digest, 1)
        elif group.desired < goal:
            self.step("group.resize", desired=goal)
        elif group.desired > goal and len(live) <= goal:
            self.step("group.resize", desired=max(goal, sum(node.is_ours for node in live)))

    def remove(self, live: Sequence[Node], digest: str, count: int) -> None:
        """Takes nodes out: strays and ill ones first, then those of old code, then the youngest."""

        def order(node: Node) -> tuple[bool, bool, float]:
            return (node.is_ours and node.state != "ill", node.digest == digest, -node.started.timestamp())

        for node in sorted(live, key=order)[:count]:
            self.step("node.remove", id=node.id, is_ours=node.is_ours)

    def report(self, live: Sequence[Node], digest: str, number: str) -> None:
        ready = [node for node in live if node.state == "ready" and node.is_ours]
        self.made.ready = len(ready)
        is_enough = len(ready) >= self.wanted
        self.say("NodesReady", is_enough, "" if is_enough else f"{len(ready)} of {self.wanted} nodes are ready")
        if is_enough and not self.is_rolling and self.wanted and digest != self.memory.failed:
            version = int(digest.partition("-")[0])
            self.memory.good = {"digest": digest, "template": number, "version": version}
            self.memory.failed_starts = 0
        self.made.code_version = self.memory.good.get("version")
        if self.memory.failed:
            self.say(
                "UpdateFailed", True, f"the nodes of {self.memory.failed} did not start; the version before is back"
            )

    # The way to the site

    def front(self) -> None:
        if self.seen.target is None:
            self.step("target.create")
        if self.site.is_dedicated and self.seen.address is None:
            self.step("address.allocate")
            return
        if self.seen.balancer is None:
            if self.is_founded:
                self.step("balancer.create", address=self.seen.address and self.seen.address[0])
        elif self.seen.balancer.redirect is None and not self.site.is_dedicated:
            self.step("balancer.redirect", arn=self.seen.balancer.arn)

    def certificates(self) -> None:
        own = self.seen.certificates.get(self.site.subject)
        if own is None or own.status not in ("ISSUED", "PENDING_VALIDATION"):
            self.step(
                "certificate.request", names=tuple(dict.fromkeys((self.site.subject, *self.site.certificate_names)))
            )
        self.say("CertificateReady", bool(own and own.is_issued), "" if own and own.is_issued else "not issued yet")
        for name, value in (own.records if own else {}).items():
            if self.seen.records.get(name) != value:
                self.step("record.write", name=name, value=value)
        for domain in self.site.domains:
            certificate = self.seen.certificates.get(domain)
            if certificate is None:
                self.step("certificate.request", names=(domain,))
            self.made.domain_states.append(self.domain_state(domain, certificate))

    def domain_state(self, domain: str, certificate: Certificate | None) -> dict[str, object]:
        """What the customer must set in a zone of his own, and how far it is."""
        listed = {"type": "CNAME", "name": domain, "value": self.site.hostname}
        records = certificate.records if certificate else {}
        required = [listed] + [{"type": "CNAME", "name": name, "value": value} for name, value in records.items()]
        balancer = self.seen.balancer
        is_shown = certificate and balancer and certificate.arn in balancer.certificates
        state = "active" if is_shown else "validated" if certificate and certificate.is_issued else "pending"
        return {"name": domain, "state": state, "required_records": required}

    def routes(self) -> None:
        balancer, own = self.seen.balancer, self.seen.certificates.get(self.site.subject)
        if balancer is None or self.seen.target is None or not balancer.is_active:
            self.say("RoutesReady", False, "the load balancer is being made")
            return
        self.made.address = self.seen.address[1] if self.seen.address else balancer.dns
        before = len(self.made.steps)
        if balancer.listener is None:
            if own and own.is_issued:
                self.step("listener.create", balancer=balancer.arn, certificate=own.arn, target=self.seen.target)
        else:
            self.listener(balancer)
        for name in self.site.certificate_names:
            if self.seen.records.get(name) != f"alias {balancer.dns}":
                self.step("record.alias", name=name, dns=balancer.dns, zone=balancer.zone)
        is_ready = balancer.listener is not None and len(self.made.steps) == before
        self.say("RoutesReady", is_ready, "" if is_ready else "the way to the nodes is being laid")

    def listener(self, balancer: Balancer) -> None:
        names = [self.site.subject, *self.site.domains]
        issued = [one for name in names if (one := self.seen.certificates.get(name)) and one.is_issued]
        for certificate in issued:
            if certificate.arn not in balancer.certificates:
                self.step("listener.certificate", listener=balancer.listener, certificate=certificate.arn)
        if self.site.is_dedicated:
            return
        shown = {domain for domain in self.site.domains if self.is_issued(domain)}
        wanted = [frozenset(self.site.certificate_names), *(frozenset({domain}) for domain in sorted(shown))]
        taken = set(balancer.priorities)
        for hosts in wanted:
            if hosts not in balancer.rules.values():
                priority = next(number for number in range(1, 50_000) if number not in taken)
                taken.add(priority)
                given = {"listener": balancer.listener, "target": self.seen.target, "priority": priority}
                self.step("rule.create", hosts=tuple(sorted(hosts)), **given)
        for arn, hosts in balancer.rules.items():
            if hosts not in wanted:
                self.step("rule.remove", arn=arn)

    def is_issued(self, domain: str) -> bool:
        found = self.seen.certificates.get(domain)
        return bool(found and found.is_issued)

    def load(self) -> None:
        """Too much to do is said, and does not make the site any other than ready."""
        load = self.memory.load
        high = [what for what in ("processor", "memory") if load.get(what, 0) >= self.site.load_percent]
        if high:
            self.say("LoadHigh", True, ", ".join(f"{what} {load[what]:.0f} %" for what in high))

    # The end

    def conclude(self) -> None:
        made, conditions = self.made, self.made.conditions
        holds = all(one["status"] for name, one in conditions.items() if name != "UpdateFailed")
        if holds and not made.steps and not self.is_rolling and not made.alarm:
            self.leave_behind()
        made.is_done = holds and not made.steps and not self.is_rolling and not made.alarm
        made.is_waiting = not made.is_done and not made.steps
        if made.is_done:
            made.phase = "suspended" if self.site.is_suspended else "ready"
        elif made.alarm and self.site.has_served:
            made.phase = "degraded"
        elif not self.site.has_served:
            made.phase = "failed" if made.alarm else "creating"
        else:
            made.phase = "updating" if self.site.is_changing or self.is_rolling or holds else "degraded"

    def leave_behind(self) -> None:
        """Databases that a restore has replaced, once nothing uses them."""
        for name in self.seen.databases:
            number = name.removeprefix(f"{self.site.key}-")
            if number.isdecimal() and int(number) < self.site.database_revision:
                self.step("database.remove", name=name, snapshot=f"{name}-left")


class _Deletion:
    """A site that is to be gone: everything in the reverse order of its creation, the data kept as a snapshot."""

    def __init__(self, site: Site, seen: Seen, memory: Memory) -> None:
        self.site, self.seen = site, seen
        self.made = Plan(phase="deleting", memory=copy.deepcopy(memory))

    def plan(self) -> Plan:
        ways = (self.names, self.nodes, self.front, self.base, self.data, self.ground)
        for way in ways:
            way()
            if self.made.steps or self.made.is_waiting:
                return self.made
        if self.site.is_busy:
            # They end, as it is to be deleted; what they made until then is seen by the next look.
            self.made.is_waiting = True
            return self.made
        self.made.phase, self.made.is_done = "deleted", True
        self.made.has_final_snapshot = self.site.final_snapshot in self.seen.snapshots
        return self.made

    def step(self, action: str, **given: object) -> None:
        self.made.steps.append(Step(action, given))

    def names(self) -> None:
        for name, value in self.seen.records.items():
            self.step("record.remove", name=name, value=value)
        balancer = self.seen.balancer
        if balancer and not self.is_balancer_going:
            for arn in balancer.rules:
                self.step("rule.remove", arn=arn)
            for certificate in self.seen.certificates.values():
                self.unshow(balancer, certificate.arn)

    def unshow(self, balancer: Balancer, arn: str) -> None:
        others = sorted(balancer.certificates - {one.arn for one in self.seen.certificates.values()})
        if arn == balancer.default and others:
            self.step("listener.default", listener=balancer.listener, certificate=others[0])
        elif arn in balancer.certificates and arn != balancer.default:
            self.step("listener.no_certificate", listener=balancer.listener, certificate=arn)

    @property
    def is_balancer_going(self) -> bool:
        return self.site.is_dedicated or self.site.is_last_of_org

    def nodes(self) -> None:
        if self.seen.group:
            if not self.seen.group.is_going:
                self.step("group.remove")
            self.made.is_waiting = self.seen.group.is_going
            return
        for node in self.seen.nodes:
            if node.state not in ("gone", "leaving"):
                self.step("node.remove", id=node.id, is_ours=False)
        self.made.is_waiting = any(node.state == "leaving" for node in self.seen.nodes)

    def front(self) -> None:
        balancer = self.seen.balancer
        if balancer and self.is_balancer_going:
            self.step("balancer.remove", arn=balancer.arn)

    def base(self) -> None:
        if self.seen.target:
            self.step("target.remove", arn=self.seen.target)
        for certificate in self.seen.certificates.values():
            self.step("certificate.remove", arn=certificate.arn)
        if self.seen.address:
            self.step("address.release", id=self.seen.address[0])
        if self.seen.template:
            self.step("template.remove", id=self.seen.template.id)

    def data(self) -> None:
        files = self.seen.files
        if files and files.mounts:
            for mount in files.mounts.values():
                self.step("files.unmount", mount=mount)
        elif files:
            self.step("files.remove", id=files.id)
        for name, database in self.seen.databases.items():
            if database.status != "deleting":
                snapshot = self.site.final_snapshot if name == self.site.database_name else None
                self.step("database.remove", name=name, snapshot=snapshot)
        self.made.is_waiting = not self.made.steps and bool(self.seen.databases)

    def ground(self) -> None:
        for name in self.seen.snapshots:
            if name != self.site.final_snapshot:
                self.step("snapshot.remove", name=name)
        for key in self.seen.artifacts:
            self.step("artifact.remove", key=key)
        if self.site.is_last_of_org:
            if self.seen.has_subnets:
                self.step("subnets.remove")
            # The one that others refer to goes last.
            for role in reversed(ROLES):
                if role in self.seen.security:
                    self.step("security.remove", id=self.seen.security[role])
        if self.seen.secret:
            self.step("secret.remove")

"""How often requests may come: a token bucket per address, and one per caller.

The buckets are this process's own, so that no request waits for another process or the database to be counted: with N
processes behind a load balancer a caller gets up to N times as much. The address is the client's, or what a load
balancer says it is if the setting `api_proxies` names that.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from provision_api.problem import Problem

# Keys that are remembered; beyond it the one that was quiet for longest is forgotten, and its bucket is full again.
KEY_LIMIT = 10_000


class Buckets:
    """Buckets by key, into which `rate` tokens fall per second and which hold what falls in `burst` seconds.

    A bucket is the moment at which it is full (the generic cell rate algorithm of ATM, ITU-T I.371): one number, and no
    work for keys that do not come.
    """

    def __init__(self, what: str, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.what = what
        self.rate = rate
        self.burst = burst
        self._clock = clock
        self._full: OrderedDict[str, float] = OrderedDict()

    def take(self, key: str) -> None:
        """Take a token. With a rate of 0 there is no limit.

        Raises:
            Problem: 429; the bucket is empty.
        """
        if not self.rate:
            return
        now, token = self._clock(), 1 / self.rate
        full = max(self._full.pop(key, now), now)
        # A bucket holds one token at least, or nobody would be served. Added up so, a full one waits for exactly 0.
        wait = (full - now) + (token - max(self.burst, token))
        self._remember(key, full if wait > 0 else full + token)
        if wait > 0:
            raise self._problem(wait)

    def _remember(self, key: str, full: float) -> None:
        self._full[key] = full
        if len(self._full) > KEY_LIMIT:
            self._full.popitem(last=False)

    def _problem(self, wait: float) -> Problem:
        detail = f"more than {self.rate:g} per second from one {self.what}"
        seconds = str(math.ceil(wait))
        return Problem(429, "too many requests", detail, hint="slow down", headers={"Retry-After": seconds})


class AddressLimit:
    """Middleware: refuses addresses that ask too often before anything is done for them; `free` paths do not count."""

    def __init__(self, app: ASGIApp, *, buckets: Buckets, free: frozenset[str]) -> None:
        self.app = app
        self.buckets = buckets
        self.free = free

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in self.free:
            self.buckets.take(_address(scope))
        await self.app(scope, receive, send)


def _address(scope: Scope) -> str:
    """Who has an IPv6 address has a network of 64 bits of them (RFC 6177), which counts as one."""
    host, _ = scope["client"] or ("", 0)
    try:
        address = ip_address(host)
    except ValueError:
        return str(host)
    if not isinstance(address, IPv6Address):
        return str(address)
    return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))

"""The keys that tokens are signed with, as the database keeps them."""

from collections import OrderedDict
from uuid import UUID

from sqlalchemy import Uuid, bindparam, column, func, select

from provision_api import token
from provision_api.database import Database, Statement

_KEPT = 1000

_KEY = Statement(
    select(
        func.signing_key_find(bindparam("kid", type_=Uuid)).table_valued(
            *(column(name) for name in ("org_id", "org", "algorithm", "secret"))
        )
    )
)


class Keys:
    """The signing keys that were seen, so that each is read once.

    A key never changes; whether its tokens are still accepted is asked of the database with every one of them.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[UUID, token.Key] = OrderedDict()

    async def find(self, kid: UUID) -> token.Key | None:
        """The key with this id."""
        if kid not in self._known:
            rows = await self._database.read(_KEY, kid=kid)
            if not rows:
                return None
            self._known[kid] = token.Key(kid, rows[0]["algorithm"], bytes(rows[0]["secret"]), rows[0]["org"])
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return self._known[kid]

    async def read(self, text: str, kind: token.Kind) -> tuple[UUID, token.Claims]:
        """The key's id and the claims of a token that one of our keys has signed.

        Raises:
            TokenError: it is not, or not of that kind.
        """
        kid = token.key_id(text)
        key = await self.find(kid)
        if key is None:
            raise token.TokenError("unknown key")
        return kid, token.read(text, kind, key)

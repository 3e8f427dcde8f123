"""The allocators' API: customers, projects and members, offerings, orders, allocations, usage and invoices, as the
clients of Waldur know them, in the shapes of 2021 and of today; and the same under `/v1` for people.

Who may what and what becomes of an order is decided in the database (sql/stored-procedures/allocation.sql and others).
`wire` has what all endpoints have in common, `listing` the lists, `endpoint` what an endpoint is made of; the rest are
nouns, each with its routes.
"""

from provision_api.allocation import customer, login, member, offering, order, project, resource, schema, usage, v1

__all__ = ["routes"]

_nouns = (login, customer, project, member, offering, order, resource, usage)
_routes = [route for noun in _nouns for route in noun.routes]
routes = [*_routes, *schema.describing(_routes), *v1.routes]

"""What things really cost: AWS Cost Explorer, asked daily for all cost tags of an AWS account.

Cost Explorer revises its days until a month is settled, so some weeks are asked for each time, and what it says takes
the place of what it said before. Days that are not over are not asked for.
"""

from collections.abc import Iterator
from typing import Any

from psycopg.types.json import Jsonb

from provision_worker.job import Outcome, completed
from provision_worker.providers.cloud import COST
from provision_worker.task import Task


def import_costs(task: Task) -> Outcome:
    """Takes over the costs of all tags by day (GetCostAndUsage, grouped by the cost tag)."""
    accreditation = task.site.accreditation.id
    days = task.resources.row("account", "range", accreditation=accreditation)
    if days is None:
        return completed({"changed": 0})
    costs = list(_ask(task, str(days["first_day"]), str(days["after_day"])))
    row = task.resources.row("account", "import", accreditation=accreditation, costs=Jsonb(costs))
    return completed({"told": len(costs), "changed": row and row["changed"]})


def _ask(task: Task, first_day: str, after_day: str) -> Iterator[dict[str, Any]]:
    """Tag, day and amount, page by page."""
    question: Any = {
        "TimePeriod": {"Start": first_day, "End": after_day},
        "Granularity": "DAILY",
        "Metrics": ["UnblendedCost"],
        "GroupBy": [{"Type": "TAG", "Key": COST}],
    }
    while True:
        answer = task.site.account.cost_explorer.get_cost_and_usage(**question)
        for day in answer["ResultsByTime"]:
            for group in day["Groups"]:
                # Keys are `<name of the tag>$<value>`; what has no tag has no value.
                tag, cost = group["Keys"][0].partition("$")[2], group["Metrics"]["UnblendedCost"]
                if tag and cost["Unit"] == "USD":
                    yield {"tag": tag, "day": day["TimePeriod"]["Start"], "amount": cost["Amount"]}
        if not answer.get("NextPageToken"):
            return
        question["NextPageToken"] = answer["NextPageToken"]

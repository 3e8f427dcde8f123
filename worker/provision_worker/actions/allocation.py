"""Allocations at AWS: an account of the organization, or one that is there, with a budget for each component's limit.

CreateAccount takes minutes and no token, but an e-mail address belongs to one account, so ours is made of the
allocation's id: whoever finds an account of that address has found ours. A budget's name is unique in the paying
account and made the same way. Budgets alert at 75 and 100 % of the limit. What was used is asked of Cost Explorer
once a day.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from botocore.exceptions import ClientError
from psycopg.types.json import Jsonb

from provision_worker.effects import Thing, fenced
from provision_worker.job import Outcome, again, completed, failed
from provision_worker.task import Site, Task

ACCOUNT_SECONDS = 10.0
TAG = "provision:allocation"
PERIODS = {"month": "MONTHLY", "quarterly": "QUARTERLY", "annual": "ANNUALLY", "total": "ANNUALLY"}
ALERTS = (75, 100)
# Costs of a day may still change for some days (AWS Cost Explorer's documentation).
LATE_DAYS = 5


def create(task: Task) -> Outcome:
    """Makes the account, unless the offering names one, and its budgets."""
    account = _account(task)
    if isinstance(account, Outcome):
        return account
    _set_budgets(task, account)
    return completed({"roid": account})


def update(task: Task) -> Outcome:
    """Gives the budgets the new limits."""
    _set_budgets(task, task.job.data["backend_id"])
    return completed()


def terminate(task: Task) -> Outcome:
    """Takes the budgets away and closes the account, if it was made for the allocation."""
    data, organizations = task.job.data, task.site.account.organizations
    for type in data["limits"]:
        _delete_budget(task.site, _budget_name(data, type))
    account = data["backend_id"]
    if not data["settings"].get("account_id") and account:

        def make(token: UUID) -> Thing:
            organizations.close_account(AccountId=account)
            return Thing(account)

        parameters = {"account": account}
        task.effects.once(
            "allocation.close", parameters, make=make, find=lambda token: _closed(task.site, account), look_first=True
        )
    return completed()


def find_account(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """The id of the account that an effect was to make."""
    for page in site.account.organizations.get_paginator("list_accounts").paginate():
        for found in page["Accounts"]:
            if found["Email"] == parameters["email"]:
                return str(found["Id"])
    return None


def find_budget(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """The name of the budget that an effect was to make, if it has the amount that it was to have."""
    name: str = parameters["name"]
    found = _budget(site, name)
    if found is None or Decimal(found["BudgetLimit"]["Amount"]) != parameters["amount"]:
        return None
    return name


def find_closed(site: Site, parameters: dict[str, Any], token: UUID) -> str | None:
    """The id of the account that an effect was to close, if it is closed."""
    found = _closed(site, parameters["account"])
    return None if found is None else found.name


def why_missing(site: Site, account: str) -> str | None:
    """Why the account of an allocation is gone outside; None if it is not."""
    organizations = site.account.organizations
    try:
        status = organizations.describe_account(AccountId=account)["Account"]["Status"]
    except organizations.exceptions.AccountNotFoundException:
        return "the organization does not have it"
    return f"the account is {status}" if status != "ACTIVE" else None


# The account ----------------------------------------------------------------------------------------------------------


def _account(task: Task) -> str | Outcome:
    """The account's id, or what to do until there is one."""
    data, organizations = task.job.data, task.site.account.organizations
    settings = data["settings"]
    if "account_id" in settings:
        return str(settings["account_id"])
    if "email" not in settings:
        return failed("the offering's backend_settings name neither account_id nor email")
    email = _email(settings["email"], data["allocation_id"])

    def make(token: UUID) -> Thing:
        tags = [{"Key": TAG, "Value": data["allocation_id"]}, {"Key": "provision:org", "Value": data["org"]}]
        answer = organizations.create_account(Email=email, AccountName=data["name"][:50], Tags=tags)
        status = answer["CreateAccountStatus"]
        return Thing(status.get("AccountId", status["Id"]), {"request": status["Id"]})

    def look(token: UUID) -> Thing | None:
        found = find_account(task.site, {"email": email}, token)
        return Thing(found, {"account": found}) if found else None

    made = task.effects.once("allocation.account", {"email": email}, make=make, find=look)
    if "account" in made:
        return str(made["account"])
    answer = organizations.describe_create_account_status(CreateAccountRequestId=made["request"])
    status = answer["CreateAccountStatus"]
    match status["State"]:
        case "SUCCEEDED":
            return str(status["AccountId"])
        case "FAILED":
            # The address is the allocation's own, so an account that has it already is the one an earlier call made.
            found = find_account(task.site, {"email": email}, UUID(int=0))
            if status.get("FailureReason") == "EMAIL_ALREADY_EXISTS" and found:
                return found
            task.effects.gone("allocation.account")
            return failed(f"AWS made no account: {status.get('FailureReason', 'it gives no reason')}")
        case _:
            return again(ACCOUNT_SECONDS, message="AWS is making the account")


def _email(pattern: str, allocation: str) -> str:
    """An address of the allocation's own in that mailbox: aws@example.net, aws+0123456789ab@example.net."""
    box, _, domain = pattern.partition("@")
    return f"{box}+{allocation.replace('-', '')[-12:]}@{domain}"


def _closed(site: Site, account: str) -> Thing | None:
    status = why_missing(site, account)
    return Thing(account) if status is not None else None


# Budgets --------------------------------------------------------------------------------------------------------------


def _set_budgets(task: Task, account: str) -> None:
    for type, amount in sorted(task.job.data["limits"].items()):
        _set_budget(task, account, type, amount)


def _set_budget(task: Task, account: str, type: str, amount: int) -> None:
    data, site = task.job.data, task.site
    name, component = _budget_name(data, type), data["components"][type]
    parameters = {"name": name, "amount": amount}

    def make(token: UUID) -> Thing:
        # Rather than changed, a budget is made anew: then one call decides what it is, whatever was there before.
        _delete_budget(site, name)
        site.account.budgets.create_budget(
            AccountId=site.account.number,
            Budget=_described(name, amount, component, account),
            NotificationsWithSubscribers=_alerts(data["settings"]) if amount else [],
        )
        return Thing(name)

    def look(token: UUID) -> Thing | None:
        return Thing(name) if find_budget(site, parameters, token) else None

    task.effects.once(f"allocation.budget {type}", parameters, make=make, find=look, look_first=True)


def _described(name: str, amount: int, component: dict[str, Any], account: str) -> dict[str, Any]:
    filters = {"LinkedAccount": [account]}
    if services := component["settings"].get("services"):
        filters["Service"] = services
    return {
        "BudgetName": name,
        "BudgetType": component["settings"].get("budget_type", "COST"),
        "BudgetLimit": {"Amount": str(amount), "Unit": component["settings"].get("unit", "USD")},
        "CostFilters": filters,
        "TimeUnit": PERIODS[component["period"]],
    }


def _alerts(settings: dict[str, Any]) -> list[dict[str, Any]]:
    subscribers = [{"SubscriptionType": "EMAIL", "Address": address} for address in settings.get("alerts", ())]
    return [
        {
            "Notification": {
                "NotificationType": "ACTUAL",
                "ComparisonOperator": "GREATER_THAN",
                "Threshold": float(percent),
                "ThresholdType": "PERCENTAGE",
            },
            "Subscribers": subscribers,
        }
        for percent in ALERTS
        if subscribers
    ]


def _budget_name(data: dict[str, Any], type: str) -> str:
    return f"allocation-{data['allocation_id']}-{type}"


def _budget(site: Site, name: str) -> dict[str, Any] | None:
    budgets = site.account.budgets
    try:
        found: dict[str, Any] = budgets.describe_budget(AccountId=site.account.number, BudgetName=name)["Budget"]
    except budgets.exceptions.NotFoundException:
        return None
    return found


def _delete_budget(site: Site, name: str) -> None:
    budgets = site.account.budgets
    try:
        budgets.delete_budget(AccountId=site.account.number, BudgetName=name)
    except ClientError as error:
        if error.response["Error"]["Code"] != "NotFoundException":
            raise


# Usage ----------------------------------------------------------------------------------------------------------------


def collect(task: Task) -> Outcome:
    """Asks Cost Explorer what allocations have used this month, and until that is final in the one before."""
    found = task.site.resources.rows("allocation", "targets", accreditation=task.site.accreditation.id)
    count = 0
    for target in found:
        for month in months(datetime.now(UTC).date()):
            usages = _used(task.site, target, month)
            with fenced():
                task.site.resources.execute(
                    "allocation",
                    "collected",
                    job=task.job.job_id,
                    claim_no=task.job.claim_no,
                    allocation=target["allocation_id"],
                    month=month,
                    usages=Jsonb(usages),
                )
            count += len(usages)
    return completed({"allocations": len(found), "usages": count})


def months(today: date) -> Iterator[date]:
    """The first days of the months whose costs may still change: this one, and in its first days the one before."""
    this = today.replace(day=1)
    if today.day <= LATE_DAYS:
        yield (this - timedelta(days=1)).replace(day=1)
    yield this


def _used(site: Site, target: dict[str, Any], month: date) -> list[dict[str, str]]:
    end = (month + timedelta(days=32)).replace(day=1)
    usages = []
    for type, component in sorted(target["components"].items()):
        metric = component["settings"].get("metric", "UnblendedCost")
        chosen: dict[str, Any] = {"Dimensions": {"Key": "LINKED_ACCOUNT", "Values": [target["backend_id"]]}}
        if services := component["settings"].get("services"):
            chosen = {"And": [chosen, {"Dimensions": {"Key": "SERVICE", "Values": services}}]}
        answer = site.account.costs.get_cost_and_usage(
            TimePeriod={"Start": month.isoformat(), "End": end.isoformat()},
            Granularity="MONTHLY",
            Metrics=[metric],
            Filter=chosen,
        )
        totals = [row["Total"][metric]["Amount"] for row in answer["ResultsByTime"] if metric in row["Total"]]
        if totals:
            amount = max(sum(map(Decimal, totals)), Decimal(0))
            usages.append({"type": type, "amount": str(round(amount, 2)), "description": "AWS Cost Explorer"})
    return usages

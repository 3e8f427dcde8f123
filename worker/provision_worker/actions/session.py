"""Mails of verification codes, through SES with the worker's own AWS credentials.

A code is in the database until it is mailed, and in no job. A worker that dies after SES took the mail leaves it there,
and it is mailed once more, which harms nobody: it is the same code.
"""

from typing import Any

from provision_worker.job import Outcome, completed
from provision_worker.task import Task

_TEXT = """Hello {name},

the code that shows that this address is yours:

    {code}

If you did not sign up, ignore this mail.
"""


def mail(task: Task) -> Outcome:
    """Mails the code of the verification that the job names, unless it was mailed, used, or is over."""
    verification = task.job.data["verification"]
    found = task.resources.row("session", "mail", verification=verification)
    if found is None:
        return completed({"mailed": False})
    answer = task.resources.mail(found["region"]).send_email(**_message(found))
    task.resources.execute("session", "mailed", verification=verification)
    return completed({"mailed": True, "message_id": answer["MessageId"]})


def _message(found: dict[str, Any]) -> dict[str, Any]:
    text = {"Data": _TEXT.format(name=found["name"], code=found["code"]), "Charset": "UTF-8"}
    return {
        "FromEmailAddress": found["sender"],
        "Destination": {"ToAddresses": [found["email"]]},
        "Content": {"Simple": {"Subject": {"Data": "Your verification code"}, "Body": {"Text": text}}},
    }

"""What the worker can do: job type → action. One module per word; adding a kind of provisioning adds a line here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from provision_worker.job import Outcome
from provision_worker.task import Task

from . import certificate, contact, deployment, domain, event, host, lifecycle, reconcile, session


@dataclass(frozen=True, slots=True)
class Action:
    """What does the jobs of one type.

    An `inline` action makes no outside call and never waits: it runs in the loop itself, many per claim. All others
    run in threads.
    """

    function: Callable[[Task], Outcome]
    inline: bool = False


Actions = Mapping[str, Action]


def default_actions() -> Actions:
    """The actions of the product, by job type."""
    return {
        "provision_contact_create": Action(contact.create),
        "provision_contact_update": Action(contact.update),
        "provision_contact_delete": Action(contact.delete),
        "provision_host_create": Action(host.create),
        "provision_host_update": Action(host.update),
        "provision_host_delete": Action(host.delete),
        "provision_domain_create": Action(domain.create),
        "provision_domain_update": Action(domain.update),
        "provision_domain_renew": Action(lifecycle.renew),
        "provision_domain_delete": Action(lifecycle.delete),
        "provision_domain_restore": Action(lifecycle.restore),
        "provision_ssl_create": Action(certificate.create),
        "provision_compute_cluster_create": Action(deployment.create_cluster),
        "provision_compute_cluster_update": Action(deployment.update_cluster),
        "provision_compute_cluster_delete": Action(deployment.delete_cluster),
        "provision_deployment_run": Action(deployment.run),
        "provision_deployment_stop": Action(deployment.stop),
        "deployment_schedule": Action(deployment.schedule),
        "deployment_sweep": Action(deployment.sweep),
        "reconcile": Action(reconcile.run),
        "webhook_deliver": Action(event.deliver),
        "session_mail": Action(session.mail),
    }

"""What the worker can do: job type → action. One module per word; adding a kind of provisioning adds a line here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from provision_worker.job import Outcome
from provision_worker.task import Task

from . import (
    account,
    allocation,
    certificate,
    cluster,
    contact,
    deployment,
    domain,
    event,
    host,
    hosting,
    lifecycle,
    poll,
    price,
    reconcile,
    registrar,
    session,
    transfer,
)


@dataclass(frozen=True, slots=True)
class Action:
    """What does the jobs of one type.

    An `inline` action makes no outside call and never waits: it runs in the loop itself, many per claim. All others
    run in threads.
    """

    function: Callable[[Task], Outcome]
    inline: bool = False


Actions = Mapping[str, Action]


def at(**functions: Callable[[Task], Outcome]) -> Callable[[Task], Outcome]:
    """What does a job by the provider that its accreditation is at."""
    return lambda task: functions[task.site.accreditation.provider](task)


def default_actions() -> Actions:
    """The actions of the product, by job type."""
    return {
        "provision_contact_create": Action(at(epp=contact.create, aws=registrar.keep)),
        "provision_contact_update": Action(at(epp=contact.update, aws=registrar.keep)),
        "provision_contact_delete": Action(at(epp=contact.delete, aws=registrar.keep)),
        "provision_host_create": Action(at(epp=host.create, aws=registrar.keep)),
        "provision_host_update": Action(at(epp=host.update, aws=registrar.keep)),
        "provision_host_delete": Action(at(epp=host.delete, aws=registrar.keep)),
        "provision_domain_create": Action(at(epp=domain.create, aws=registrar.create)),
        "provision_domain_update": Action(at(epp=domain.update, aws=registrar.update)),
        "provision_domain_renew": Action(at(epp=lifecycle.renew, aws=registrar.renew)),
        "provision_domain_delete": Action(at(epp=lifecycle.delete, aws=registrar.delete)),
        "provision_domain_restore": Action(lifecycle.restore),
        "provision_domain_transfer_request": Action(at(epp=transfer.request, aws=registrar.request)),
        "provision_domain_transfer_answer": Action(transfer.answer),
        "registry_poll": Action(poll.run),
        "domain_check": Action(price.check),
        "provision_wpaas_create": Action(hosting.create),
        "provision_wpaas_update": Action(hosting.update),
        "provision_wpaas_converge": Action(hosting.converge),
        "provision_wpaas_backup": Action(hosting.backup),
        "provision_wpaas_restore": Action(hosting.restore),
        "provision_wpaas_download": Action(hosting.download),
        "provision_wpaas_delete": Action(hosting.delete),
        "wpaas_stray": Action(hosting.find_strays),
        "provision_ssl_create": Action(certificate.create),
        "provision_ssl_renew": Action(certificate.renew),
        "provision_ssl_revoke": Action(certificate.revoke),
        "provision_compute_cluster_create": Action(deployment.create_cluster),
        "provision_compute_cluster_update": Action(deployment.update_cluster),
        "provision_compute_cluster_delete": Action(deployment.delete_cluster),
        "provision_deployment_run": Action(deployment.run),
        "provision_deployment_stop": Action(deployment.stop),
        "deployment_schedule": Action(deployment.schedule),
        "deployment_sweep": Action(deployment.sweep),
        "provision_cluster_deploy": Action(cluster.deploy),
        "provision_cluster_scale": Action(cluster.scale),
        "provision_cluster_shutdown": Action(cluster.shutdown),
        "cluster_observe": Action(cluster.observe),
        "account_import": Action(account.import_costs),
        "provision_allocation_create": Action(allocation.create),
        "provision_allocation_update": Action(allocation.update),
        "provision_allocation_terminate": Action(allocation.terminate),
        "allocation_usage": Action(allocation.collect),
        "reconcile": Action(reconcile.run),
        "webhook_deliver": Action(event.deliver),
        "session_mail": Action(session.mail),
    }

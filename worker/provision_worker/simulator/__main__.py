"""`python -m provision_worker.simulator`: the registry simulator as a process."""

from .cli import registry

registry(prog_name="python -m provision_worker.simulator")

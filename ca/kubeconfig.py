"""Address, trust and credentials of a Kubernetes cluster: from a kubeconfig, else from the pod that we run in."""

import yaml
from kubernetes.client import Configuration
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config

from ca.errors import ConfigurationError


def load_configuration(kubeconfig: str, *, context: str | None = None) -> Configuration:
    """The cluster of a kubeconfig and one of its contexts; with an empty path, that of the pod that we run in.

    Connects to nothing. Raises ConfigurationError naming the file, or that there is none.
    """
    found = Configuration()
    try:
        if kubeconfig:
            load_kube_config(kubeconfig, context=context, client_configuration=found, persist_config=False)  # type: ignore[no-untyped-call]
        else:
            load_incluster_config(client_configuration=found)  # type: ignore[no-untyped-call]
    except (ConfigException, OSError, yaml.YAMLError) as error:
        where = f"kubeconfig {kubeconfig}" if kubeconfig else "no kubeconfig, and no service account of a pod"
        raise ConfigurationError(f"{where}: {error}") from error
    return found

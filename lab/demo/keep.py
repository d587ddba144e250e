"""What `make demo KEEP=1` tells a person to type in another terminal, while everything runs."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from contract.names import BUNDLE_FILE, CERTIFICATE_FILE, CURRENT, KEY_FILE, RUN_DIRECTORY, SIDECAR_CONTAINER
from lab.demo.cluster import DemoCluster
from lab.demo.peers import Server
from lab.demo.proofs.evidence import logs
from lab.demo.proofs.refusals import ProofSetup
from lab.demo.show import Show
from lab.sandbox.kubelet.kubelet import Kubelet
from lab.sandbox.linux import enclosure

_FOLDER: Final = f"{RUN_DIRECTORY}/{CURRENT}"
_OWN_FILES: Final = f"--cert {_FOLDER}/{CERTIFICATE_FILE} --key {_FOLDER}/{KEY_FILE}"


def show_what_to_try(show: Show, cluster: DemoCluster, setup: ProofSetup) -> None:
    """Commands that can be copied; each is one line."""
    show.step("Everything goes on running, until Ctrl-C. To try in another terminal")
    show.line("# Ways in; copy these first", "dim")
    for name, command in _ways_in(cluster.kubelet, setup).items():
        show.line(f'{name}() {{ {shlex.join(command)} "$@"; }}')
    for what, line in _to_try(cluster, setup):
        show.line(f"# {what}", "dim")
        show.line(line)


def _ways_in(kubelet: Kubelet, setup: ProofSetup) -> Mapping[str, Sequence[str]]:
    """Shell functions: into the sandbox, and into three containers of it."""
    server, client = setup.server, setup.client
    containers = {
        "client_app": (client.namespace, client.pod, client.container),
        "client_nginx": (client.namespace, client.pod, SIDECAR_CONTAINER),
        "server_nginx": (server.namespace, server.pod, SIDECAR_CONTAINER),
    }
    # The last word is the shell that a person would be in.
    into = {name: kubelet.command_to_exec(*container)[:-1] for name, container in containers.items()}
    return {"sandbox": enclosure.command_to_enter(), **into}


def _to_try(cluster: DemoCluster, setup: ProofSetup) -> Sequence[tuple[str, str]]:
    server, client = setup.server, setup.client
    service = cluster.api.store.get("Service", server.namespace, server.service)
    address = f"{server.name}:{server.service_port}"
    # The pod's hosts file sends this name to its own Nginx; here the TLS is curl's.
    direct = f"--resolve {address}:{service['spec']['clusterIP']} --cacert {_FOLDER}/{BUNDLE_FILE} https://{address}/"
    fetch = f"import urllib.request as r; print(r.urlopen({client.url!r}).read().decode())"
    audit = shlex.join([sys.executable, "-P", "-m", "podtls", "audit", "list", *map(str, logs(cluster))])
    return (
        (f"the app of {client.pod} asks in plain HTTP", f"client_app python3 -c {shlex.quote(fetch)}"),
        ("a client with the pod's own files asks the Service", f"client_nginx curl -sS {_OWN_FILES} {direct}"),
        ("the same without a certificate gets nothing", f"client_nginx curl -sS {direct}"),
        ("a certificate", f"client_nginx openssl x509 -noout -text -in {_FOLDER}/{CERTIFICATE_FILE}"),
        (f"the files of {server.pod}", f"server_nginx ls -l {RUN_DIRECTORY}/ {_FOLDER}/"),
        ("what its Nginx says", f"sandbox tail {_log(cluster, server)}"),
        ("the patch log", f"sandbox {audit}"),
    )


def _log(cluster: DemoCluster, server: Server) -> str:
    pod = cluster.api.store.get("Pod", server.namespace, server.pod)
    return str(cluster.folders(pod).logs / f"{SIDECAR_CONTAINER}.log")

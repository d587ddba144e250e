"""What `podtls demo --keep` tells a person to type in another terminal, while everything runs."""

import shlex
import sys
from collections.abc import Sequence
from typing import Final

from injector.contract import BUNDLE_FILE, CERTIFICATE_FILE, CURRENT, KEY_FILE, RUN_DIRECTORY, SIDECAR_CONTAINER
from podtls.demo import sandbox
from podtls.demo.patch_log import logs
from podtls.demo.proofs import Actors
from podtls.demo.show import Show

_FOLDER: Final = f"{RUN_DIRECTORY}/{CURRENT}"
_OWN_FILES: Final = f"--cert {_FOLDER}/{CERTIFICATE_FILE} --key {_FOLDER}/{KEY_FILE}"


def say_what_to_try(show: Show, actors: Actors) -> None:
    """Commands that can be copied; each is one line."""
    show.step("Everything goes on running, until Ctrl-C. To try in another terminal")
    for what, command in _commands(actors):
        show.line(f"# {what}", "dim")
        show.line(command)


def _commands(actors: Actors) -> Sequence[tuple[str, str]]:
    server, client, kubelet = actors.server, actors.client, actors.stage.kubelet
    files = kubelet.command_to_exec(client.namespace, client.pod, SIDECAR_CONTAINER)
    app = kubelet.command_to_exec(client.namespace, client.pod, client.container)
    front = kubelet.command_to_exec(server.namespace, server.pod, SIDECAR_CONTAINER)
    service = actors.stage.cluster.store.get("Service", server.namespace, server.service)
    address = f"{server.name}:{server.service_port}"
    url = f"https://{address}/"
    known = f"--resolve {address}:{service['spec']['clusterIP']} --cacert {_FOLDER}/{BUNDLE_FILE}"
    fetch = f"import urllib.request as r; print(r.urlopen({client.url!r}).read().decode())"
    audit = [sys.executable, "-P", "-m", "podtls", "audit", "list", *map(str, logs(actors.stage))]
    return (
        (
            f"a client with the files of {client.pod} asks the Service",
            _inside(files, f"curl -s {known} {_OWN_FILES} {url}"),
        ),
        ("the same without a certificate gets nothing", _inside(files, f"curl -sS {known} {url}")),
        (
            f"the certificate of {client.pod}",
            _inside(files, f"openssl x509 -noout -text -in {_FOLDER}/{CERTIFICATE_FILE}"),
        ),
        ("the app's own plain HTTP", _inside(app, f"python3 -c {shlex.quote(fetch)}")),
        (f"the files of {server.pod}", _inside(front, f"ls -l {RUN_DIRECTORY}/ {_FOLDER}/")),
        (f"what Nginx of {server.pod} says", shlex.join([*sandbox.command_to_enter(), "cat", _log(actors)])),
        ("the patch log", shlex.join([*sandbox.command_to_enter(), *audit])),
    )


def _inside(shell: Sequence[str], command: str) -> str:
    return shlex.join([*shell, "-c", command])


def _log(actors: Actors) -> str:
    pod = actors.stage.cluster.store.get("Pod", actors.server.namespace, actors.server.pod)
    return str(actors.stage.folders(pod).logs / f"{SIDECAR_CONTAINER}.log")

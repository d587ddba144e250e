"""`podtls inject`: YAML in, injected YAML out. What is decided and added is the webhook's, through offline.py."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from contract.names import CAPTURES, MODES
from podtls.console import note, print_diff
from podtls.documents.edits import edit_document
from podtls.documents.stream import Document, join_documents, read_documents
from podtls.errors import InputError, RefusedError
from podtls.inject import offline
from webhook.bundle import parse_bundle
from webhook.decision import Defaults, Deny, Inject
from webhook.errors import SettingsError, TrustBundleError
from webhook.settings import InjectionSettings, PodSettings

# The webhook's settings complain in the words of its environment; here they are options.
_OPTIONS: Final = {
    "PODTLS_INIT_IMAGE": "--image",
    "PODTLS_TRUST_DOMAIN": "--trust-domain",
    "PODTLS_ZONE": "--zone",
    "PODTLS_CA_URL": "--ca-url",
}


@dataclass(frozen=True, slots=True)
class _Change:
    source: str
    before: str
    after: str
    answers: list[offline.Answer]


@click.command(
    epilog="""\b
Examples:
  podtls inject -f shop.yaml --image podtls-init:0.1.0 --bundle ca.crt | kubectl apply -f -
  podtls inject -f shop.yaml --image podtls-init:0.1.0 --bundle ca.crt --diff
  podtls inject -f shop.yaml --image podtls-init:0.1.0 --bundle ca.crt --patch
  podtls inject -f - --namespace shop --mode tls --image podtls-init:0.1.0 --bundle ca.crt
"""
)
@click.option(
    "-f", "--filename", "files", multiple=True, required=True, metavar="FILE", help="YAML or JSON; - is stdin."
)
@click.option("-n", "--namespace", default="default", show_default=True, help="For objects that name none.")
@click.option("--mode", type=click.Choice(MODES), default=MODES[0], show_default=True, help="The namespace's mode.")
@click.option("--capture", type=click.Choice(CAPTURES), default=CAPTURES[0], show_default=True, help="Its capture.")
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    required=True,
    envvar="PODTLS_TRUST_BUNDLE_FILE",
    show_envvar=True,
    help="PEM file with the CA certificates that pods trust.",
)
@click.option("--image", required=True, envvar="PODTLS_INIT_IMAGE", show_envvar=True, help="Image of our containers.")
@click.option("--trust-domain", envvar="PODTLS_TRUST_DOMAIN", help="Of the SPIFFE ids.  [default: cluster.local]")
@click.option("--zone", envvar="PODTLS_ZONE", help="The cluster's DNS zone.  [default: cluster.local]")
@click.option(
    "--ca-url", envvar="PODTLS_CA_URL", help="Where pods find the CA.  [default: podtls-ca.podtls-system.svc]"
)
@click.option("--patch", "output", flag_value="patch", help="Print one JSON patch a line, for each workload.")
@click.option("--diff", "output", flag_value="diff", help="Print a unified diff.")
def inject(files: tuple[str, ...], *, bundle: Path, output: str | None, **options: Any) -> None:
    """Inject the pods of YAML files, as the webhook would when they are created.

    Pods, Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs, CronJobs and Lists of them are injected, all else is
    passed through. Comments, quotes and layout stay; JSON stays JSON. If one of the pods is refused, nothing is printed
    and the exit code is 77.
    """
    webhook = _webhook(bundle, **options)
    changes = [_change(document, source, webhook) for source, document in read_documents(files)]
    _tell([answer for change in changes for answer in change.answers])
    if output == "patch":
        _print_patches(changes)
    elif output == "diff":
        for change in changes:
            print_diff(change.source, change.before, change.after)
    else:
        click.echo(join_documents(change.after for change in changes), nl=False)


def _webhook(bundle: Path, *, mode: str, capture: str, namespace: str, **options: Any) -> offline.Webhook:
    try:
        pem = parse_bundle(bundle.read_bytes())
        given = {name: value for name, value in options.items() if value is not None}
        settings = InjectionSettings(PodSettings(**given), pem)
    except OSError as error:
        raise InputError(f"--bundle: {bundle}: {error.strerror or error}") from error
    except TrustBundleError as error:
        raise InputError(f"--bundle: {bundle}: {error}") from error
    except SettingsError as error:
        variable, _, problem = str(error).partition(":")
        raise InputError(f"{_OPTIONS.get(variable, variable)}:{problem}") from error
    return offline.Webhook(Defaults(mode, capture), settings, namespace)


def _change(document: Document, source: str, webhook: offline.Webhook) -> _Change:
    answers = webhook.answers(document.value, source)
    for warning in document.warnings:
        note(warning)
    return _Change(source, document.text, edit_document(document, offline.apply(document.value, answers)), answers)


def _tell(answers: Sequence[offline.Answer]) -> None:
    """Warns on stderr. Raises RefusedError when a pod is refused, so that nothing half done goes down a pipe."""
    for answer in answers:
        for warning in answer.warnings:
            note(f"{answer.workload}: {warning.removeprefix('podtls: ')}")
    denied = [f"{answer.workload}: {answer.decision.reason}" for answer in answers if isinstance(answer.decision, Deny)]
    if denied:
        raise RefusedError(f"refused: {'; '.join(denied)}")
    if not any(isinstance(answer.decision, Inject) for answer in answers):
        note("no pod to inject")


def _print_patches(changes: Sequence[_Change]) -> None:
    for answer in (answer for change in changes for answer in change.answers):
        note(f"patch of {answer.workload}")
        click.echo(json.dumps(answer.patch(), ensure_ascii=False))

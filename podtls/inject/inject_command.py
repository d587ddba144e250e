"""`podtls inject`: YAML in, injected YAML out. The webhook decides what is added, through offline.py."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from contract.names import (
    CAPTURES,
    DEFAULT_CA_URL,
    DEFAULT_TRUST_DOMAIN,
    DEFAULT_ZONE,
    ENV_CA_URL,
    ENV_INIT_IMAGE,
    ENV_TRUST_BUNDLE_FILE,
    ENV_TRUST_DOMAIN,
    ENV_ZONE,
    MODES,
)
from documents.edits import edit_document
from documents.stream import Document, join_documents, read_documents
from podtls.console import note, print_diff
from podtls.errors import InputError, RefusedError
from podtls.inject.offline import OfflineAdmission, OfflineWebhook, apply_patches
from webhook.bundle import parse_bundle
from webhook.decision import Defaults, Deny, Inject
from webhook.errors import SettingsError, TrustBundleError
from webhook.settings import InjectionSettings, PodSettings

# The webhook's settings name variables in their errors; here these are options.
_OPTIONS: Final = {
    ENV_INIT_IMAGE: "--image",
    ENV_TRUST_DOMAIN: "--trust-domain",
    ENV_ZONE: "--zone",
    ENV_CA_URL: "--ca-url",
}


@dataclass(frozen=True, slots=True)
class _Change:
    source: str
    before: str
    after: str
    admissions: list[OfflineAdmission]


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
@click.option(
    "--capture", type=click.Choice(CAPTURES), default=CAPTURES[0], show_default=True, help="Its capture mode."
)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    required=True,
    envvar=ENV_TRUST_BUNDLE_FILE,
    show_envvar=True,
    help="PEM file with the CA certificates that pods trust.",
)
@click.option(
    "--image",
    required=True,
    envvar=ENV_INIT_IMAGE,
    show_envvar=True,
    help="Image that is injected.",
)
@click.option("--trust-domain", envvar=ENV_TRUST_DOMAIN, help=f"Of the SPIFFE ids.  [default: {DEFAULT_TRUST_DOMAIN}]")
@click.option("--zone", envvar=ENV_ZONE, help=f"The cluster's DNS zone.  [default: {DEFAULT_ZONE}]")
@click.option("--ca-url", envvar=ENV_CA_URL, help=f"Where pods find the CA.  [default: {DEFAULT_CA_URL}]")
@click.option("--patch", "output", flag_value="patch", help="Print one JSON patch a line, for each workload.")
@click.option("--diff", "output", flag_value="diff", help="Print a unified diff.")
def inject(files: tuple[str, ...], *, bundle: Path, output: str | None, **options: Any) -> None:
    """Inject the pods of YAML files, as the webhook would when they are created.

    Pods, Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs, CronJobs and Lists of them are injected, all else is
    passed through. Comments, quotes and layout stay; JSON stays JSON. If one of the pods is refused, nothing is printed
    and the exit code is 77.
    """
    webhook = _set_up_webhook(bundle, **options)
    changes = [_inject_document(document, source, webhook) for source, document in read_documents(files)]
    _report([admission for change in changes for admission in change.admissions])
    if output == "patch":
        _print_patches(changes)
    elif output == "diff":
        for change in changes:
            print_diff(change.source, change.before, change.after)
    else:
        click.echo(join_documents(change.after for change in changes), nl=False)


def _set_up_webhook(bundle: Path, *, mode: str, capture: str, namespace: str, **options: Any) -> OfflineWebhook:
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
    return OfflineWebhook(Defaults(mode, capture), settings, namespace)


def _inject_document(document: Document, source: str, webhook: OfflineWebhook) -> _Change:
    admissions = webhook.admit(document.value, source)
    for warning in document.warnings:
        note(warning)
    after = edit_document(document, apply_patches(document.value, admissions))
    return _Change(source, document.text, after, admissions)


def _report(admissions: Sequence[OfflineAdmission]) -> None:
    """Warns on stderr. Raises RefusedError when a pod is refused, so that a pipe gets either everything or nothing."""
    for admission in admissions:
        for warning in admission.warnings:
            note(f"{admission.workload}: {warning.removeprefix('podtls: ')}")
    denied = [f"{each.workload}: {each.decision.reason}" for each in admissions if isinstance(each.decision, Deny)]
    if denied:
        raise RefusedError(f"refused: {'; '.join(denied)}")
    if not any(isinstance(each.decision, Inject) for each in admissions):
        note("no pod to inject")


def _print_patches(changes: Sequence[_Change]) -> None:
    for admission in (each for change in changes for each in change.admissions):
        note(f"patch of {admission.workload}")
        click.echo(json.dumps(admission.patch(), ensure_ascii=False))

"""Options that all commands share which ask a cluster, and how their findings leave as JSON or YAML."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from podtls.console import printable_json
from podtls.inject.documents import to_yaml

Command = TypeVar("Command", bound=Callable[..., Any])


def cluster_options(command: Command) -> Command:
    """--kubeconfig, --context and -o."""
    options = (
        click.option(
            "--kubeconfig",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Instead of KUBECONFIG, ~/.kube/config or the cluster that this runs in.",
        ),
        click.option("--context", metavar="NAME", help="Of the kubeconfig, instead of its current one."),
        click.option(
            "-o",
            "--output",
            type=click.Choice(["table", "json", "yaml"]),
            default="table",
            show_default=True,
            help="Format.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def print_values(values: dict[str, Any], output: str) -> None:
    """Print as `-o json` or `-o yaml` does; what strangers wrote into a cluster is no command for a terminal."""
    text = json.dumps(values, indent=2, ensure_ascii=False)
    # By way of JSON, whose lists are lists.
    click.echo(to_yaml(json.loads(text)) if output == "yaml" else f"{printable_json(text)}\n", nl=False)

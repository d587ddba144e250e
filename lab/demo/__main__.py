"""`python -m lab.demo`, which `make demo` runs: options in, exit code out.

Outside of a sandbox it enters one; the demo runs inside.
"""

import contextlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from contract.names import EXIT_CONFIGURATION, EXIT_REFUSED, EXIT_UNAVAILABLE
from lab.demo.cluster import running_cluster
from lab.demo.keep import show_what_to_try
from lab.demo.show import Show
from lab.demo.story import Story
from lab.sandbox.errors import AdmissionError, DemoError, ManifestError, SandboxError
from lab.sandbox.kubelet.kubelet import NOT_PROVEN
from lab.sandbox.linux import enclosure
from lab.sandbox.manifests import SHOP, load_workloads

_INTERRUPTED: Final = 130  # 128 + SIGINT, as shells have it
_FAILED: Final = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo with these arguments, or those of the process; the exit code. Wrong usage is one line, and 64."""
    try:
        result = demo.main(arguments, prog_name="demo", standalone_mode=False)
    except click.ClickException as error:
        click.echo(f"demo: {error.format_message()}", err=True)
        return EXIT_CONFIGURATION
    return result if isinstance(result, int) else 0


@click.command(
    epilog="""\b
Examples:
  make demo                  the shop of manifests/examples, with all proofs
  make demo KEEP=1           the same, left running, with commands to try
  make demo F=yours.yaml     your Deployments, StatefulSets, Pods and Services
  make demo | tee demo.txt   plain text
"""
)
@click.option(
    "-f",
    "--filename",
    type=click.Path(path_type=Path),
    help="Your manifests instead of the shop. Containers need a `command`: no image is pulled.",
)
@click.option("--keep", is_flag=True, help="Leave everything running, with commands to try, until Ctrl-C.")
def demo(filename: Path | None, *, keep: bool) -> int:
    """Show enrollment end to end on this machine, without a cluster, and prove it by trying.

    The real webhook, CA, injector and Nginx run in namespaces of this machine; API server and kubelet are stand-ins.
    Nothing is installed, nothing is left behind. Exit code 0: every proof held; 1: one did not; 64: a bad file;
    69: this machine allows no namespaces (it says what to type); 77: the webhook denied a pod.
    """
    manifest = (filename or SHOP).absolute()
    try:
        load_workloads(manifest)
        if not enclosure.is_inside():
            enclosure.enter(["-P", "-m", "lab.demo", "-f", str(manifest), *(["--keep"] if keep else [])])
        return _run_story(manifest, keep=keep)
    except SandboxError as error:
        return _print_error(error, EXIT_UNAVAILABLE)
    except ManifestError as error:
        return _print_error(error, EXIT_CONFIGURATION)
    except AdmissionError as error:
        return _print_error(error, EXIT_REFUSED)
    except DemoError as error:
        return _print_error(error, _FAILED)
    except KeyboardInterrupt:
        return _INTERRUPTED


def _run_story(manifest: Path, *, keep: bool) -> int:
    # A shell without job control starts what is in the background with SIGINT ignored; ours is the way to end.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    show = Show()
    with running_cluster() as cluster:
        story = Story(cluster, show)
        setup = story.run(manifest)
        show.step(f"{story.proven} proofs held, {len(story.failed)} failed")
        for claim in story.failed:
            show.line(f"FAILED: {claim}", "bold red")
        for line in NOT_PROVEN.splitlines():
            show.line(line, "dim")
        if keep:
            show_what_to_try(show, cluster, setup)
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
    return _FAILED if story.failed else 0


def _print_error(error: DemoError, code: int) -> int:
    click.echo(f"demo: {error}", err=True)
    return code


if __name__ == "__main__":
    sys.exit(main())

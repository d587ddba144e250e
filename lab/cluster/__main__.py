"""`python -m lab.cluster`: a Kubernetes cluster on this machine, for the tests and for a person to play with."""

import argparse
import json
import os
import shlex
import shutil
import sys

from lab.cluster import podtls
from lab.cluster.base_image import build_base
from lab.cluster.binaries import binary, build
from lab.cluster.errors import ClusterError
from lab.cluster.images import build_pause
from lab.cluster.journal import Run, facts, is_released, journals_folder, release, runs
from lab.cluster.launch import running_control_plane, running_node
from lab.cluster.parts import TIERS, require
from lab.cluster.processes import Process, is_running
from lab.cluster.sweep import clean, sweep


def main() -> int:
    """Run one command; the exit code is 69 (EX_UNAVAILABLE) when the machine lacks something or a program fails."""
    arguments = _parser().parse_args()
    tier = arguments.tier or ("node" if os.geteuid() == 0 else "control-plane")
    try:
        {"build": build_all, "up": up, "down": down, "status": status}[arguments.command](tier)
    except ClusterError as error:
        sys.stderr.write(f"podtls cluster: {error}\n")
        return 69
    return 0


def build_all(tier: str) -> None:
    """Build and cache everything the tier needs, so that a start takes seconds."""
    require(tier)
    build(tier)
    if tier == "node":
        build_pause()
        build_base()


def up(tier: str) -> None:
    """Start a cluster that stays, unless there is one, and print how to use it."""
    kept = [run for run in _kept() if run.tier == tier]
    print_use(kept[0] if kept else _start(tier))


def down(_tier: str) -> None:
    """End the clusters that `up` started, and remove what failed runs left: processes, state and logs."""
    sweep()
    for run in _kept():
        clean(run)
        sys.stdout.write(f"{run.id} ({run.tier}) is gone\n")
    journals = {run.id for run in runs()}
    for folder in journals_folder().glob("*/"):
        if folder.name not in journals:
            shutil.rmtree(folder)


def status(_tier: str) -> None:
    """Say which clusters there are and which of their programs run."""
    if not runs():
        sys.stdout.write("no cluster runs\n")
    for run in runs():
        kept = "kept" if is_released(run) else "belongs to a running test or command"
        sys.stdout.write(f"{run.id} ({run.tier}), {kept}, {run.folder}\n")
        for fact in facts(run):
            if "process" in fact:
                process = Process(fact["process"], fact["pid"], fact["started"], run.logs)
                sys.stdout.write(
                    f"  {process.name:24} {'runs' if is_running(process) else 'ENDED'}, pid {process.pid}\n"
                )


def _start(tier: str) -> Run:
    build_all(tier)
    if tier == "node":
        with running_node() as node:
            _say("installing podtls and the example shop")
            podtls.install(node)
            podtls.open_shop(node)
            release(node.cluster.run)
            return node.cluster.run
    with running_control_plane() as cluster:
        _say("no node here, so nothing can run: podtls is not installed (the node tier needs root)")
        release(cluster.run)
        return cluster.run


def _kept() -> list[Run]:
    return [run for run in runs() if is_released(run)]


def print_use(run: Run) -> None:
    """Print how to use a cluster: what to paste on stdout, the rest on stderr."""
    server = json.loads((run.folder / "kubeconfig").read_text())["clusters"][0]["cluster"]["server"]
    _say(f"{run.tier} at {server}; logs in {run.logs}")
    if run.tier == "node":
        _say("podtls runs, and the example shop in the labelled namespace `shop`. Paste this:")
    kubectl = f'kubectl() {{ {shlex.quote(binary("kubectl"))} "$@"; }}'
    lines = [f"export KUBECONFIG={shlex.quote(str(run.folder / 'kubeconfig'))}", kubectl]
    for line in lines + (list(podtls.TO_TRY) if run.tier == "node" else ["kubectl get --raw /readyz"]):
        sys.stdout.write(f"{line}\n")


def _say(line: str) -> None:
    sys.stderr.write(f"podtls cluster: {line}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for command in (build_all, up, down, status):
        name = command.__name__.partition("_")[0]
        sub = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        sub.add_argument("--tier", choices=TIERS, help="default: node for root, else control-plane")
    return parser


if __name__ == "__main__":
    sys.exit(main())

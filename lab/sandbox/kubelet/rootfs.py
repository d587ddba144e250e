"""What a container sees as its root: the steps that launch.py takes. Pure but for reading which folders the host has.

No image is unpacked: the host's folders stand in for it, read-only, in a root of memory of its own; what must be the
container's own (hosts, resolv.conf, volumes, users) is put over it at the very paths of the Pod.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from shlex import quote
from typing import Any, Final, Literal, Protocol

from contract.names import PREFIX
from lab.sandbox.linux.programs import Interpreter

_SYSTEM_FOLDERS: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "nix", "gnu")
# Of the host's /etc: what programs need to start, to trust and to tell the time; nothing that says who lives here.
_CONFIGURATION: Final = (
    "alternatives", "ca-certificates", "crypto-policies", "gai.conf", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
    "localtime", "mime.types", "pki", "protocols", "services", "ssl", "static",
)  # fmt: skip
_DEVICES: Final = ("full", "null", "random", "urandom", "zero")
_OPEN_FOLDERS: Final = ("/tmp", "/var/tmp")  # noqa: S108 - the container's own
_FOLDERS: Final = ("/home", "/mnt", "/opt", "/root", "/run", "/srv", "/var/cache", "/var/lib", "/var/log")
_LINKS: Final = {
    "/dev/fd": "/proc/self/fd",
    "/dev/stdin": "/proc/self/fd/0",
    "/dev/stdout": "/proc/self/fd/1",
    "/dev/stderr": "/proc/self/fd/2",
    "/var/run": "/run",
}
_MODULES: Final = {
    "podtls": "podtls",
    "podtls-ca": "ca",
    "podtls-injector": "injector",
    "gunicorn": "gunicorn",
}


@dataclass(frozen=True, slots=True)
class Bind:
    """Something of the sandbox, shown at a path of the container."""

    target: str
    source: str
    read_only: bool = True
    do: Literal["bind"] = "bind"


@dataclass(frozen=True, slots=True)
class Tmpfs:
    """A file system in memory."""

    target: str
    options: str
    do: Literal["tmpfs"] = "tmpfs"


@dataclass(frozen=True, slots=True)
class Proc:
    """The processes of this container."""

    target: str = "/proc"
    do: Literal["proc"] = "proc"


@dataclass(frozen=True, slots=True)
class Directory:
    """A folder in the container's own root."""

    target: str
    mode: int = 0o755
    do: Literal["directory"] = "directory"


@dataclass(frozen=True, slots=True)
class Link:
    """A symlink."""

    target: str
    to: str
    do: Literal["link"] = "link"


@dataclass(frozen=True, slots=True)
class File:
    """A small file."""

    target: str
    text: str
    mode: int = 0o644
    do: Literal["file"] = "file"


class Step(Protocol):
    """One of the above."""

    @property
    def target(self) -> str:
        """The path in the container."""
        ...


@dataclass(frozen=True, slots=True)
class Image:
    """What all containers see of this machine."""

    steps: tuple[Step, ...]


def image(host: Path, interpreter: Interpreter, nginx: Path, sidecar: str) -> Image:
    """The stand-in for every image: the host's programs, our Python, and our commands in /opt/podtls/bin.

    `host` is the root to look at; `sidecar` is the text of the script podtls-sidecar.
    """
    system = tuple(_like_the_host(host, (f"/{name}" for name in _SYSTEM_FOLDERS)))
    bound = tuple(PurePosixPath(step.target) for step in system if isinstance(step, Bind))
    ours = PurePosixPath(PREFIX)
    opt = tuple(_like_the_host(host, _below(host, "/opt", but=PREFIX)))
    python = _uncovered(map(str, interpreter.folders), (*bound, *(PurePosixPath(step.target) for step in opt)))
    return Image(
        (
            *system,
            *opt,
            *(Bind(folder, folder) for folder in python),
            *(Link(str(link), to) for link, to in interpreter.links if not _covers((*bound, *python), str(link))),
            *_like_the_host(host, (f"/etc/{name}" for name in _CONFIGURATION)),
            *(Bind(f"/dev/{name}", f"/dev/{name}", read_only=False) for name in _DEVICES),
            *(Directory(folder) for folder in _FOLDERS),
            *(Directory(folder, 0o1777) for folder in _OPEN_FOLDERS),
            *(Link(link, to) for link, to in _LINKS.items()),
            Tmpfs("/dev/shm", "mode=1777"),  # noqa: S108 - the container's own
            File("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
            Proc(),
            *_commands(ours / "bin", interpreter, nginx, sidecar),
        )
    )


def steps(image: Image, own: Iterable[Step]) -> list[dict[str, Any]]:
    """All steps of one container, as launch.py reads them: parents before children, so that nothing hides anything.

    An emptyDir over /tmp must not hide a Python that lives below it.
    """
    ordered = sorted([*image.steps, *own], key=lambda step: PurePosixPath(step.target).parts)
    return [asdict(step) for step in ordered]  # type: ignore[call-overload]


def users(uid: int, gid: int) -> tuple[Step, ...]:
    """/etc/passwd and /etc/group with root, nobody, and who the container runs as."""
    known = {0: "root", 65534: "nobody"}
    people, groups = {uid: "app", **known}, {gid: "app", **known}
    primary = {name: gid if number == uid else number for number, name in people.items()}
    passwd = "".join(f"{name}:x:{number}:{primary[name]}::/:/bin/sh\n" for number, name in people.items())
    group = "".join(f"{name}:x:{number}:\n" for number, name in groups.items())
    return File("/etc/passwd", passwd), File("/etc/group", group)


def hosts(address: str, names: Sequence[str], aliases: Iterable[Mapping[str, Any]]) -> Step:
    """/etc/hosts as kubelet writes it: the pod itself, then its hostAliases."""
    lines = [
        "# Kubernetes-managed hosts file.",
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        f"{address}\t{chr(9).join(names)}",
        *(f"{alias['ip']}\t{chr(9).join(alias.get('hostnames') or [])}" for alias in aliases),
    ]
    return File("/etc/hosts", "".join(f"{line}\n" for line in lines))


def resolver(server: str, namespace: str, zone: str) -> Step:
    """/etc/resolv.conf of dnsPolicy ClusterFirst."""
    search = f"{namespace}.svc.{zone} svc.{zone} {zone}"
    return File("/etc/resolv.conf", f"search {search}\nnameserver {server}\noptions ndots:5\n")


def _like_the_host(host: Path, paths: Iterable[str]) -> Iterable[Step]:
    for path in paths:
        there = host / path.lstrip("/")
        if there.is_symlink():
            yield Link(path, str(there.readlink()))
        elif there.exists():
            yield Bind(path, path)


def _below(host: Path, folder: str, *, but: str) -> list[str]:
    there = host / folder.lstrip("/")
    names = sorted(entry.name for entry in there.iterdir()) if there.is_dir() else []
    return [path for path in (f"{folder}/{name}" for name in names) if path != but]


def _uncovered(folders: Iterable[str], covered: Sequence[PurePosixPath]) -> list[str]:
    """The folders that are not below another one, nor below what is bound already."""
    kept: list[str] = []
    for folder in sorted(folders, key=len):
        if not _covers((*covered, *kept), folder):
            kept.append(folder)
    return kept


def _covers(folders: Iterable[str | PurePosixPath], path: str) -> bool:
    return any(PurePosixPath(path).is_relative_to(folder) for folder in folders)


def _commands(folder: PurePosixPath, interpreter: Interpreter, nginx: Path, sidecar: str) -> Iterable[Step]:
    python = quote(str(interpreter.executable))
    source = quote(":".join(map(str, interpreter.source_roots)))
    start = f"#!/bin/sh\nPYTHONPATH={source}${{PYTHONPATH:+:$PYTHONPATH}}\nexport PYTHONPATH\nexec {python}"
    yield File(str(folder / "python3"), f'{start} "$@"\n', 0o755)
    for name, module in _MODULES.items():
        yield File(str(folder / name), f'{start} -P -m {module} "$@"\n', 0o755)
    yield File(str(folder / "podtls-sidecar"), sidecar, 0o755)
    yield Link(str(folder / "python"), "python3")
    yield Link(str(folder / "nginx"), str(nginx))

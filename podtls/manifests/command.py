"""`podtls manifests`: writes the shipped manifests to a folder, with the images set, for `kubectl apply -k`."""

import io
import shlex
from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

import click
from ruamel.yaml import YAML

from contract.names import VERSION
from podtls.console import note
from podtls.errors import InputError
from podtls.manifests.shipped import FOLDER

# overlays/demo is not for a cluster, and examples are not podtls.
_PARTS: Final = ("base", "components", "overlays/default", "overlays/ephemeral")
# The overlay that sets the images; others are on top of it.
_DEFAULT: Final = "overlays/default"
_IMAGES: Final = f"{_DEFAULT}/kustomization.yaml"
_CONTROL_PLANE: Final = "podtls-webhook"
_INIT: Final = "podtls-init"
# The registry of images that were built here and pushed nowhere.
_LOCAL: Final = "localhost"


@click.command(
    epilog="""\b
Examples:
  podtls manifests podtls-manifests --registry registry.example.com/podtls
  podtls manifests podtls-manifests --image registry.example.com/podtls-webhook:0.1.0 --init-image registry.example.com/podtls-init@sha256:4f1d
  podtls manifests podtls-manifests --force
"""  # noqa: E501 - a command is one line
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--registry",
    metavar="REGISTRY",
    help=f"Where both images are: REGISTRY/{_CONTROL_PLANE}:{VERSION} and REGISTRY/{_INIT}:{VERSION}.",
)
@click.option("--image", help="Image of webhook, CA and controller, instead.")
@click.option("--init-image", help="Image of the containers that are injected, instead.")
@click.option("--force", is_flag=True, help="Write into a folder that is not empty; its other files stay.")
def manifests(folder: Path, *, registry: str | None, image: str | None, init_image: str | None, force: bool) -> None:
    """Write the manifests of this version to a folder, for `kubectl apply -k DIR/overlays/default`.

    The folder gets base, components and two overlays: default, and ephemeral for clusters without storage. An image is
    named with a tag or a digest; an image that no option names stays as `make images` calls it.
    """
    given = {_CONTROL_PLANE: image, _INIT: init_image}
    pulled = {name: f"{registry}/{name}:{VERSION}" if registry else None for name in given}
    images = {name: chosen for name in given if (chosen := given[name] or pulled[name])}
    written = _write(folder, {**_read_files(), _IMAGES: _set_images(images)}, force=force)
    for name in given.keys() - images.keys():
        note(f"image {_LOCAL}/{name}:dev stays as it is; nodes must have it, or name another")
    click.echo(
        f"{written} files written. Next:\n  kubectl apply -k {shlex.quote(f'{folder}/{_DEFAULT}')}\n  podtls check"
    )


def _read_files() -> dict[str, bytes]:
    """The files by their paths."""
    return {path: content for part in _PARTS for path, content in _walk(FOLDER.joinpath(part), part)}


def _walk(folder: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    for each in folder.iterdir():
        if each.is_dir():
            yield from _walk(each, f"{path}/{each.name}")
        elif each.name.endswith(".yaml"):
            yield f"{path}/{each.name}", each.read_bytes()


def _set_images(images: Mapping[str, str]) -> bytes:
    """The kustomization with these images, its comments kept. Raises InputError for an image without a version."""
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 1000
    kustomization = yaml.load(FOLDER.joinpath(_IMAGES).read_bytes())
    for entry in kustomization["images"]:
        if chosen := images.get(entry["name"].removeprefix(f"{_LOCAL}/")):
            del entry["newTag"]
            entry.update(_parse_image(chosen))
    written = io.BytesIO()
    yaml.dump(kustomization, written)
    return written.getvalue()


def _parse_image(image: str) -> dict[str, Any]:
    """As kustomize has an image. https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/images/."""
    name, _, digest = image.partition("@")
    if digest:
        return {"newName": name, "digest": digest}
    name, _, tag = image.rpartition(":")
    # A colon before the last slash is the one of the registry's port.
    if not name or "/" in tag:
        raise InputError(f"got image {image!r}, expected one with a tag or a digest: NAME:TAG or NAME@sha256:...")
    return {"newName": name, "newTag": tag}


def _write(folder: Path, files: Mapping[str, bytes], *, force: bool) -> int:
    try:
        if not force and folder.is_dir() and any(folder.iterdir()):
            raise InputError(f"{folder}: not empty; --force writes into it all the same")
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror or error}") from error
    return len(files)

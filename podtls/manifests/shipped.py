"""The objects of manifests/ as they are shipped, so that a cluster can be compared with them. Nothing is written here.

What an overlay may change (images, replicas, storage) is not to be compared: base and components are read.
"""

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

import yaml

from podtls.kubernetes.objects import NAMESPACE_NAME, Object

FOLDER: Final[Traversable] = files("manifests")
BASE: Final = "base"
ENFORCE: Final = "components/enforce"


@cache
def load_shipped(part: str = BASE) -> tuple[Object, ...]:
    """The objects that the kustomization of a folder of manifests/ lists, not to be changed."""
    folder = FOLDER.joinpath(part)
    kustomization = yaml.safe_load(folder.joinpath("kustomization.yaml").read_bytes())
    texts = (folder.joinpath(name).read_bytes() for name in kustomization["resources"])
    return tuple(each for text in texts for each in yaml.load_all(text, yaml.CSafeLoader) if each)


def find_shipped(kinds: Iterable[str], part: str = BASE) -> list[Object]:
    """The shipped objects of these kinds, in the order of the kinds."""
    return [each for kind in kinds for each in load_shipped(part) if each["kind"] == kind]


@cache
def excluded_namespaces() -> tuple[str, ...]:
    """Never enrolled, whatever their labels say: an admission webhook that is needed to start itself never starts."""
    (configuration,) = find_shipped(["MutatingWebhookConfiguration"])
    expressions = configuration["webhooks"][0]["namespaceSelector"]["matchExpressions"]
    return tuple(next(each["values"] for each in expressions if each["key"] == NAMESPACE_NAME))

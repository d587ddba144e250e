"""What can go wrong while a cluster is built, started or asked."""


class ClusterError(Exception):
    """The base of all errors here; its message says what to do."""


class MissingPartsError(ClusterError):
    """The machine lacks what a tier needs; the message lists what to type."""


class NotReadyError(ClusterError):
    """A program ended, or did not become ready in time."""


class KubectlError(ClusterError):
    """kubectl refused; the message is what it wrote to stderr."""

"""What can go wrong in the demo: one small hierarchy. The stand-in API server answers with their http_status."""


class DemoError(Exception):
    """The demo cannot go on; the message is a line for the person at the terminal."""

    http_status = 500


class ManifestError(DemoError):
    """A manifest (ours or the user's) is not what the stand-in can run; names file, object and field."""

    http_status = 422


class NotFoundError(DemoError):
    """No such object in the stand-in."""

    http_status = 404


class ConflictError(DemoError):
    """An object of that name is already in the stand-in."""

    http_status = 409


class UnauthorizedError(DemoError):
    """A bearer token is missing, was not made here, expired, or is for another audience."""

    http_status = 401


class ForbiddenError(DemoError):
    """The caller is known, and no role lets it do this."""

    http_status = 403


class AdmissionError(DemoError):
    """The webhook denied the pod, or could not be asked and its failurePolicy is Fail. The message is kubectl's."""

    http_status = 403


class WebhookCallError(DemoError):
    """The webhook did not respond, or not in a way that kube-apiserver accepts."""

    http_status = 500


class SandboxError(DemoError):
    """This machine does not let us make namespaces, or lacks a program; the message says what to type."""

    http_status = 503


class ContainerError(DemoError):
    """A pod or one of its containers cannot run here, or did not become ready; names pod, container and reason."""

    http_status = 422


class MissingError(ContainerError):
    """What a pod needs is not in the API server yet; kubelet asks again until it is."""

    http_status = 404

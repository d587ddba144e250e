"""Service account tokens of the stand-in: signed, audience- and pod-bound JWTs, and the review of one.

Source: Kubernetes "Managing Service Accounts", bound tokens; TokenReview v1; RFC 7519.
What callers may do is not decided here.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from lab.sandbox.apiserver.store import Object
from lab.sandbox.errors import UnauthorizedError

ISSUER: Final = "https://kubernetes.default.svc.cluster.local"
NODE_NAME: Final = "demo-node"
NODE_UID: Final = "5f0c1d4e-6a4b-4b7e-9b52-d3a1c0ffee00"
EXTRA: Final = "authentication.kubernetes.io/"
_ALGORITHM: Final = "RS256"


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller: userInfo as in reviews, and the audiences that token and asker have in common."""

    user_info: dict[str, Any]
    audiences: tuple[str, ...]


class TokenIssuer:
    """Makes and checks tokens, with a key of its own that lives as long as this object."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def issue(self, pod: Object, service_account: Object, audience: str, seconds: int) -> str:
        """A token of this pod's service account, bound to the pod and its node, for one audience."""
        now = datetime.now(UTC)
        claims = _claims(pod, service_account) | {
            "aud": [audience or ISSUER],
            "exp": int((now + timedelta(seconds=seconds)).timestamp()),
            "iat": int(now.timestamp()),
            "iss": ISSUER,
            "jti": str(uuid.uuid4()),
            "nbf": int(now.timestamp()),
        }
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM)

    def authenticate(self, unverified_token: str, audiences: Sequence[str] = (ISSUER,)) -> Caller:
        """Who holds this token, and which of these audiences it is for.

        Raises UnauthorizedError with the reason, worded as the API server does.
        """
        try:
            claims: dict[str, Any] = jwt.decode(
                unverified_token, self._key.public_key(), [_ALGORITHM], audience=audiences, issuer=ISSUER
            )
        except jwt.InvalidAudienceError as error:
            raise UnauthorizedError(f"token audiences are invalid for the target audiences {audiences}") from error
        except jwt.ExpiredSignatureError as error:
            raise UnauthorizedError("service account token has expired") from error
        except jwt.InvalidTokenError as error:
            raise UnauthorizedError("invalid bearer token") from error
        return Caller(_user_info(claims), tuple(audience for audience in audiences if audience in claims["aud"]))


def _claims(pod: Object, service_account: Object) -> dict[str, Any]:
    namespace, name = service_account["metadata"]["namespace"], service_account["metadata"]["name"]
    return {
        "kubernetes.io": {
            "namespace": namespace,
            "node": {"name": pod["spec"].get("nodeName", NODE_NAME), "uid": NODE_UID},
            "pod": {"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]},
            "serviceaccount": {"name": name, "uid": service_account["metadata"]["uid"]},
        },
        "sub": f"system:serviceaccount:{namespace}:{name}",
    }


def _user_info(claims: dict[str, Any]) -> dict[str, Any]:
    bound = claims["kubernetes.io"]
    return service_account_user(bound["namespace"], bound["serviceaccount"]["name"], bound["serviceaccount"]["uid"]) | {
        "extra": {
            f"{EXTRA}credential-id": [f"JTI={claims['jti']}"],
            f"{EXTRA}node-name": [bound["node"]["name"]],
            f"{EXTRA}node-uid": [bound["node"]["uid"]],
            f"{EXTRA}pod-name": [bound["pod"]["name"]],
            f"{EXTRA}pod-uid": [bound["pod"]["uid"]],
        },
    }


def service_account_user(namespace: str, name: str, uid: str) -> dict[str, Any]:
    """UserInfo of a service account, without the extras of a bound token."""
    return {
        "username": f"system:serviceaccount:{namespace}:{name}",
        "uid": uid,
        "groups": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"],
    }

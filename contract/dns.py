"""DNS names in the one spelling that podtls accepts: lower case, ASCII, no dot at the end.

A name that passes here is safe in a certificate, a hosts file and nginx.conf as it is; nobody escapes it again.
Ports and everything that joins a name with a port live in grammar.py.
"""

import re
from typing import Final

from contract.errors import GrammarError, quote

LONGEST_NAME: Final = 253  # RFC 1035 section 2.3.4: 255 octets on the wire
LONGEST_ZONE: Final = 200  # leaves room for the names of a pod and its Service before it
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def is_label(text: str) -> bool:
    """Whether `text` is an RFC 1123 label, as Kubernetes names namespaces and Services."""
    return _LABEL.fullmatch(text) is not None


def is_dns_name(text: str, *, longest: int = LONGEST_NAME) -> bool:
    """Whether `text` is labels with dots between (an RFC 1123 subdomain), of `longest` characters at most."""
    return len(text) <= longest and all(is_label(label) for label in text.split("."))


def parse_zone(text: str) -> str:
    """The DNS zone of a cluster, such as cluster.local. Raises GrammarError."""
    # In a zone called `svc`, web.shop.svc.svc would be a Service of `shop` and a pod of a Service in a namespace `svc`.
    if text == "svc" or not is_dns_name(text, longest=LONGEST_ZONE):
        allowed = f"a DNS name in lower case of at most {LONGEST_ZONE} characters, no dot at its end, and not svc"
        raise GrammarError(f"zone {quote(text)}: expected {allowed}")
    return text

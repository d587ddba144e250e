"""Run in a pod: flood the webhook with admissions until it refuses some, go on until stdin ends, say what it answered.

Standard library only, nothing of ours: its text is handed to the pod's own Python. What it sends would be recorded,
each review as one line, were it not for the edge proxy's limit.
"""

import http.client
import json
import ssl
import sys
import threading
import time
from collections import Counter

_CLIENTS = 8
_REFUSALS = 100
_SECONDS = 120  # A flood that nobody stops ends by itself.


def main() -> None:
    """Usage: python -c TEXT HOST NAMESPACE. Says `limited` when enough was refused, then waits for the end of stdin.

    The last line is JSON: the answers by status (0: none came), and how many seconds the flood went on.
    """
    host, namespace = sys.argv[1:]
    stop, answers, begun = threading.Event(), list[int](), time.monotonic()
    body = json.dumps(_review(namespace)).encode()
    threads = [threading.Thread(target=_flood, args=(host, body, answers, stop)) for _ in range(_CLIENTS)]
    for thread in threads:
        thread.start()
    while answers.count(429) < _REFUSALS and time.monotonic() < begun + _SECONDS:
        time.sleep(0.1)
    _say("limited")
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()
    _say(json.dumps({"answers": Counter(answers), "seconds": time.monotonic() - begun}))


def _flood(host: str, body: bytes, answers: list[int], stop: threading.Event) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(host, timeout=5, context=context)
    end = time.monotonic() + _SECONDS
    while not stop.is_set() and time.monotonic() < end:
        try:
            connection.request("POST", "/mutate/mtls/port", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            answers.append(answer.status)
        except (OSError, http.client.HTTPException):
            answers.append(0)
            connection.close()


def _review(namespace: str) -> dict[str, object]:
    """A pod that opts out: the smallest of what is recorded."""
    metadata = {"name": "flood", "labels": {"podtls.io/inject": "disabled"}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": []}}
    kind = {"group": "", "version": "v1", "kind": "Pod"}
    request = {"uid": "flood", "kind": kind, "operation": "CREATE", "namespace": namespace, "object": pod}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

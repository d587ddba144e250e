"""Run in a node's network namespace: watch one interface until a line arrives, then print what was seen as JSON."""

import json
import sys

from lab.sandbox.linux.capture import Capture


def main() -> None:
    """Usage: python -m tests.cluster.wire INTERFACE."""
    capture = Capture(sys.argv[1])
    sys.stdout.write("watching\n")
    sys.stdout.flush()
    sys.stdin.readline()
    report = capture.stop()
    plaintext = [stream.plaintext.decode(errors="replace") for stream in report.plaintext]
    sys.stdout.write(json.dumps({"records": report.records, "plaintext": plaintext}) + "\n")


if __name__ == "__main__":
    main()

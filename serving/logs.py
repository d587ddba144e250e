"""The log of a replica: one line on stderr for each decision, as JSON. Evidence is not written here (audit/log.py)."""

import logging
import sys

import orjson


def configure_logging() -> None:
    """Sends all log lines to stderr as they are; called once, when the app is made."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)


def log_fields(logger: logging.Logger, fields: dict[str, object], *, level: int = logging.INFO) -> None:
    """Writes one line of JSON: what others choose, a Pod's name for one, may contain anything, a newline too."""
    logger.log(level, "%s", orjson.dumps(fields).decode())

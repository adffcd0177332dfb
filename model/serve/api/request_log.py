"""The server's log: one line a request, and where a failure happened. Never the text of a prompt or an answer."""

import logging
import traceback

from model.serve.api.record import RequestRecord

LOG = logging.getLogger("gristmill.serve")


def log_request(record: RequestRecord) -> None:
    """Writes the line of a request that has ended."""
    LOG.info("%s", record.line())


def log_failure(error: BaseException) -> None:
    """Writes which exception was raised where. Its message is left out: it may quote what a client sent."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    LOG.error("a request failed: %s\n%s", type(error).__name__, frames.rstrip())

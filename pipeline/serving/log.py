"""The log of `gristmill serve`: a line a request on standard error, and what the server and its engine report."""

import logging

SHOWN = ("gristmill.serve", "model.serve")


def log_to_standard_error() -> None:
    """Shows requests and reports of the server; of other libraries, errors alone."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.ERROR)
    for name in SHOWN:
        logging.getLogger(name).setLevel(logging.INFO)

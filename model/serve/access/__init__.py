"""Who may use the server, and how much at once.

Read `keys` (clients by their API keys, and where a server without keys may listen), `quotas` (requests a minute, tokens
a day) and `admission` (the queue, which is fair between clients).
"""

from model.serve.access.admission import Admission, QueueFullError, Ticket
from model.serve.access.keys import ANONYMOUS, Client, KeyRing, check_bind
from model.serve.access.quotas import QuotaError, Quotas

__all__ = [
    "ANONYMOUS",
    "Admission",
    "Client",
    "KeyRing",
    "QueueFullError",
    "QuotaError",
    "Quotas",
    "Ticket",
    "check_bind",
]

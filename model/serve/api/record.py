"""What is known of a request when it has ended: for the log and the metrics. No text of prompts or answers."""

import time
from dataclasses import dataclass, field
from typing import Any

from model.serve.access import ANONYMOUS, Client


@dataclass(slots=True)
class RequestRecord:
    """One request. Times are of the monotonic clock, in seconds.

    Attributes:
        route: its path, if there is such a route.
        client: who asks.
        model: the id of the model that answers.
        status: of the HTTP answer; 499 where the client left before there was one.
        outcome: how a request ended that did not end as asked: `disconnected`, `timeout`, `blocked CLASS`, an error.
    """

    route: str = "-"
    client: Client = ANONYMOUS
    model: str = "-"
    status: int = 499
    outcome: str = ""
    started: float = field(default_factory=time.monotonic)
    first_token: float | None = None
    prompt_tokens: int = 0
    generated_tokens: int = 0

    @property
    def seconds(self) -> float:
        """Since the request came."""
        return time.monotonic() - self.started

    def line(self) -> str:
        """The line of the log."""
        words = [self.route, str(self.status), f"client={self.client.name}", f"model={self.model}"]
        words += [f"prompt={self.prompt_tokens}", f"generated={self.generated_tokens}"]
        if self.first_token is not None:
            words.append(f"first_ms={1000 * (self.first_token - self.started):.0f}")
        words.append(f"ms={1000 * self.seconds:.0f}")
        return " ".join([*words, *([f"outcome={self.outcome!r}"] if self.outcome else [])])


def record_of(scope: Any) -> RequestRecord:
    """The record of a request, by its ASGI scope."""
    return scope.setdefault("state", {}).setdefault("record", RequestRecord())

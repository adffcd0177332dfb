"""Loaded by the interpreters that a fault test starts: passages that hold a marker do what the marker says.

Only the marked shard misbehaves, in whatever process it runs; the rest of the engine is the real one.
"""

import os
import random
import re
import signal
import time
from dataclasses import replace

from filters import length
from model.backends import echo

_generate = echo.EchoGenerator.generate
_judge = length.Length.__call__


def _marked_generate(self, requests):
    text = "\n".join(request.messages[-1]["content"] for request in requests)
    if "POISON-KILL" in text:
        os.kill(os.getpid(), signal.SIGKILL)
    if "POISON-EXIT" in text:
        os._exit(3)
    if "POISON-STALL" in text:
        time.sleep(3600)
    if "POISON-RAISE" in text:
        raise RuntimeError("the engine does not like this shard")
    if "SLOW" in text:
        time.sleep(0.3)
    return [_twin(*pair) for pair in zip(requests, _generate(self, requests), strict=True)]


def _twin(request, done):
    """Passages of one TWIN number have one answer."""
    number = re.search(r"TWIN-(\d+)", request.messages[-1]["content"])
    if number is None:
        return done
    rng = random.Random(number[1])
    text = " ".join("".join(rng.choices("abcdefghij", k=6)) for _ in range(40)) + "."
    return replace(done, text=text, finish_reason="stop")


def _marked_judge(self, batch):
    if any("POISON-ROW" in row.passage for row in batch):
        raise ValueError("the filter does not like this row")
    return _judge(self, batch)


echo.EchoGenerator.generate = _marked_generate
length.Length.__call__ = _marked_judge

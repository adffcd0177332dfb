"""Any service with OpenAI's chat completions API, over HTTP, within its rate limits.

Read `generator` first; `request` is what is sent, and what of it a service refuses; `reply` is what it answers;
`rate_limit` has the waiting.
"""

import os

from configs import schema
from model.backends import Backend, Readiness, identify_by_name
from stages.ports import Generator, ModelCard


def _open(config: schema.Generator, card: ModelCard, threads: int) -> Generator:
    from model.backends.openai.generator import OpenAIGenerator

    return OpenAIGenerator(config, card, threads)


def _readiness() -> Readiness:
    key = schema.OpenAIOptions().api_key_env
    if os.environ.get(key):
        return Readiness(True, f"{key} is set")
    return Readiness(False, f"{key} is not set", f"export {key}=… with the key of the service")


BACKEND = Backend(identify=identify_by_name, open=_open, readiness=_readiness, repeats=False)

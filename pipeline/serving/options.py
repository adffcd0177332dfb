"""`ServeOptions`: what the flags of `gristmill serve` say."""

from dataclasses import dataclass
from typing import Literal

EngineKind = Literal["auto", "embedded", "vllm"]
Dtype = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class ServeOptions:
    """What is served, by which engine, where, to whom.

    Attributes:
        model: a folder, the name of a packaged model, or one on the Hugging Face hub.
        engine: auto: vLLM where it is installed and there is a GPU, but for the project's own model; else embedded.
        host, port: to listen on; port 0: a free one.
        api_key_file: keys of the clients; None: no keys.
        adapters: the folder that adapters are loaded from; None: no adapters.
        admin_socket: where adapters are managed; None: nowhere.
        policy: a policy file, `default` for the shipped one; None: answers are not filtered.
        served_name: the model's public id; None: its name.
        max_length: tokens of prompt and answer; None: what the model was made for and memory has room for.
        slots: requests that are generated at once; None: the engine's choice.
        dtype: of the weights.
        max_waiting: requests that wait for a slot.
        max_tokens: the most tokens of an answer; None: what the context has room for.
        timeout_s: for a whole answer.
        grace_s: that running answers have when the server is stopped.
    """

    model: str
    engine: EngineKind = "auto"
    host: str = "127.0.0.1"
    port: int = 8000
    api_key_file: str | None = None
    adapters: str | None = None
    admin_socket: str | None = None
    policy: str | None = None
    served_name: str | None = None
    max_length: int | None = None
    slots: int | None = None
    dtype: Dtype = "auto"
    max_waiting: int = 256
    max_tokens: int | None = None
    timeout_s: float = 600.0
    grace_s: float = 30.0

"""vLLM as an engine: a supervised child process `vllm serve` behind the engine port, for vLLM 0.26 to 0.30.

Read `engine` (the requests), then `options` (the command line and the environment of the child), `process` and `launch`
(how it is started and how it ends), `supervisor` (health and restarts), `client` with `exchange` and `completion` (what
is sent and what comes back), `gate` (adapters on the CPU build) and `figures` (what the child's metrics say).

The child listens on a Unix socket in a folder that this user alone can enter, never on a port.
"""

from model.serve.vllm_child.engine import VllmChildEngine
from model.serve.vllm_child.options import VllmChildOptions

__all__ = ["VllmChildEngine", "VllmChildOptions"]

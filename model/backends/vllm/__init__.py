"""vLLM as a generator: a fleet of engine processes on the visible GPUs.

Read `backend` first, then `fleet` (processes kept alive), `queue` (prompts shared among them), `worker` and `engine`
(one process, vLLM in it), `placement`, `gpus` and `mps` (which engines on which GPUs), `attention` and
`triton_kernel` (the decoding kernel).
"""

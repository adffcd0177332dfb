"""What tests of serving share: `tiny_models` (models that are made in a moment), `byte_llama` (one that vLLM serves),
`stand_in_vllm` (a process that answers as vLLM does, for tests of faults), `prometheus` (what reads the metrics)."""

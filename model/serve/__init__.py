"""Serving of language models by an OpenAI-compatible API.

Read `port` (what an engine is), `embedded` (the engine in this process), `vllm_child` (vLLM behind the same port),
`api` (HTTP), `sandbox` (what never leaves), `adapters` (which are served; `adapter_folders` finds and `adapter_check`
checks them) with `admin`, their administration on a socket, then `vllm_plugin` (the DSA model in vLLM itself).
"""

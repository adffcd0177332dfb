"""Serving of language models by an OpenAI-compatible API.

Read `port` (what an engine is) with `step_stream` and `step_delivery` (how its tokens reach the event loop), `embedded`
(the engine in this process), `vllm_child` (vLLM behind the same port), `restarts` (of both), `api` (HTTP) with
`listening` (sockets) and `metrics`, `access` (keys, quotas, the queue), `sandbox` (what never leaves), `adapters`
(which are served; `adapter_folders` finds and `adapter_check` checks them) with `admin`, their administration on a
socket. `client` asks such a server. `vllm_plugin` is the DSA model in vLLM itself.
"""

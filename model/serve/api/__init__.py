"""The HTTP server: OpenAI's API on an engine of `model.serve.port`.

Read `serving` (the parts), `app`, `routes` and `server` (uvicorn, and its orderly end by `lifecycle`), then the way of
a request: `protocol` and `middleware`, `schema` (what may be asked), `job` (checked and ready), `generation` (runs it),
`text` (tokens to text that may leave), `completion_answer` and `chat_answer` with `logprobs` (OpenAI's shapes),
`generation_response` (whole or streamed) with `events`. `errors` and `json_text` are used by all of them; `record`,
`request_log` and `health` say what goes on.
"""

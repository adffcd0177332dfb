"""The HTTP server: OpenAI's API on an engine of `model.serve.port`.

Read `serving` (the parts), `app` and `routes`, then the way of a request: `middleware`, `schema` (what may be asked),
`job` (checked and ready), `generation` (runs it), `text` (tokens to text that may leave), `completion_answer` and
`chat_answer` (OpenAI's shapes), `generation_response` (whole or streamed).
"""

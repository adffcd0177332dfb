"""Requests for the comparison with vLLM's own server: what both answer alike, what both refuse, what differs and why.

The model is the Llama over bytes: a token is a character, and its greedy answer to TEXT is GREEDY.
"""

from dataclasses import dataclass
from typing import Any

from tests.factories.serving.byte_llama import EOS, VOCABULARY

COMPLETION, CHAT = "/v1/completions", "/v1/chat/completions"
LENGTH = 256
Requests = dict[str, tuple[str, dict[str, Any]]]
# Tokens from 94 on are parts of characters. They are not drawn: vLLM leaves out those at the end of an answer.
ASCII = {"logit_bias": {str(token): -100 for token in range(94, VOCABULARY)}}
ENDS = {"logit_bias": {str(EOS): 100}}
BARE = {"model": "tiny", "prompt": "The tenant must", "max_tokens": 8, "temperature": 0}
TEXT = BARE | ASCII
GREEDY = "=/MYH15OIFB="  # 12 tokens
QUESTION = [{"role": "user", "content": "How long?"}]
TALK = {"model": "tiny", "messages": QUESTION, "max_tokens": 8, "temperature": 0} | ASCII
WHO = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "Who?"}],
    "max_tokens": 3,
    "temperature": 0,
}  # is ASCII
PARTS = [{"role": "user", "content": [{"type": "text", "text": "How"}, {"type": "text", "text": "long?"}]}]
OPEN = [*QUESTION, {"role": "assistant", "content": "Well"}]
STREAM: dict[str, Any] = {"stream": True}
USAGE = {"stream_options": {"include_usage": True}}
GROWING_USAGE = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}
KEPT = {"include_stop_str_in_output": True}
DRAWN = {"temperature": 1, "seed": 7}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
SCHEMA = {"type": "object", "required": ["ok"], "additionalProperties": False, "properties": {"ok": {"enum": [1, 2]}}}
JSON = {"response_format": {"type": "json_object"}}
JSON_OF_SCHEMA = {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}}


def without(body: dict[str, Any], *names: str) -> dict[str, Any]:
    """A request without some of its fields."""
    return {name: value for name, value in body.items() if name not in names}


# Where a stop string is, in an answer of 12 tokens.
STOPS: dict[str, dict[str, Any]] = {
    "the first token": {"stop": GREEDY[0]},
    "over two tokens": {"stop": GREEDY[3:5]},
    "the last token": {"stop": "O", "max_tokens": 8},
    "the last two tokens": {"stop": GREEDY[-2:]},
    "the whole answer": {"stop": GREEDY},
    "longer than the answer": {"stop": GREEDY + "a"},
    "one that only begins at the end": {"stop": GREEDY[-1] + "zz"},
    "the longer of two that end together": {"stop": [GREEDY[2:6], GREEDY[4:6]]},
    "the first of two that begin together": {"stop": [GREEDY[2:5], GREEDY[2:4]]},
    "none": {"stop": []},
    "in the prompt too": {"stop": ["tenant", GREEDY[3]], "echo": True},
    "before min_tokens": {"stop": GREEDY[3], "min_tokens": 6},
    "the last of min_tokens": {"stop": GREEDY[5], "min_tokens": 6},
    "the first after min_tokens": {"stop": GREEDY[6], "min_tokens": 6},
    "begins in min_tokens": {"stop": GREEDY[3:6], "min_tokens": 5},
    "and a token to stop at": {"stop": "Y", "stop_token_ids": [14]},  # the token comes first
}
ANSWERED: Requests = {
    "a text": (COMPLETION, TEXT),
    "texts": (COMPLETION, TEXT | {"prompt": ["a b", "c"]}),
    "token ids": (COMPLETION, TEXT | {"prompt": [5, 6, 7]}),
    "lists of token ids": (COMPLETION, TEXT | {"prompt": [[5, 6], [7]]}),
    "echo": (COMPLETION, TEXT | {"echo": True}),
    "echo of lists": (COMPLETION, TEXT | {"prompt": [[5, 6], [7]], "echo": True}),
    "log-probabilities": (COMPLETION, TEXT | {"logprobs": 2}),
    "log-probabilities alone": (COMPLETION, TEXT | {"logprobs": 0}),
    "echo with log-probabilities": (COMPLETION, TEXT | {"echo": True, "logprobs": 1}),
    "echo of lists with log-probabilities": (
        COMPLETION,
        TEXT | {"prompt": [[5, 6], [7, 8]], "echo": True, "logprobs": 1},
    ),
    "log-probabilities of the prompt": (COMPLETION, TEXT | {"prompt_logprobs": 0}),
    "as lm-eval scores": (COMPLETION, TEXT | {"prompt": [[5, 6, 7]], "echo": True, "logprobs": 1}),
    "the usual length": (COMPLETION, without(TEXT, "max_tokens")),
    "all that there is room for": (COMPLETION, TEXT | {"max_tokens": LENGTH - len(TEXT["prompt"])}),
    "a prompt with room for a token": (COMPLETION, TEXT | {"prompt": "a" * (LENGTH - 1), "max_tokens": 1}),
    "a stop token": (COMPLETION, BARE | ENDS | {"stop_token_ids": [EOS], "ignore_eos": True}),
    "a stop token that is kept": (COMPLETION, TEXT | {"stop_token_ids": [44]} | KEPT),
    "the end": (COMPLETION, BARE | ENDS),
    "the end with log-probabilities": (COMPLETION, BARE | ENDS | {"logprobs": 1}),
    "the end ignored": (COMPLETION, BARE | ENDS | {"ignore_eos": True}),
    "the end ignored and shown": (COMPLETION, BARE | ENDS | {"ignore_eos": True, "skip_special_tokens": False}),
    "the end put off": (COMPLETION, BARE | ENDS | {"min_tokens": 2, "skip_special_tokens": False}),
    "ids of tokens": (COMPLETION, TEXT | {"return_token_ids": True}),
    "penalties": (COMPLETION, TEXT | {"frequency_penalty": 1.5, "presence_penalty": 0.5, "max_tokens": 30}),
    "a penalty of repetition": (COMPLETION, TEXT | {"repetition_penalty": 1.8, "max_tokens": 30}),
    "a favoured token": (COMPLETION, TEXT | {"logit_bias": ASCII["logit_bias"] | {"5": 50}}),
    "a temperature that leaves one token": (COMPLETION, TEXT | {"temperature": 1e-6}),
    "top_k that leaves one token": (COMPLETION, TEXT | {"temperature": 1, "top_k": 1}),
    "min_p that leaves one token": (COMPLETION, TEXT | {"temperature": 1, "min_p": 1}),
    "no model": (COMPLETION, TEXT | {"model": None}),
    "a stream": (COMPLETION, TEXT | STREAM),
    "a stream with usage": (COMPLETION, TEXT | STREAM | USAGE),
    "a stream with growing usage": (COMPLETION, TEXT | STREAM | GROWING_USAGE),
    "a stream with log-probabilities": (COMPLETION, TEXT | STREAM | {"logprobs": 1}),
    "a stream with echo": (COMPLETION, TEXT | STREAM | {"echo": True}),
    "a stream with ids": (COMPLETION, TEXT | STREAM | {"return_token_ids": True}),
    "a stream of texts": (COMPLETION, TEXT | STREAM | {"prompt": ["a b", "c"]}),
    "a stream that ends": (COMPLETION, BARE | ENDS | STREAM | USAGE),
    "a chat": (CHAT, TALK),
    "a chat in parts": (CHAT, TALK | {"messages": PARTS}),
    "a chat with a system": (CHAT, TALK | {"messages": [{"role": "system", "content": "s"}, *QUESTION]}),
    "a chat of three": (CHAT, TALK | {"messages": [*OPEN, *QUESTION]}),
    "a chat that goes on": (
        CHAT,
        TALK | {"messages": OPEN, "continue_final_message": True, "add_generation_prompt": False},
    ),
    "a chat, as long as it may be": (CHAT, without(TALK, "max_tokens")),
    "a chat, the newer name": (CHAT, TALK | {"max_completion_tokens": 8}),
    "a chat, the newer name alone": (CHAT, without(TALK, "max_tokens") | {"max_completion_tokens": 5}),
    # of tokens that are the likeliest, which vLLM counts among the alternatives even where they are not
    "a chat with log-probabilities": (CHAT, WHO | {"logprobs": True, "top_logprobs": 2}),
    "a chat with log-probabilities alone": (CHAT, TALK | {"logprobs": True}),
    "a chat that ends": (CHAT, without(TALK, "logit_bias") | ENDS),
    "a chat with a stop string": (CHAT, TALK | {"max_tokens": 60, "stop": "|"}),
    "a chat with ids": (CHAT, WHO | {"return_token_ids": True}),
    "a streamed chat": (CHAT, TALK | STREAM),
    "a streamed chat with usage": (CHAT, TALK | STREAM | USAGE),
    "a streamed chat with growing usage": (CHAT, TALK | STREAM | GROWING_USAGE),
    "a streamed chat with log-probabilities": (CHAT, TALK | STREAM | {"logprobs": True}),
    "a streamed chat with ids": (CHAT, WHO | STREAM | {"return_token_ids": True}),
    "a streamed chat that ends": (CHAT, without(TALK, "logit_bias") | ENDS | STREAM | USAGE),
    "tokens": ("/tokenize", {"model": "tiny", "prompt": "a b", "return_token_strs": True}),
    "tokens of a chat": ("/tokenize", {"model": "tiny", "messages": QUESTION}),
    "a text of tokens": ("/detokenize", {"model": "tiny", "tokens": [70, 71, 220, 199]}),
}
for name, stop in STOPS.items():
    for is_kept, kept in (("", {}), (", kept", KEPT)):
        ANSWERED[f"stop: {name}{is_kept}"] = (COMPLETION, TEXT | {"max_tokens": 12} | stop | kept)
        streamed = TEXT | {"max_tokens": 12} | stop | kept | STREAM | USAGE
        ANSWERED[f"stop: {name}{is_kept}, streamed"] = (COMPLETION, streamed)
# Each engine draws in a way of its own: texts are equal where vLLM is behind both servers.
DRAWN_ANSWERS: Requests = {
    "a seed": (COMPLETION, TEXT | DRAWN),
    "a negative seed": (COMPLETION, TEXT | DRAWN | {"seed": -7}),
    "three answers": (COMPLETION, TEXT | DRAWN | {"n": 3}),
    "three answers of the largest seed": (COMPLETION, TEXT | DRAWN | {"n": 3, "seed": (1 << 63) - 1}),
    "two answers to each text": (COMPLETION, TEXT | DRAWN | {"n": 2, "prompt": ["a b", "c"]}),
    "two answers with echo": (COMPLETION, TEXT | DRAWN | {"n": 2, "echo": True}),
    "two streamed answers": (COMPLETION, TEXT | DRAWN | STREAM | USAGE | {"n": 2}),
    "cuts and penalties": (
        COMPLETION,
        TEXT | DRAWN | {"top_p": 0.8, "top_k": 20, "min_p": 0.01, "presence_penalty": -1, "frequency_penalty": 1},
    ),
    "two answers of a chat": (CHAT, TALK | DRAWN | {"n": 2}),
    "two streamed answers of a chat": (CHAT, TALK | DRAWN | STREAM | USAGE | {"n": 2}),
}
REFUSED: Requests = {
    "another model": (COMPLETION, TEXT | {"model": "x"}),
    "another model of a chat": (CHAT, TALK | {"model": "x"}),
    "no prompt": (COMPLETION, {"model": "tiny"}),
    "an empty prompt": (COMPLETION, TEXT | {"prompt": ""}),
    "no prompts": (COMPLETION, TEXT | {"prompt": []}),
    "a prompt of no tokens": (COMPLETION, TEXT | {"prompt": [[]]}),
    "a number as a prompt": (COMPLETION, TEXT | {"prompt": 5}),
    "a text and a token": (COMPLETION, TEXT | {"prompt": ["a", 5]}),
    "half a token": (COMPLETION, TEXT | {"prompt": [1.5]}),
    "a negative token": (COMPLETION, TEXT | {"prompt": [-1]}),
    "a cold temperature": (COMPLETION, TEXT | {"temperature": -1}),
    "a hot temperature": (COMPLETION, TEXT | {"temperature": 3}),
    "a temperature in words": (COMPLETION, TEXT | {"temperature": "hot"}),
    "top_p of 0": (COMPLETION, TEXT | {"top_p": 0}),
    "top_p of 2": (COMPLETION, TEXT | {"top_p": 2}),
    "top_k of -2": (COMPLETION, TEXT | {"top_k": -2}),
    "half a top_k": (COMPLETION, TEXT | {"top_k": 1.5}),
    "min_p of 2": (COMPLETION, TEXT | {"min_p": 2}),
    "n of 0": (COMPLETION, TEXT | {"n": 0}),
    "half an answer": (COMPLETION, TEXT | {"n": 1.5}),
    "a large penalty": (COMPLETION, TEXT | {"presence_penalty": 3}),
    "a repetition penalty of 0": (COMPLETION, TEXT | {"repetition_penalty": 0}),
    "a long prompt": (COMPLETION, TEXT | {"prompt": "a" * 300}),
    "a prompt as long as the context": (COMPLETION, TEXT | {"prompt": "a" * LENGTH}),
    "a long prompt of tokens": (COMPLETION, TEXT | {"prompt": [5] * 300}),
    "a long answer": (COMPLETION, TEXT | {"max_tokens": 1000}),
    "a token more than there is room for": (COMPLETION, TEXT | {"max_tokens": LENGTH - len(TEXT["prompt"]) + 1}),
    "a negative length": (COMPLETION, TEXT | {"max_tokens": -1}),
    "a length that is a word": (COMPLETION, TEXT | {"max_tokens": "a"}),
    "half a token of length": (COMPLETION, TEXT | {"max_tokens": 1.5}),
    "more least than most tokens": (COMPLETION, TEXT | {"min_tokens": 9}),
    "an unknown token": (COMPLETION, TEXT | {"prompt": [1, 9999]}),
    "an unknown token to stop at": (COMPLETION, TEXT | {"stop_token_ids": [9999]}),
    "an unknown token to favour": (COMPLETION, TEXT | {"logit_bias": {"9999": 1}}),
    "a word to favour": (COMPLETION, TEXT | {"logit_bias": {"a": 1}}),
    "a list of biases": (COMPLETION, TEXT | {"logit_bias": []}),
    "an empty stop string": (COMPLETION, TEXT | {"stop": [""]}),
    "a number as a stop string": (COMPLETION, TEXT | {"stop": 5}),
    "numbers as stop strings": (COMPLETION, TEXT | {"stop": [5]}),
    "many log-probabilities": (COMPLETION, TEXT | {"logprobs": 21}),
    "log-probabilities of a streamed prompt": (COMPLETION, TEXT | STREAM | {"prompt_logprobs": 1}),
    "a suffix": (COMPLETION, TEXT | {"suffix": "b"}),
    "half a seed": (COMPLETION, TEXT | {"seed": 1.5}),
    "a seed of 70 bits": (COMPLETION, TEXT | {"seed": 1 << 70}),
    "a stream perhaps": (COMPLETION, TEXT | {"stream": "maybe"}),
    "options of a stream that is none": (COMPLETION, TEXT | USAGE),
    "a schema that is none": (COMPLETION, TEXT | {"response_format": {"type": "json_schema"}}),
    "no messages": (CHAT, TALK | {"messages": []}),
    "a text as messages": (CHAT, TALK | {"messages": "How long?"}),
    "a text as a message": (CHAT, TALK | {"messages": ["How long?"]}),
    "a message of nobody": (CHAT, TALK | {"messages": [{"content": "a"}]}),
    "a number as a message": (CHAT, TALK | {"messages": [{"role": "user", "content": 5}]}),
    "a long chat": (CHAT, TALK | {"messages": [{"role": "user", "content": "a" * 300}]}),
    "a chat of no tokens": (CHAT, TALK | {"max_tokens": 0}),
    "a chat of no tokens, the newer name": (CHAT, TALK | {"max_completion_tokens": 0}),
    "log-probabilities that are not asked for": (CHAT, TALK | {"top_logprobs": 2}),
    "many log-probabilities in a chat": (CHAT, TALK | {"logprobs": True, "top_logprobs": 21}),
    "tools": (CHAT, TALK | {"tools": [TOOL], "tool_choice": "auto"}),
    "an image": (CHAT, TALK | {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}),
    "an unknown form": (CHAT, TALK | {"response_format": {"type": "xml"}}),
    "a template of the client": (CHAT, TALK | {"chat_template": "{{ 1 }}"}),
    "a turn that begins and goes on": (
        CHAT,
        TALK | {"messages": OPEN, "continue_final_message": True, "add_generation_prompt": True},
    ),
    "nothing to tokenize": ("/tokenize", {"model": "tiny"}),
    "no such route": ("/v1/nothing", {}),
}


@dataclass(frozen=True)
class Difference:
    """A request that the two servers answer differently on purpose: the statuses of vLLM and of this one, and why."""

    path: str
    body: dict[str, Any]
    theirs: int
    ours: int
    reason: str


IGNORED = "vLLM ignores it, and the answer is not what was asked for"
STRICT = "a value of another type is a mistake of the client; vLLM takes it for a number or a boolean"
OPENAI = "OpenAI accepts it"
HARMLESS = "it changes nothing"
DIFFERENT = {
    "an unknown field": Difference(COMPLETION, TEXT | {"unknown": 1}, 200, 400, IGNORED),
    "best_of": Difference(COMPLETION, TEXT | {"best_of": 3}, 200, 400, IGNORED),
    "beams": Difference(COMPLETION, TEXT | {"use_beam_search": True}, 200, 400, "no engine here searches with beams"),
    "a bias of 1000": Difference(COMPLETION, TEXT | {"logit_bias": {"5": 1000}}, 200, 400, "OpenAI's limits are ±100"),
    "a number as a text": Difference(COMPLETION, TEXT | {"max_tokens": "5"}, 200, 400, STRICT),
    "true as a number": Difference(COMPLETION, TEXT | {"max_tokens": True}, 200, 400, STRICT),
    "yes as true": Difference(COMPLETION, TEXT | {"stream": "yes"}, 200, 400, STRICT),
    "a number as true": Difference(CHAT, TALK | {"logprobs": 1}, 200, 400, STRICT),
    "words that are forbidden": Difference(COMPLETION, TEXT | {"bad_words": ["a"]}, 200, 400, "no engine port has it"),
    "tokens that are allowed": Difference(COMPLETION, TEXT | {"allowed_token_ids": [5]}, 200, 400, "as bad_words"),
    "a cut prompt": Difference(COMPLETION, TEXT | {"truncate_prompt_tokens": 3}, 200, 400, "prompts are never cut"),
    "an unknown role": Difference(
        CHAT, TALK | {"messages": [{"role": "king", "content": "a"}]}, 200, 400, "templates leave out unknown roles"
    ),
    "the answer of a tool": Difference(
        CHAT,
        TALK | {"messages": [*QUESTION, {"role": "tool", "content": "a", "tool_call_id": "b"}]},
        200,
        400,
        "no tools",
    ),
    "a user who says nothing": Difference(CHAT, TALK | {"messages": [{"role": "user"}]}, 200, 400, IGNORED),
    "two lengths": Difference(CHAT, TALK | {"max_completion_tokens": 3}, 200, 400, "they contradict each other"),
    "functions": Difference(CHAT, TALK | {"functions": [{"name": "f"}]}, 200, 400, IGNORED),
    "an answer that is kept": Difference(CHAT, TALK | {"store": True}, 200, 400, IGNORED),
    "effort": Difference(CHAT, TALK | {"reasoning_effort": "low"}, 200, 400, IGNORED),
    "an echo of a chat": Difference(CHAT, TALK | {"echo": True}, 200, 400, IGNORED),
    "two greedy answers": Difference(COMPLETION, TEXT | {"n": 2}, 400, 200, OPENAI),
    "two greedy answers of a chat": Difference(CHAT, TALK | {"n": 2}, 400, 200, OPENAI),
    "no tokens": Difference(COMPLETION, TEXT | {"max_tokens": 0}, 400, 200, OPENAI),
    "nulls": Difference(COMPLETION, TEXT | {"n": None, "stream": None, "echo": None}, 400, 200, OPENAI),
    "a number as a user": Difference(COMPLETION, TEXT | {"user": 5}, 400, 200, HARMLESS),
    "a choice among no tools": Difference(CHAT, TALK | {"tool_choice": "auto"}, 400, 200, HARMLESS),
    "no tools": Difference(CHAT, TALK | {"tools": []}, 400, 200, HARMLESS),
}

"""Requests to a generator about one passage, and whether an answer is one."""

from configs import schema
from stages.ports import Completion, Request

PASSAGE = (
    "The data subject shall have the right to obtain from the controller confirmation as to whether or not personal "
    "data concerning him or her are being processed. Where that is the case, the controller shall provide a copy of "
    "the data. For further copies the controller may charge a reasonable fee based on administrative costs."
)
SCHEMA = {
    "type": "object",
    "required": ["topic", "terms", "level", "score", "rank"],
    "additionalProperties": False,
    "properties": {
        "topic": {"type": "string", "minLength": 2, "maxLength": 40},
        "long": {"type": "string", "minLength": 200},
        "terms": {"type": "array", "minItems": 2, "maxItems": 8, "items": {"$ref": "#/$defs/term"}},
        "level": {"enum": ["low", "high"]},
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "rank": {"type": "integer", "minimum": 3, "maximum": 4},
        "question": {"type": "string", "pattern": "[?？]"},
    },
    "$defs": {"term": {"type": "string", "minLength": 1, "maxLength": 100}},
}


def ask(text: str, seed: int = 1, max_tokens: int = 12, **more) -> Request:
    """A request with one message; `sampling` are options of Sampling, the rest are the request's."""
    sampling = schema.Sampling(max_tokens=max_tokens, **more.pop("sampling", {}))
    return Request(f"r{seed}", ({"role": "user", "content": text},), sampling, seed, **more)


def answered(completion: Completion) -> bool:
    return (
        completion.error is None
        and bool(completion.text)
        and completion.prompt_tokens > 0
        and completion.output_tokens > 0
    )

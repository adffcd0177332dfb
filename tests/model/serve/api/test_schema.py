"""Requests drawn from /openapi.json: every answer is as described there, and nothing makes the server fail."""

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.factories.serving.servers import running, scripted

ROUTES = {
    "/v1/models": "GET",
    "/v1/completions": "POST",
    "/v1/chat/completions": "POST",
    "/tokenize": "POST",
    "/detokenize": "POST",
    "/tokenizer_info": "GET",
    "/health": "GET",
    "/metrics": "GET",
}
# What a drawn request is given, and what is taken from it, for this model to answer it.
SIMPLE = {
    "/v1/completions": {"prompt": "a", "max_tokens": 3, "best_of": None},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "a"}], "max_tokens": 3, "top_logprobs": None},
}
DEPENDENT = "model n stop min_tokens logprobs prompt_logprobs stop_token_ids logit_bias stream_options response_format"
DEPENDENT = [*DEPENDENT.split(), "max_completion_tokens", "chat_template_kwargs", "add_generation_prompt"]
DEPENDENT = [*DEPENDENT, "continue_final_message"]
DRAWN = settings(
    max_examples=20,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def served():
    with running(scripted("Thirty days.")) as server:
        yield server


@pytest.fixture(scope="module")
def schema(served):
    return schemathesis.openapi.from_dict(httpx.get(f"{served.url}/openapi.json").json())


def test_the_schema_lists_the_routes(schema):
    operations = {(row.ok().path, row.ok().method.upper()) for row in schema.get_all_operations()}
    assert operations == set(ROUTES.items())


@pytest.mark.parametrize(
    ("path", "mode"),
    [(path, GenerationMode.POSITIVE) for path in ROUTES]
    + [(path, GenerationMode.NEGATIVE) for path, method in ROUTES.items() if method == "POST"],
)
def test_answers_are_as_described(served, schema, path, mode):
    """Of requests that keep to the schema, and of such that do not, which are refused."""
    operation = schema[path][ROUTES[path]]

    statuses = set()

    @DRAWN
    @given(data=st.data())
    def check(data):
        case = data.draw(operation.as_strategy(generation_mode=mode))
        if mode is GenerationMode.POSITIVE and path in SIMPLE and data.draw(st.booleans()):
            case.body |= SIMPLE[path] | dict.fromkeys(DEPENDENT)
        # a request of the right form may still be refused: more tokens than the context has, say
        answer = case.call_and_validate(base_url=served.url, excluded_checks=[positive_data_acceptance])
        statuses.add(answer.status_code)

    check()
    if mode is GenerationMode.NEGATIVE:
        assert statuses == {400}
    elif path != "/metrics":
        assert 200 in statuses

"""What the child's metrics say about its engine."""

from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

_NAMES = {
    "vllm:num_requests_running": "running",
    "vllm:num_requests_waiting": "waiting",
    "vllm:kv_cache_usage_perc": "kv_cache_usage",
    "vllm:prompt_tokens_total": "prompt_tokens",
    "vllm:generation_tokens_total": "generated_tokens",
    "vllm:num_preemptions_total": "preemptions",
    "vllm:iteration_tokens_total_count": "steps",
}


@dataclass(frozen=True, slots=True)
class Figures:
    """Gauges of this moment, and counters since the child was started. Two that differ have a step between them."""

    running: float = 0
    waiting: float = 0
    kv_cache_usage: float = 0
    prompt_tokens: float = 0
    generated_tokens: float = 0
    preemptions: float = 0
    steps: float = 0  # those that drew tokens


def read_figures(metrics: str) -> Figures:
    """Reads the text of the child's `/metrics`. What a version of vLLM does not report is 0."""
    lines = [line for line in metrics.splitlines() if line.startswith(tuple(_NAMES))]
    values: dict[str, float] = {}
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        for sample in family.samples:
            if name := _NAMES.get(sample.name):
                values[name] = values.get(name, 0.0) + sample.value
    return Figures(**values)

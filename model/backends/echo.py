"""The generator without a model: fluent nonsense about the passage, at once and the same each time.

It exercises everything behind it (parsing, filters, duplicates, adapters, resume) at a million times less than a
model's cost. A share of its answers is bad on purpose, so that the filters have something to find.
"""

import json
import math
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from configs.schema import Generator as GeneratorConfig
from configs.schema import Lora
from model.backends import Backend, Readiness, identify_by_name
from model.backends.echo_text import Speaker, cut, wanted_labels, words
from model.weights.adapter import CONFIG, WEIGHTS, write_adapter
from stages.ports import Adapter, Completion, ModelCard, ProgressCallback, Request, Training
from stages.record import content_id

DEFECTS = ("refusal", "loop", "prompt_echo", "broken_form", "truncated")


class EchoGenerator:
    """Answers from the last user message and the request's seed alone; tokens are words.

    `json_schema` is kept, and so is the form of `Label: <…>` lines. `echo.defect_rate` of the answers are refusals,
    repetition loops, echoes of the prompt, broken forms, or cut short.
    """

    def __init__(self, config: GeneratorConfig, card: ModelCard, threads: int):
        self.config, self.card = config, card

    def generate(self, requests: Sequence[Request], progress: ProgressCallback | None = None) -> list[Completion]:
        """One completion per request, in order."""
        rows: list[Completion] = []
        output_tokens = 0
        for request in requests:
            rows.append(self._answer(request))
            output_tokens += rows[-1].output_tokens
            if progress is not None:
                progress(len(rows), output_tokens)
        return rows

    def account(self) -> dict[str, float]:
        """Nothing is measured here beyond what completions tell."""
        return {}

    def close(self) -> None:
        """There is nothing to free."""

    def _answer(self, request: Request) -> Completion:
        prompt = next((row["content"] for row in reversed(request.messages) if row["role"] == "user"), "")
        prompt = prompt.encode("utf-8", "replace").decode()  # an answer must have a UTF-8 form
        limit = request.sampling.max_tokens
        asked = sum(len(words(row["content"])) for row in request.messages)
        if asked + limit > self.config.max_model_len:
            reason = f"prompt_too_long: {asked} tokens and {limit} for the answer exceed {self.config.max_model_len}"
            return Completion("", asked, 0, "error", reason)
        seed = request.seed if request.sampling.temperature else 0
        rng = random.Random(content_id(str(seed), request.adapter.sha256 if request.adapter else "", prompt))
        defect = rng.choice(DEFECTS) if rng.random() < self.config.echo.defect_rate else None
        speaker = Speaker(prompt, rng, adapted=request.adapter is not None)
        labels = wanted_labels(prompt)
        if request.json_schema is not None:
            text = speaker.json(request.json_schema)
        else:
            text = speaker.labelled(labels) if labels else speaker.text()
        text, finish = _spoilt(text, defect, prompt, speaker, formed=bool(labels or request.json_schema))
        if len(words(text)) > limit:
            text, finish = cut(text, limit), "length"
        return Completion(text, asked, len(words(text)), finish)


def _spoilt(text: str, defect: str | None, prompt: str, speaker: Speaker, *, formed: bool) -> tuple[str, str]:
    if defect == "refusal":
        return speaker.refusal(), "stop"
    if defect == "loop":
        return " ".join([speaker.text(1)] * 10), "stop"
    if defect == "prompt_echo":
        return prompt.strip(), "stop"
    if defect == "broken_form" and formed:
        return text.replace('"', "", 3).replace(":", "", 1).replace("：", "", 1)[:-1], "stop"
    if defect in ("truncated", "broken_form"):
        return cut(text, max(3, len(words(text)) // 2)), "length"
    return text, "stop"


class EchoTrainer:
    """Trains a unigram model of the answers' words: a true loss on held-out rows, without tensors.

    Before training every word of the vocabulary is equally likely; after it, add-one counts.
    """

    def __init__(self, config: Lora, card: ModelCard, threads: int, seed: int):
        self.config, self.card, self.seed = config, card, seed

    def train(
        self,
        domain: str,
        rows: Sequence[list[dict[str, str]]],
        held_out: Sequence[list[dict[str, str]]],
        folder: Path,
    ) -> Training:
        """Counts the words of each row's last message, up to `max_tokens`."""
        import numpy as np
        from safetensors.numpy import save_file

        counts: Counter[str] = Counter()
        used = 0
        for row in rows:
            answer = words(row[-1]["content"])
            if used and used + len(answer) > self.config.max_tokens:
                break
            counts.update(answer)
            used += len(answer)
        fresh = [word for row in held_out for word in words(row[-1]["content"])]
        vocabulary = sorted(set(counts) | set(fresh))
        total = sum(counts.values()) + len(vocabulary)
        after = -sum(math.log((counts[word] + 1) / total) for word in fresh) / max(1, len(fresh))
        before = math.log(max(1, len(vocabulary)))

        def write(aside: Path) -> None:
            known = sorted(counts)
            save_file({"counts": np.array([counts[word] for word in known], dtype="i8")}, aside / WEIGHTS)
            config = {"base_model_name_or_path": self.card.name, "peft_type": "UNIGRAM", "words": known}
            (aside / CONFIG).write_text(json.dumps(config, ensure_ascii=False), "utf-8")

        def describe(adapter: Adapter) -> Training:
            return Training(adapter, before, after, len(rows), len(held_out), used, len(counts), len(vocabulary))

        return write_adapter(domain, folder, write, describe)


BACKEND = Backend(
    identify=identify_by_name,
    open=EchoGenerator,
    readiness=lambda: Readiness(True, "needs nothing"),
    open_trainer=EchoTrainer,
)

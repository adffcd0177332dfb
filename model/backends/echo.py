"""The generator without a model: it answers with sentences of the passage, instantly and always the same.

For tests and first runs: all stages behind the generator (parsing, filters, deduplication, adapters) work as with a
model, at a millionth of the cost. A share of the answers is bad on purpose, so that the filters find something.
"""

import json
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.schema import Generator as GeneratorConfig
from configs.schema import Lora
from model.backends import Backend, Readiness, identify_by_name
from model.backends.echo_text import AnswerWriter, answer_labels, cut, split_words
from model.weights.adapter import CONFIG, WEIGHTS, check_adapter, write_adapter
from stages.ports import Adapter, Completion, ModelCard, Preference, ProgressCallback, Request, Training
from stages.record import content_id
from stages.storage.stats import GeneratorStats
from stages.storage.utf8 import without_surrogates

_SEEN_WORD, _NEW_WORD = -2.0, -5.0  # log-probabilities of a scored word, in nats
DEFECTS = ("refusal", "loop", "prompt_echo", "broken_form", "truncated")


class EchoGenerator:
    """Answers depend on the last user message and the request's seed alone. Tokens are words.

    Answers follow `json_schema` and the form of `Label: <…>` lines in the prompt. The share `echo.defect_rate` of them
    are refusals, repetition loops, echoes of the prompt, in a broken form, or cut short. A scored answer has the
    log-probability of a model that expects words of the conversation more than others.
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

    def take_stats(self) -> GeneratorStats:
        """Empty: nothing is measured beyond the completions."""
        return GeneratorStats()

    def close(self) -> None:
        """Does nothing: there is nothing to free."""

    def _answer(self, request: Request) -> Completion:
        prompt = next((row["content"] for row in reversed(request.messages) if row["role"] == "user"), "")
        prompt = without_surrogates(prompt)
        scored = None if request.scored is None else split_words(request.scored)
        limit = request.sampling.max_tokens if scored is None else len(scored) + 1
        prompt_tokens = sum(len(split_words(row["content"])) for row in request.messages)
        if prompt_tokens + limit > self.config.max_model_len:
            reason = (
                f"prompt_too_long: {prompt_tokens} tokens and {limit} for the answer exceed {self.config.max_model_len}"
            )
            return Completion("", prompt_tokens, 0, "error", reason)
        if scored is not None:
            return Completion("", prompt_tokens, len(scored), "stop", log_probability=_log_probability(request, scored))
        seed = request.seed if request.sampling.temperature else 0
        rng = random.Random(content_id(str(seed), request.adapter.sha256 if request.adapter else "", prompt))
        defect = rng.choice(DEFECTS) if rng.random() < self.config.echo.defect_rate else None
        writer = AnswerWriter(prompt, rng, adapted=request.adapter is not None)
        labels = answer_labels(prompt)
        if request.begin:
            text = writer.continuation()
        elif request.json_schema is not None:
            text = writer.json(request.json_schema)
        else:
            text = writer.labelled(labels) if labels else writer.text()
        text, finish = _spoil(text, defect, prompt, writer, has_form=bool(labels or request.json_schema))
        if len(split_words(text)) > limit:
            text, finish = cut(text, limit), "length"
        words = split_words(text)
        log_probability = _log_probability(request, words) if request.likelihood else None
        return Completion(text, prompt_tokens, len(words), finish, log_probability=log_probability)


def _log_probability(request: Request, words: list[str]) -> float:
    known = {word.casefold() for row in request.messages for word in split_words(row["content"])}
    return sum((_SEEN_WORD if word.casefold() in known else _NEW_WORD) for word in words)


def _spoil(text: str, defect: str | None, prompt: str, writer: AnswerWriter, *, has_form: bool) -> tuple[str, str]:
    """The answer with the defect, and its finish reason."""
    if defect == "refusal":
        return writer.refusal(), "stop"
    if defect == "loop":
        return " ".join([writer.text(1)] * 10), "stop"
    if defect == "prompt_echo":
        return prompt.strip(), "stop"
    if defect == "broken_form" and has_form:
        return text.replace('"', "", 3).replace(":", "", 1).replace("：", "", 1)[:-1], "stop"
    if defect in ("truncated", "broken_form"):
        return cut(text, max(3, len(split_words(text)) // 2)), "length"
    return text, "stop"


class EchoTrainer:
    """Trains a unigram model of the answers' words: it has a real loss on held-out rows and needs no tensors.

    Before training all words of the vocabulary are equally likely; after training the model is add-one counts.
    """

    def __init__(
        self, config: Lora, card: ModelCard, threads: int, seed: int, template_options: Mapping[str, Any] | None = None
    ):
        self.config, self.card, self.seed = config, card, seed

    def train(
        self,
        domain: str,
        rows: Sequence[list[dict[str, str]]],
        held_out: Sequence[list[dict[str, str]]],
        folder: Path,
        *,
        keep_best: bool = False,
    ) -> Training:
        """Counts the words of the rows' last messages, up to `max_tokens` words, in one step. See AdapterTrainer."""
        answers, held_out_answers = ([split_words(row[-1]["content"]) for row in part] for part in (rows, held_out))
        return self._write(domain, folder, _Unigrams.start(None), answers, held_out_answers, {}, keep_best)

    def prefer(
        self,
        domain: str,
        pairs: Sequence[Preference],
        held_out: Sequence[Preference],
        folder: Path,
        start: Adapter | None = None,
    ) -> Training:
        """Counts the words of the chosen answers in addition to those of `start`. Losses are of the chosen answers."""
        before = _Unigrams.start(start)
        chosen, held_out_chosen = ([split_words(pair.chosen) for pair in part] for part in (pairs, held_out))
        after, _ = self._counted(before, chosen)
        words = [(split_words(pair.chosen), split_words(pair.rejected)) for pair in held_out]
        size = len({word for pair in words for answer in pair for word in answer} | after.counts.keys())

        def gain(answer: list[str]) -> float:
            return before.loss([answer], size) - after.loss([answer], size)

        figures = {
            "accuracy": sum(gain(good) > gain(bad) for good, bad in words) / max(1, len(words)),
            "chosen_change": sum(gain(good) for good, _ in words) / max(1, len(words)),
        }
        return self._write(domain, folder, before, chosen, held_out_chosen, figures, keep_best=True)

    def _counted(self, start: "_Unigrams", answers: list[list[str]]) -> tuple["_Unigrams", int]:
        """The counts with those of the answers, and the number of words that were added."""
        counts, tokens = Counter(start.counts), 0
        for answer in answers:
            if tokens and tokens + len(answer) > self.config.max_tokens:
                break
            counts.update(answer)
            tokens += len(answer)
        return _Unigrams(counts), tokens

    def _write(
        self,
        domain: str,
        folder: Path,
        start: "_Unigrams",
        answers: list[list[str]],
        held_out: list[list[str]],
        figures: dict[str, Any],
        keep_best: bool,
    ) -> Training:
        import numpy as np
        from safetensors.numpy import save_file

        after, tokens = self._counted(start, answers)
        size = len({word for answer in held_out for word in answer} | after.counts.keys())
        losses = start.loss(held_out, size), after.loss(held_out, size)
        if keep_best:
            best = int(losses[1] < losses[0])
            figures |= {"steps": 1, "best_step": best, "losses": tuple(enumerate(losses))}
            after, losses = (start, after)[best], (losses[0], losses[best])

        def write(folder: Path) -> None:
            words = sorted(after.counts)
            save_file({"counts": np.array([after.counts[word] for word in words], dtype="i8")}, folder / WEIGHTS)
            config = {"base_model_name_or_path": self.card.name, "peft_type": "UNIGRAM", "words": words}
            (folder / CONFIG).write_text(json.dumps(config, ensure_ascii=False), "utf-8")

        def describe(adapter: Adapter) -> Training:
            rows = len(answers), len(held_out)
            return Training(adapter, *losses, *rows, tokens, len(after.counts), size, **figures)

        return write_adapter(domain, folder, write, describe)


@dataclass(frozen=True, slots=True)
class _Unigrams:
    """Counts of words. Their probabilities are add-one estimates; without counts all words are equally likely."""

    counts: Counter[str]

    @classmethod
    def start(cls, adapter: Adapter | None) -> "_Unigrams":
        """The counts of an adapter. Raises InputError if its files are missing or are not those of its hash."""
        from safetensors.numpy import load_file

        if adapter is None:
            return cls(Counter())
        folder = check_adapter(adapter)
        words = json.loads((folder / CONFIG).read_text("utf-8"))["words"]
        return cls(Counter(dict(zip(words, load_file(folder / WEIGHTS)["counts"].tolist(), strict=True))))

    def loss(self, answers: list[list[str]], size: int) -> float:
        """Mean cross-entropy in nats per word. `size`: words of the vocabulary."""
        if not self.counts:
            return math.log(max(1, size))
        total = sum(self.counts.values()) + size
        words = [word for answer in answers for word in answer]
        return -sum(math.log((self.counts[word] + 1) / total) for word in words) / max(1, len(words))


BACKEND = Backend(
    identify=identify_by_name,
    open=EchoGenerator,
    readiness=lambda: Readiness(True, "needs nothing"),
    open_trainer=EchoTrainer,
    continues=True,
    scores=True,
)

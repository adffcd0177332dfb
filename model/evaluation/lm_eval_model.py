"""A trained model as lm-evaluation-harness asks it, and the tasks run on it. Needs the extra `evaluate`."""

import contextlib
import io
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.model import TemplateLM
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager
from torch.nn import functional as F

TOKENS = 8192  # of a forward pass, about


class Asked(TemplateLM):
    """Log-likelihoods of continuations; a context longer than `window` tokens loses its beginning."""

    def __init__(self, network: Any, encode: Callable[[str], list[int]], window: int) -> None:
        super().__init__()
        self.network, self.encode, self.window = network, encode, window

    @property
    def eot_token_id(self) -> int:
        """The end of a document; also what stands before an empty context."""
        return self.network.config.eos_token_id

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        return self.encode(string)

    @torch.no_grad()
    def _loglikelihood_tokens(self, requests: Any, **kwargs: Any) -> list[tuple[float, bool]]:
        """For each (texts, context, continuation): log-probability, and whether greedy decoding would write it."""
        done: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        pieces = [([*context, *answer][-self.window - 1 :], len(answer)) for _, context, answer in requests]
        order = sorted(range(len(pieces)), key=lambda place: len(pieces[place][0]))
        step = max(TOKENS // self.window, 1)
        for begin in range(0, len(order), step):
            places = order[begin : begin + step]
            for place, result in zip(places, self._ask([pieces[place] for place in places]), strict=True):
                done[place] = result
        return done

    def _ask(self, rows: Sequence[tuple[list[int], int]]) -> list[tuple[float, bool]]:
        longest, kept = max(len(tokens) for tokens, _ in rows) - 1, max(size for _, size in rows)
        ids = torch.full((len(rows), longest), self.eot_token_id)
        mask = torch.zeros_like(ids)
        for row, (tokens, _) in enumerate(rows):  # padded on the left: all answers end at the same place
            ids[row, longest - len(tokens) + 1 :] = torch.tensor(tokens[:-1])
            mask[row, longest - len(tokens) + 1 :] = 1
        device = self.network.device
        out = self.network(ids.to(device), attention_mask=mask.to(device), use_cache=False, logits_to_keep=kept)
        results = []
        for logits, (tokens, size) in zip(out.logits.float(), rows, strict=True):
            size = min(size, len(tokens) - 1)
            answer = torch.tensor(tokens[-size:], device=logits.device)
            greedy = bool((logits[-size:].argmax(-1) == answer).all())
            results.append((-float(F.cross_entropy(logits[-size:], answer, reduction="sum")), greedy))
        return results

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        raise NotImplementedError("perplexity is measured by model.evaluation.perplexity")

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        raise NotImplementedError("the tasks here are multiple choice")


def run(
    network: Any, encode: Callable[[str], list[int]], names: Sequence[str], folder: Path, window: int
) -> dict[str, dict[str, float]]:
    """Accuracy of each task that `lm_eval_tasks.write` put into the folder, and its standard error.

    `accuracy` takes the most likely choice, `accuracy_per_byte` the most likely over its length in bytes.
    """
    with _quiet():
        manager = TaskManager(include_path=str(folder), include_defaults=False)
        found: Any = simple_evaluate(
            Asked(network, encode, window),
            tasks=list(names),
            task_manager=manager,
            bootstrap_iters=100,
            log_samples=False,
        )
    return {
        name: {
            "accuracy": row["acc,none"],
            "accuracy_se": row["acc_stderr,none"],
            "accuracy_per_byte": row["acc_norm,none"],
            "accuracy_per_byte_se": row["acc_norm_stderr,none"],
        }
        for name, row in found["results"].items()
    }


@contextlib.contextmanager
def _quiet():
    """Holds the libraries' log lines and bars back."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)

"""A trained model in the form that lm-evaluation-harness asks for. Needs the extra `evaluate`."""

import contextlib
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.model import TemplateLM
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager
from torch.nn import functional as F

TOKENS_PER_PASS = 8192  # of a forward pass, about


class LmEvalModel(TemplateLM):
    """Answers requests for log-likelihoods. A context with more than `window` tokens loses its beginning.

    Args:
        network: a DsaForCausalLM in evaluation mode.
        encode: its tokenizer.
        window: tokens that the network reads at most.
    """

    def __init__(self, network: Any, encode: Callable[[str], list[int]], window: int) -> None:
        super().__init__()
        self.network, self.encode, self.window = network, encode, window

    @property
    def eot_token_id(self) -> int:
        """The end-of-sequence id, which the library also puts before an empty context."""
        return self.network.config.eos_token_id

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        return self.encode(string)

    @torch.no_grad()
    def _loglikelihood_tokens(self, requests: Any, **kwargs: Any) -> list[tuple[float, bool]]:
        """Returns the log-probability of each (texts, context, continuation), and whether greedy decoding writes it."""
        answers: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        rows = [
            ([*context, *continuation][-self.window - 1 :], len(continuation)) for _, context, continuation in requests
        ]
        by_length = sorted(range(len(rows)), key=lambda place: len(rows[place][0]))
        rows_per_pass = max(TOKENS_PER_PASS // self.window, 1)
        for begin in range(0, len(by_length), rows_per_pass):
            places = by_length[begin : begin + rows_per_pass]
            for place, answer in zip(places, self._score([rows[place] for place in places]), strict=True):
                answers[place] = answer
        return answers

    def _score(self, rows: Sequence[tuple[list[int], int]]) -> list[tuple[float, bool]]:
        """Scores rows of (token ids, how many of them at the end are the continuation) in one forward pass."""
        longest = max(len(tokens) for tokens, _ in rows) - 1
        longest_continuation = max(size for _, size in rows)
        ids_BT = torch.full((len(rows), longest), self.eot_token_id)
        mask_BT = torch.zeros_like(ids_BT)
        for row, (tokens, _) in enumerate(rows):  # padded on the left, so that all continuations end at the same place
            ids_BT[row, longest - len(tokens) + 1 :] = torch.tensor(tokens[:-1])
            mask_BT[row, longest - len(tokens) + 1 :] = 1
        device = self.network.device
        output = self.network(
            ids_BT.to(device), attention_mask=mask_BT.to(device), use_cache=False, logits_to_keep=longest_continuation
        )
        answers = []
        for logits_TV, (tokens, size) in zip(output.logits.float(), rows, strict=True):
            size = min(size, len(tokens) - 1)
            continuation_T = torch.tensor(tokens[-size:], device=logits_TV.device)
            is_greedy = bool((logits_TV[-size:].argmax(-1) == continuation_T).all())
            answers.append((-float(F.cross_entropy(logits_TV[-size:], continuation_T, reduction="sum")), is_greedy))
        return answers

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        raise NotImplementedError("perplexity is measured by model.evaluation.perplexity")

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        raise NotImplementedError("the tasks of model.evaluation.lm_eval_tasks are all multiple choice")


def measure_tasks(
    network: Any, encode: Callable[[str], list[int]], names: Sequence[str], folder: Path, window: int
) -> dict[str, dict[str, float]]:
    """Returns the accuracies of each task and their standard errors.

    `accuracy` takes the most likely choice, `accuracy_per_byte` the most likely one relative to its length in bytes.

    Args:
        network: a DsaForCausalLM in evaluation mode.
        encode: its tokenizer.
        names: of the tasks.
        folder: where `lm_eval_tasks.write` wrote them.
        window: tokens that the network reads at most.
    """
    with _quiet():
        results: Any = simple_evaluate(
            LmEvalModel(network, encode, window),
            tasks=list(names),
            task_manager=TaskManager(include_path=str(folder), include_defaults=False),
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
        for name, row in results["results"].items()
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Turns off the libraries' log lines and progress bars."""
    disabled_level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(disabled_level)

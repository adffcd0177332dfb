"""Trains a cross-encoder by LoRA (Hu et al. 2021) on quadruples: two passages, two claims, each supported by one.

The loss has two terms: cross-entropy of the four pairs, and a ranking term (RankNet: Burges et al. 2005, section 3) by
which a claim scores higher with its own passage than with the other one, and a passage higher with its own claim. Only
the ranking by passages counts where nobody knows whether the claims are right: a generator's own answers.
"""

import json
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from model.device import choose_device, use_threads
from model.encoder.cross_encoder import Window, identify_cross_encoder, padded, windows_of
from model.silence import silence
from model.weights.adapter import CONFIG, WEIGHTS
from stages.ports import Contrast

LORA_RANK = 32
RANKING_WEIGHT = 0.5
LEARNING_RATE = 5e-4
WARM_UP_SHARE = 0.06  # of the steps
WEIGHT_DECAY = 0.01
MAX_GRADIENT_NORM = 1.0
EASY_SHARE = 0.25  # of the first epoch's easy quadruples, that come before all others
PAIRS_PER_BATCH = 192
MAX_TOKENS = 384


@dataclass(frozen=True, slots=True)
class CrossEncoderTuning:
    """How a cross-encoder is trained. The same options, quadruples, thread count and machine give the same adapter."""

    model: str = "all-minilm-l6-v2"
    epochs: int = 1
    seed: int = 17
    learning_rate: float = LEARNING_RATE
    max_tokens: int = MAX_TOKENS
    threads: int = 0


def tune_cross_encoder(
    options: CrossEncoderTuning,
    quadruples: Sequence[Contrast],
    folder: Path,
    report_progress: Callable[[str], None] = lambda _: None,
) -> float:
    """Trains an adapter and writes it into `folder`. Returns the mean loss of the last tenth of the steps.

    Quadruples with a passage that does not fit into one window are left out. Raises ConfigError, InputError or
    BackendError naming `model`, ValueError without quadruples.
    """
    card = identify_cross_encoder(options.model)
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)  # of the new output layer and the adapter
        tokenizer, model = load_untrained(card.path)
        model = adapted(model)
        losses = _fit(options, tokenizer, model, quadruples, report_progress)
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in adapter_files(model, card.name).items():
        (folder / name).write_bytes(data)
    last = losses[-max(1, len(losses) // 10) :]
    return sum(last) / len(last)


def load_untrained(path: str) -> tuple[Any, Any]:
    """The tokenizer, and an encoder with a new output layer of one output."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    with silence():
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
        model = AutoModelForSequenceClassification.from_pretrained(
            path, num_labels=1, dtype=torch.float32, use_safetensors=True, local_files_only=True
        )
    return tokenizer, model


def adapted(model: Any) -> Any:
    """The model with a LoRA adapter on all its layers; its output layer is trained too."""
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(
        r=LORA_RANK,
        lora_alpha=2 * LORA_RANK,
        lora_dropout=0.0,
        target_modules=["dense", "key", "query", "value"],
        task_type="SEQ_CLS",
    )
    return get_peft_model(model, lora)


def _fit(
    options: CrossEncoderTuning,
    tokenizer: Any,
    model: Any,
    quadruples: Sequence[Contrast],
    report_progress: Callable[[str], None],
) -> list[float]:
    """Trains the model in place. Returns the loss of each step."""
    use_threads(options.threads)
    device, _ = choose_device("auto")
    model.to(device).train()
    fitting, windows = _tokenised(tokenizer, quadruples, options.max_tokens)
    if not windows:
        raise ValueError("no quadruples to train on")
    plan = _plan(fitting, windows, options)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=options.learning_rate, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, options.learning_rate, total_steps=len(plan) + 1, pct_start=WARM_UP_SHARE
    )
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=choose_device("auto")[1] == torch.bfloat16)
    losses = []
    for step, batch in enumerate(plan):
        inputs = padded([window for index in batch for window in windows[index]], device, model.config)
        sure_B = torch.tensor([fitting[index].sure for index in batch], device=device)
        with autocast:
            score_B2C = model(**inputs).logits.float().view(len(batch), 2, -1)
        loss = contrast_loss(score_B2C, sure_B)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, MAX_GRADIENT_NORM)
        optimiser.step()
        schedule.step()
        losses.append(loss.detach())
        if step % 100 == 99:
            report_progress(f"step {step + 1} of {len(plan)}, loss {torch.stack(losses[-100:]).mean().item():.3f}")
    model.eval()
    return [float(loss) for loss in losses]


def contrast_loss(score_B2C: torch.Tensor, sure_B: torch.Tensor) -> torch.Tensor:
    """The loss of a batch of quadruples. Rows of [2, C] are passages; columns are the claims, then answers if any.

    sure_B: whether the claims are known to be right; if not, only the comparison of the passages counts.
    """
    score_B22, known_B = score_B2C[:, :, :2], sure_B.float()
    target_B22 = torch.eye(2, device=score_B2C.device).expand_as(score_B22)
    entropy_B = binary_cross_entropy_with_logits(score_B22, target_B22, reduction="none").mean((1, 2))
    own_B2, other_passage_B2, other_claim_B2 = _compared(score_B22)
    by_passage_B = softplus(other_passage_B2 - own_B2).mean(1)
    by_claim_B = softplus(other_claim_B2 - own_B2).mean(1) * known_B
    loss = (entropy_B * known_B + RANKING_WEIGHT * (by_passage_B + by_claim_B)).mean()
    if score_B2C.shape[2] == 4:
        answer_B2, elsewhere_B2, _ = _compared(score_B2C[:, :, 2:])
        worse = softplus(answer_B2 - own_B2) + softplus(other_claim_B2 - answer_B2) + softplus(elsewhere_B2 - answer_B2)
        loss = loss + RANKING_WEIGHT * worse.mean()
    return loss


def _compared(score_B22: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """[B, 2] each: a claim with its own passage, it with the other passage, its passage with the other claim."""
    own_B2 = score_B22.diagonal(dim1=1, dim2=2)
    return own_B2, score_B22.flip(1).diagonal(dim1=1, dim2=2), score_B22.flip(2).diagonal(dim1=1, dim2=2)


def _tokenised(
    tokenizer: Any, quadruples: Sequence[Contrast], max_tokens: int
) -> tuple[list[Contrast], list[list[Window]]]:
    """The quadruples that fit, and the windows of each: passage 0 with all claims and answers, then passage 1."""
    pairs = [
        (number, passage, claim)
        for number, item in enumerate(quadruples)
        for passage in item.passages
        for claim in (*item.claims, *item.answers)
    ]
    rows: list[list[Window]] = [[] for _ in quadruples]
    counts = [0] * len(quadruples)
    for number, _, _ in pairs:
        counts[number] += 1
    for window in windows_of(tokenizer, [pair[1] for pair in pairs], [pair[2] for pair in pairs], max_tokens):
        rows[pairs[window.pair][0]].append(window)
    fits = [
        number
        for number, windows in enumerate(rows)
        # no second window, and claims that still differ after they were cut
        if len(windows) == counts[number] and windows[0].ids != windows[1].ids
    ]
    return [quadruples[number] for number in fits], [rows[number] for number in fits]


def _plan(
    quadruples: Sequence[Contrast], windows: Sequence[Sequence[Window]], options: CrossEncoderTuning
) -> list[list[int]]:
    """All batches in order: in each epoch every quadruple once, at first some of the easy ones alone."""
    rng, plan = random.Random(options.seed), []
    for epoch in range(options.epochs):
        first = [n for n, item in enumerate(quadruples) if epoch == 0 and item.easy and rng.random() < EASY_SHARE]
        rest = sorted(set(range(len(quadruples))) - set(first))
        plan += _batches(first, windows, rng) + _batches(rest, windows, rng)
    return plan


def _batches(chosen: Sequence[int], windows: Sequence[Sequence[Window]], rng: random.Random) -> list[list[int]]:
    """Batches of quadruples of about equal length and the same number of pairs, in random order."""
    batches: list[list[int]] = []
    for pairs in sorted({len(windows[index]) for index in chosen}):
        same = [index for index in chosen if len(windows[index]) == pairs]
        length = {index: max(len(window.ids) for window in windows[index]) + 30 * rng.random() for index in same}
        order, size = sorted(same, key=length.__getitem__), PAIRS_PER_BATCH // pairs
        batches += [order[start : start + size] for start in range(0, len(order), size)]
    rng.shuffle(batches)
    return batches


def adapter_files(model: Any, name: str) -> dict[str, bytes]:
    """The adapter's files, weights in float16. Nothing in them depends on this machine: the hash is over them."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        weights = {key: tensor.half() for key, tensor in load_file(Path(folder) / WEIGHTS).items()}
        config = json.loads((Path(folder) / CONFIG).read_text("utf-8"))
    config["base_model_name_or_path"] = name
    config["target_modules"] = sorted(config["target_modules"])
    return {
        WEIGHTS: save(weights, {"format": "pt"}),
        CONFIG: (json.dumps(config, indent=1, sort_keys=True) + "\n").encode(),
    }

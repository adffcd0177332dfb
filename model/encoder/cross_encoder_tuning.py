"""Trains a cross-encoder by LoRA (Hu et al. 2021) on quadruples: two passages, two claims, each borne out by one.

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
from model.encoder.cross_encoder import Window, identify_cross_encoder, load_cross_encoder, padded, windows_of
from model.silence import silence
from model.weights.adapter import CONFIG, WEIGHTS
from stages.ports import Contrast

LORA_RANK = 32
RANKING_WEIGHT = 0.5
LEARNING_RATE = 5e-4
WARM_UP_SHARE = 0.06  # of the steps
WEIGHT_DECAY = 0.01
MAX_GRADIENT_NORM = 1.0
QUADRUPLES_PER_BATCH = 32
MAX_TOKENS = 384


@dataclass(frozen=True, slots=True)
class CrossEncoderTuning:
    """How a cross-encoder is trained. The same options, quadruples, thread count and machine give the same adapter."""

    model: str = "all-minilm-l6-v2"
    epochs: int = 2
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
    windows, sure = _tokenised(tokenizer, quadruples, options.max_tokens)
    if not windows:
        raise ValueError("no quadruples to train on")
    rng, plan = random.Random(options.seed), []
    for _ in range(options.epochs):
        plan += _batches([max(len(window.ids) for window in four) for four in windows], rng)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=options.learning_rate, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, options.learning_rate, total_steps=len(plan) + 1, pct_start=WARM_UP_SHARE
    )
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=choose_device("auto")[1] == torch.bfloat16)
    losses = []
    for step, batch in enumerate(plan):
        inputs = padded([window for index in batch for window in windows[index]], device, tokenizer.pad_token_id or 0)
        sure_B = torch.tensor([sure[index] for index in batch], device=device)
        with autocast:
            score_B22 = model(**inputs).logits.float().view(-1, 2, 2)
        loss = contrast_loss(score_B22, sure_B)
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


def contrast_loss(score_B22: torch.Tensor, sure_B: torch.Tensor) -> torch.Tensor:
    """The loss of a batch of quadruples. Rows of [2, 2] are passages, columns are claims; the diagonal is borne out.

    sure_B: whether the claims are known to be right; if not, only the ranking of the passages counts.
    """
    target_22 = torch.eye(2, device=score_B22.device)
    known_B = sure_B.float()
    entropy_B = binary_cross_entropy_with_logits(
        score_B22, target_22.expand_as(score_B22), reduction="none"
    ).mean((1, 2))
    own_B2 = score_B22.diagonal(dim1=1, dim2=2)
    other_passage_B2 = score_B22.flip(1).diagonal(dim1=1, dim2=2)  # the same claim with the other passage
    other_claim_B2 = score_B22.flip(2).diagonal(dim1=1, dim2=2)
    by_passage_B = softplus(other_passage_B2 - own_B2).mean(1)
    by_claim_B = softplus(other_claim_B2 - own_B2).mean(1) * known_B
    return (entropy_B * known_B + RANKING_WEIGHT * (by_passage_B + by_claim_B)).mean()


def _tokenised(
    tokenizer: Any, quadruples: Sequence[Contrast], max_tokens: int
) -> tuple[list[tuple[Window, ...]], list[bool]]:
    """The four windows of each quadruple that fits: passage 0 with both claims, then passage 1."""
    passages = [item.passages[row] for item in quadruples for row in (0, 0, 1, 1)]
    claims = [item.claims[column] for item in quadruples for column in (0, 1, 0, 1)]
    by_pair: dict[int, list[Window]] = {}
    for window in windows_of(tokenizer, passages, claims, max_tokens):
        by_pair.setdefault(window.pair, []).append(window)
    fours = [[by_pair[4 * number + place] for place in range(4)] for number in range(len(quadruples))]
    fits = [number for number, four in enumerate(fours) if all(len(rows) == 1 for rows in four)]
    windows = [tuple(rows[0] for rows in fours[number]) for number in fits]
    return windows, [quadruples[number].sure for number in fits]


def _batches(lengths: Sequence[int], rng: random.Random) -> list[list[int]]:
    """Batches of indices of quadruples of about equal length, in random order."""
    order = sorted(range(len(lengths)), key=lambda index: lengths[index] + 30 * rng.random())
    batches = [order[start : start + QUADRUPLES_PER_BATCH] for start in range(0, len(order), QUADRUPLES_PER_BATCH)]
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

"""Fine-tunes an encoder to tell good texts from bad ones, by LoRA (Hu et al. 2021).

The loss is that of a linear head on the mean state. It has two terms: cross-entropy, and a ranking term (RankNet:
Burges et al. 2005, section 3) by which the good text of a page shall score above the bad texts of the same page. The
second one gains nothing from features that all texts of a source share. The head is thrown away after training; the
result is an adapter of a few megabytes. The logistic heads of the filters are then fitted on the tuned encoder's
vectors.
"""

import json
import random
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save

from configs.schema import Encoder as EncoderConfig
from model.device import choose_device, use_threads
from model.encoder.encoder import BertEncoder
from model.encoder.weights import sha256_with_adapter
from model.weights.adapter import CONFIG, WEIGHTS
from stages.ports import TuningEpoch

LORA_RANK = 16
RANKING_WEIGHT = 1.0  # of the ranking term in the loss; cross-entropy has 1
MAX_TEXTS_PER_BATCH = 128
LEARNING_RATE = 1e-3
WARM_UP_SHARE = 0.1  # of the steps
WEIGHT_DECAY = 0.01
MAX_GRADIENT_NORM = 1.0
LENGTH_JITTER_TOKENS = 20  # added at random before texts are sorted by length: batches differ between epochs


class TunedEncoder(BertEncoder):
    """The configured encoder after fine-tuning. `adapter`: the adapter's files, by name.

    `depth`: the share of the layers, from the first, that are tuned and read. The same epochs, seed, thread count and
    machine give the same encoder.
    """

    def __init__(self, config: EncoderConfig, depth: float, epochs: Sequence[TuningEpoch], seed: int) -> None:
        super().__init__(config.model_copy(update={"adapter": "none", "dtype": "float32"}), 0)
        use_threads(self.threads)
        layers = round(depth * len(self.layers))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            tuned = self._adapted(layers)
            self._fit(tuned, epochs, seed)
        self.adapter = self._files(tuned)
        self.model = tuned.merge_and_unload().eval()
        self.layers = self.model.encoder.layer = torch.nn.ModuleList([*self.model.encoder.layer, *self.layers[layers:]])
        with tempfile.TemporaryDirectory() as folder:
            self.write(Path(folder))
            self.card = replace(self.card, sha256=sha256_with_adapter(self.card.sha256, Path(folder)))
        self.set_dtype(config.dtype)

    def write(self, folder: Path) -> None:
        """Writes the adapter into `folder`, for use as `screen.encoder.adapter`."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.adapter.items():
            (folder / name).write_bytes(data)

    def _adapted(self, layers: int) -> Any:
        from peft import LoraConfig, get_peft_model

        self.model.encoder.layer = self.layers[:layers]
        lora = LoraConfig(
            r=LORA_RANK,
            lora_alpha=LORA_RANK,
            lora_dropout=0.0,
            target_modules=["dense", "key", "query", "value"],
            layers_to_transform=list(range(layers)),
            layers_pattern="layer",
            task_type="FEATURE_EXTRACTION",
        )
        return get_peft_model(self.model, lora)

    def _fit(self, tuned: Any, epochs: Sequence[TuningEpoch], seed: int) -> None:
        head = torch.nn.Linear(self.model.config.hidden_size, 1).to(self.device)
        torch.nn.init.zeros_(head.weight)
        adapter = [parameter for parameter in tuned.parameters() if parameter.requires_grad]
        optimiser = torch.optim.AdamW([*adapter, *head.parameters()], lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        rng, plan = random.Random(seed), []
        for epoch in epochs:
            ids = self.tokens(epoch.texts)
            plan += [(epoch, ids, batch) for batch in page_batches([len(row) for row in ids], epoch.page, rng)]
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, LEARNING_RATE, total_steps=len(plan) + 1, pct_start=WARM_UP_SHARE
        )
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=choose_device("auto")[1] == torch.bfloat16)
        for epoch, ids, batch in plan:
            ids_BT, mask_BT = self.padded([ids[index] for index in batch])
            with autocast:
                states = tuned(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
            mean_BD = (states.float() * mask_BT[..., None]).sum(1) / mask_BT.sum(1, keepdim=True)
            good_B, weight_B, page_B = (
                torch.tensor(values[batch], device=self.device) for values in (epoch.good, epoch.weight, epoch.page)
            )
            loss = tuning_loss(head(mean_BD)[:, 0], good_B.float(), weight_B.float(), page_B)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(adapter, MAX_GRADIENT_NORM)
            optimiser.step()
            schedule.step()

    def _files(self, tuned: Any) -> dict[str, bytes]:
        """The adapter's files, in float16. The tuned model is rounded to float16 too, so that both are the same.

        Nothing in the config depends on this machine: the adapter's hash is over it.
        """
        with torch.no_grad():
            for parameter in tuned.parameters():
                if parameter.requires_grad:
                    parameter.copy_(parameter.half().float())
        with tempfile.TemporaryDirectory() as folder:
            tuned.save_pretrained(folder)
            weights = {name: tensor.half() for name, tensor in load_file(Path(folder) / WEIGHTS).items()}
            config = json.loads((Path(folder) / CONFIG).read_text("utf-8"))
            config["base_model_name_or_path"] = self.card.name
            config["target_modules"] = sorted(config["target_modules"])
            return {
                WEIGHTS: save(weights, {"format": "pt"}),
                CONFIG: (json.dumps(config, indent=1, sort_keys=True) + "\n").encode(),
            }


def tune(config: EncoderConfig, depth: float, epochs: Sequence[TuningEpoch], seed: int) -> TunedEncoder:
    """The configured encoder, fine-tuned on these epochs in order. See TunedEncoder for the arguments.

    Raises ConfigError, InputError or BackendError as `open_encoder`.
    """
    return TunedEncoder(config, depth, epochs, seed)


def tuning_loss(
    score_B: torch.Tensor, good_B: torch.Tensor, weight_B: torch.Tensor, page_B: torch.Tensor
) -> torch.Tensor:
    """Weighted cross-entropy of the scores plus, for each pair of a good and a bad text of one page, the ranking term.

    good_B: 1 or 0; page_B: the number of each text's page. A pair has the weight of its bad text.
    """
    loss = torch.nn.functional.binary_cross_entropy_with_logits(score_B, good_B, weight=weight_B)
    pair_BB = (page_B[:, None] == page_B) * good_B[:, None] * (1 - good_B)  # rows: the good text, columns: the bad one
    weighted_pair_BB = pair_BB * weight_B
    ranking_loss_BB = torch.nn.functional.softplus(score_B - score_B[:, None])
    return loss + RANKING_WEIGHT * (weighted_pair_BB * ranking_loss_BB).sum() / pair_BB.sum().clamp(min=1)


def page_batches(lengths: Sequence[int], page_N: np.ndarray, rng: random.Random) -> list[list[int]]:
    """Batches of indices of texts, about equal in length within a batch, in random order.

    lengths: tokens of each text. The texts of a page are always in one batch.
    """
    texts_by_page: dict[int, list[int]] = {}
    for index, page in enumerate(page_N.tolist()):
        texts_by_page.setdefault(page, []).append(index)
    pages = sorted(
        texts_by_page.values(),
        key=lambda texts: max(lengths[index] for index in texts) + rng.random() * LENGTH_JITTER_TOKENS,
    )
    batches: list[list[int]] = [[]]
    for texts in pages:
        if batches[-1] and len(batches[-1]) + len(texts) > MAX_TEXTS_PER_BATCH:
            batches.append([])
        batches[-1] += texts
    rng.shuffle(batches)
    return batches

"""Fine-tunes an encoder to tell good texts from bad: LoRA (Hu et al. 2021), under a linear head on the mean state.

Besides the cross-entropy, a page's own text shall score above the bad ones that were made of it (RankNet: Burges et al.
2005, section 3): what all texts of a source have in common gains nothing there. The head is thrown away: what is kept
is an adapter of some megabytes, and a logistic head is fitted on the tuned states.
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
from model.device import place, use_threads
from model.encoder.encoder import BertEncoder
from model.encoder.weights import joined
from model.weights.adapter import CONFIG, WEIGHTS
from stages.ports import Lesson

RANK = 16
RANKING = 1.0  # the ranking's share in the loss, beside 1 of the cross-entropy
BATCH = 128
LEARNING_RATE = 1e-3
WARM_UP = 0.1
DECAY = 0.01
LARGEST_GRADIENT = 1.0
SPREAD = 20  # tokens: how unlike in length neighbours in a batch may be


class TunedEncoder(BertEncoder):
    """The configured encoder, tuned; `adapter` holds the files that make it out of the plain one.

    `depth`: the share of the layers that are tuned and read, from the first. `lessons`: one an epoch. The same
    lessons, seed, threads and machine give the same encoder.
    """

    def __init__(self, config: EncoderConfig, depth: float, lessons: Sequence[Lesson], seed: int) -> None:
        super().__init__(config.model_copy(update={"adapter": "none", "dtype": "float32"}), 0)
        use_threads(self.threads)
        layers = round(depth * len(self.layers))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            tuned = self._adapted(layers)
            self._fit(tuned, lessons, seed)
        self.adapter = self._files(tuned)
        self.model = tuned.merge_and_unload().eval()
        self.layers = self.model.encoder.layer = torch.nn.ModuleList([*self.model.encoder.layer, *self.layers[layers:]])
        with tempfile.TemporaryDirectory() as folder:
            self.write(Path(folder))
            self.card = replace(self.card, sha256=joined(self.card.sha256, Path(folder)))
        self.narrow(config.dtype)

    def write(self, folder: Path) -> None:
        """The adapter as a folder that `screen.encoder.adapter` can name."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.adapter.items():
            (folder / name).write_bytes(data)

    def _adapted(self, layers: int) -> Any:
        from peft import LoraConfig, get_peft_model

        self.model.encoder.layer = self.layers[:layers]
        lora = LoraConfig(
            r=RANK,
            lora_alpha=RANK,
            lora_dropout=0.0,
            target_modules=["dense", "key", "query", "value"],
            layers_to_transform=list(range(layers)),
            layers_pattern="layer",
            task_type="FEATURE_EXTRACTION",
        )
        return get_peft_model(self.model, lora)

    def _fit(self, tuned: Any, lessons: Sequence[Lesson], seed: int) -> None:
        head = torch.nn.Linear(self.model.config.hidden_size, 1).to(self.device)
        torch.nn.init.zeros_(head.weight)
        adapter = [parameter for parameter in tuned.parameters() if parameter.requires_grad]
        optimiser = torch.optim.AdamW([*adapter, *head.parameters()], lr=LEARNING_RATE, weight_decay=DECAY)
        rng, plan = random.Random(seed), []
        for lesson in lessons:
            ids = self.tokens(lesson.texts)
            plan += [(lesson, ids, chosen) for chosen in batches([len(row) for row in ids], lesson.page, rng)]
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, LEARNING_RATE, total_steps=len(plan) + 1, pct_start=WARM_UP
        )
        narrow = torch.autocast(self.device.type, torch.bfloat16, enabled=place("auto")[1] == torch.bfloat16)
        for lesson, ids, chosen in plan:
            ids_BT, mask_BT = self.padded([ids[index] for index in chosen])
            with narrow:
                states = tuned(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
            mean_BD = (states.float() * mask_BT[..., None]).sum(1) / mask_BT.sum(1, keepdim=True)
            good_B, weight_B, page_B = (
                torch.tensor(values[chosen], device=self.device) for values in (lesson.good, lesson.weight, lesson.page)
            )
            loss = loss_of(head(mean_BD)[:, 0], good_B.float(), weight_B.float(), page_B)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(adapter, LARGEST_GRADIENT)
            optimiser.step()
            schedule.step()

    def _files(self, tuned: Any) -> dict[str, bytes]:
        """The adapter in float16, to which the one at hand is rounded too; nothing of this machine in its config."""
        with torch.no_grad():
            for parameter in tuned.parameters():
                if parameter.requires_grad:
                    parameter.copy_(parameter.half().float())
        with tempfile.TemporaryDirectory() as made:
            tuned.save_pretrained(made)
            weights = {name: tensor.half() for name, tensor in load_file(Path(made) / WEIGHTS).items()}
            config = json.loads((Path(made) / CONFIG).read_text("utf-8"))
            config["base_model_name_or_path"] = self.card.name
            config["target_modules"] = sorted(config["target_modules"])
            return {
                WEIGHTS: save(weights, {"format": "pt"}),
                CONFIG: (json.dumps(config, indent=1, sort_keys=True) + "\n").encode(),
            }


def tune(config: EncoderConfig, depth: float, lessons: Sequence[Lesson], seed: int) -> TunedEncoder:
    """As `TunedEncoder`: what a trainer of heads calls."""
    return TunedEncoder(config, depth, lessons, seed)


def loss_of(score_B: torch.Tensor, good_B: torch.Tensor, weight_B: torch.Tensor, page_B: torch.Tensor) -> torch.Tensor:
    """Weighted cross-entropy of the scores, and how far bad texts come to the good one of their page."""
    loss = torch.nn.functional.binary_cross_entropy_with_logits(score_B, good_B, weight=weight_B)
    pair_BB = (page_B[:, None] == page_B) * good_B[:, None] * (1 - good_B)  # good, bad
    share_BB = pair_BB * weight_B  # of the bad one
    apart_BB = torch.nn.functional.softplus(score_B - score_B[:, None])
    return loss + RANKING * (share_BB * apart_BB).sum() / pair_BB.sum().clamp(min=1)


def batches(lengths: Sequence[int], page_N: np.ndarray, rng: random.Random) -> list[list[int]]:
    """Indices in batches of about equal lengths, in an order of their own each call; a page's texts stay together."""
    texts: dict[int, list[int]] = {}
    for index, page in enumerate(page_N.tolist()):
        texts.setdefault(page, []).append(index)
    order = sorted(texts.values(), key=lambda of: max(lengths[index] for index in of) + rng.random() * SPREAD)
    made: list[list[int]] = [[]]
    for of in order:
        if made[-1] and len(made[-1]) + len(of) > BATCH:
            made.append([])
        made[-1] += of
    rng.shuffle(made)
    return made

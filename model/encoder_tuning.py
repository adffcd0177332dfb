"""Fine-tunes an encoder to tell good texts from bad: LoRA (Hu et al. 2021), under a linear head on the mean state.

That head is thrown away: what is kept is an adapter of some megabytes, and a logistic head is fitted on the tuned
states.
"""

import json
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save

from configs.schema import Encoder as EncoderConfig
from model.adapter_folder import CONFIG, WEIGHTS
from model.bert import joined
from model.device import place, use_threads
from model.encoder import BertEncoder

RANK = 16
EPOCHS = 3
BATCH = 128
LEARNING_RATE = 1e-3
WARM_UP = 0.1
DECAY = 0.01
LARGEST_GRADIENT = 1.0
SPREAD = 20  # tokens: how unlike in length neighbours in a batch may be


class TunedEncoder(BertEncoder):
    """The configured encoder, tuned; `adapter` holds the files that make it out of the plain one.

    `depth`: the share of the layers that are tuned and read, from the first. `good` is 0 or 1 for each text, `weight`
    its share in the loss. The same texts, seed, threads and machine give the same encoder.
    """

    def __init__(
        self,
        config: EncoderConfig,
        depth: float,
        texts: Sequence[str],
        good: np.ndarray,
        weight: np.ndarray,
        seed: int,
    ) -> None:
        super().__init__(config.model_copy(update={"adapter": "none", "dtype": "float32"}), 0)
        use_threads(self.threads)
        layers = round(depth * len(self.layers))
        ids = self.tokens(texts)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            tuned = self._adapted(layers)
            self._fit(tuned, ids, good, weight, seed)
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

    def _fit(self, tuned: Any, ids: list[np.ndarray], good: np.ndarray, weight: np.ndarray, seed: int) -> None:
        head = torch.nn.Linear(self.model.config.hidden_size, 1).to(self.device)
        torch.nn.init.zeros_(head.weight)
        adapter = [parameter for parameter in tuned.parameters() if parameter.requires_grad]
        optimiser = torch.optim.AdamW([*adapter, *head.parameters()], lr=LEARNING_RATE, weight_decay=DECAY)
        plan = list(_batches([len(row) for row in ids], seed))
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, LEARNING_RATE, total_steps=len(plan) + 1, pct_start=WARM_UP
        )
        target, share = (torch.tensor(values, dtype=torch.float32, device=self.device) for values in (good, weight))
        narrow = torch.autocast(self.device.type, torch.bfloat16, enabled=place("auto")[1] == torch.bfloat16)
        for chosen in plan:
            ids_BT, mask_BT = self.padded([ids[index] for index in chosen])
            with narrow:
                states = tuned(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
            mean_BD = (states.float() * mask_BT[..., None]).sum(1) / mask_BT.sum(1, keepdim=True)
            at = torch.tensor(chosen, device=self.device)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                head(mean_BD)[:, 0], target[at], weight=share[at]
            )
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


def tune(
    config: EncoderConfig, depth: float, texts: Sequence[str], good: np.ndarray, weight: np.ndarray, seed: int
) -> TunedEncoder:
    """As `TunedEncoder`: what a trainer of heads calls."""
    return TunedEncoder(config, depth, texts, good, weight, seed)


def _batches(lengths: list[int], seed: int) -> Iterator[list[int]]:
    """Batches of about equal lengths, in an order of their own each epoch."""
    rng = random.Random(seed)
    for _ in range(EPOCHS):
        order = sorted(range(len(lengths)), key=lambda index: lengths[index] + rng.random() * SPREAD)
        batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        rng.shuffle(batches)
        yield from batches

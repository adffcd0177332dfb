"""Encoders without weights, or with few."""

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np

from filters.text.words import words
from model.weights.resolve import model_folder
from stages.ports import ModelCard


def save_small_bert(folder: Path) -> str:
    """Saves a BERT of six small layers with random weights and MiniLM's tokenizer. Returns the folder, as a model."""
    import torch
    from transformers import BertConfig, BertModel

    source = model_folder("all-minilm-l6-v2")
    config = BertConfig.from_pretrained(source)
    config.hidden_size, config.intermediate_size, config.num_attention_heads = 32, 64, 2
    torch.manual_seed(0)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    for path in source.iterdir():
        if path.name.startswith(("tokenizer", "vocab", "special_tokens")):
            shutil.copy(path, folder)
    return str(folder)


class BagOfPairs:
    """A replacement for BERT that needs no weights: it counts hashed pairs of neighbouring words."""

    card = ModelCard("pairs", "1" * 64, "echo", "", 0)

    def encode(self, texts, depths=(1.0,)):
        vectors = np.full((len(texts), 64), 1e-3, np.float32)
        for row, text in enumerate(texts):
            tokens = words(text)
            for left, right in pairwise(tokens):
                vectors[row, sum(map(ord, left[:3] + right[-2:])) % 64] += 1
        return np.tile(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), (1, len(depths)))

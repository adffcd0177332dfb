"""`VllmDsaForCausalLM`: the language model of `model.lm` of vLLM's layers. Shapes: see `model.attention`."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from vllm.model_executor.layers.activation import SiluAndMul  # pyright: ignore
from vllm.model_executor.layers.layernorm import RMSNorm  # pyright: ignore
from vllm.model_executor.layers.linear import MergedColumnParallelLinear, RowParallelLinear  # pyright: ignore
from vllm.model_executor.layers.logits_processor import LogitsProcessor  # pyright: ignore
from vllm.model_executor.layers.vocab_parallel_embedding import (  # pyright: ignore
    ParallelLMHead,
    VocabParallelEmbedding,
)
from vllm.model_executor.models.interfaces import SupportsLoRA  # pyright: ignore

from model.lm.config import DsaConfig
from model.serve.vllm_plugin.attention import FullAttention, SparseAttention
from model.serve.vllm_plugin.checkpoint import PACKED_MODULES, load
from model.serve.vllm_plugin.configuration import check


class Mlp(nn.Module):
    """SwiGLU (arXiv 2002.05202)."""

    def __init__(self, config: DsaConfig, name: str) -> None:
        super().__init__()
        C, inner = config.hidden_size, config.intermediate_size
        self.gate_up_proj = MergedColumnParallelLinear(C, [inner, inner], bias=False, prefix=f"{name}.gate_up_proj")
        self.down_proj = RowParallelLinear(inner, C, bias=False, prefix=f"{name}.down_proj")
        self.activation = SiluAndMul()

    def forward(self, x_TC: torch.Tensor) -> torch.Tensor:
        return self.down_proj(self.activation(self.gate_up_proj(x_TC)[0]))[0]


class Block(nn.Module):
    """Attention and MLP, each applied to the normalised residual stream and added to it."""

    def __init__(self, vllm_config: Any, name: str) -> None:
        super().__init__()
        config: DsaConfig = vllm_config.model_config.hf_config
        self.attention_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attention = (SparseAttention if config.attention == "sparse" else FullAttention)(
            vllm_config, f"{name}.attention"
        )
        self.mlp_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = Mlp(config, f"{name}.mlp")

    def forward(
        self, x_TC: torch.Tensor, stream_TC: Any, cos_TD: torch.Tensor, sin_TD: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns what is to be added to the residual stream, and the stream; `x_TC` is what was to be added before."""
        if stream_TC is None:
            stream_TC, x_TC = x_TC, self.attention_norm(x_TC)
        else:
            x_TC, stream_TC = self.attention_norm(x_TC, stream_TC)
        x_TC, stream_TC = self.mlp_norm(self.attention(x_TC, cos_TD, sin_TD), stream_TC)
        return self.mlp(x_TC), stream_TC


class VllmDsaForCausalLM(nn.Module, SupportsLoRA):
    """The language model as vLLM runs it. vLLM calls its methods."""

    packed_modules_mapping = PACKED_MODULES

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__()
        check(vllm_config)
        config = self.config = vllm_config.model_config.hf_config
        dot = f"{prefix}." if prefix else ""
        self.embed_tokens = VocabParallelEmbedding(config.vocab_size, config.hidden_size, prefix=f"{dot}embed_tokens")
        self.layers = nn.ModuleList(
            [Block(vllm_config, f"{dot}layers.{layer}") for layer in range(config.num_hidden_layers)]
        )
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.lm_head = ParallelLMHead(config.vocab_size, config.hidden_size, prefix=f"{dot}lm_head")
        if config.tie_word_embeddings:
            self.lm_head = self.lm_head.tie_weights(self.embed_tokens)
        self.logits_processor = LogitsProcessor(config.vocab_size)
        D = config.head_dim
        frequencies = config.rope_theta ** (-torch.arange(0, D, 2, dtype=torch.float32) / D)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def embed_input_ids(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.embed_tokens(input_ids)

    def forward(
        self,
        input_ids: torch.Tensor | None,
        positions: torch.Tensor,
        intermediate_tensors: Any = None,
        inputs_embeds: torch.Tensor | None = None,
        **unused: Any,
    ) -> torch.Tensor:
        """Returns the hidden states [T, C] of a step's tokens."""
        x_TC = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        angles_TD = positions[:, None].float() * self.frequencies
        cos_TD, sin_TD, stream_TC = angles_TD.cos(), angles_TD.sin(), None
        for layer in self.layers:
            x_TC, stream_TC = layer(x_TC, stream_TC, cos_TD, sin_TD)
        return self.norm(x_TC, stream_TC)[0]

    def compute_logits(self, hidden_states: torch.Tensor) -> torch.Tensor | None:
        """Returns the logits [T, vocabulary]."""
        return self.logits_processor(self.lm_head, hidden_states)

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        """Loads a checkpoint of `DsaForCausalLM`. Raises ValueError: it does not fit the configuration."""
        return load(self, self.config, weights)

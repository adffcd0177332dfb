"""A decoder language model with dynamic sparse attention: GQA, RoPE, RMSNorm, SwiGLU, tied embeddings.

AutoModelForCausalLM.from_pretrained(folder)      after `import model.lm`
TextGenerator.from_pretrained(folder).generate("…", max_length=200, temperature=0.7)
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from model.attention.gate import Gate
from model.lm.config import DsaConfig
from model.lm.kv_cache import DsaCache
from model.lm.layers import Block, Step

LOGITS = 4096  # tokens whose logits exist at a time in training


@dataclass
class DsaOutput(CausalLMOutputWithPast):
    """`loss` = `lm_loss` + `gate_loss`: mean cross-entropy in nats a token, mean KL divergence a layer (`distill`)."""

    lm_loss: torch.Tensor | None = None
    gate_loss: torch.Tensor | None = None


class DsaForCausalLM(PreTrainedModel, GenerationMixin):
    """The language model. Texts may be padded on either side: inside they stand right-padded, from position 0 on."""

    config_class = DsaConfig
    base_model_prefix = "model"
    _no_split_modules = ["Block"]  # noqa: RUF012
    _tied_weights_keys = {"lm_head.weight": "embed_tokens.weight"}  # noqa: RUF012
    supports_gradient_checkpointing = False

    def __init__(self, config: DsaConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([Block(config, layer) for layer in range(config.num_hidden_layers)])
        self.norm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Normal; what writes into the stream is smaller by √(2 layers) (GPT-2, §2.3)."""
        std = self.config.initializer_range
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=std)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, Gate):
            nn.init.normal_(module.summary, std=module.summary.shape[1] ** -0.5)
        elif isinstance(module, nn.RMSNorm):
            nn.init.ones_(module.weight)
        elif isinstance(module, Block):
            for last in (module.attention.o_proj, module.mlp.down_proj):
                nn.init.normal_(last.weight, std=std / (2 * self.config.num_hidden_layers) ** 0.5)

    def get_input_embeddings(self) -> nn.Module:
        return self.embed_tokens

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # it brings its own: DsaCache

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        past_key_values: DsaCache | None = None,
        labels: torch.Tensor | None = None,
        targets_BT: torch.Tensor | None = None,
        starts_BT: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        **_: Any,
    ) -> DsaOutput:
        """Logits [B, T, vocabulary] (of the last `logits_to_keep` positions; 0: all), and a loss if labels are given.

        `attention_mask` [B, T]: 0 for padding, on either side. `starts_BT`: where the document of each token of a
        packed batch begins. `labels` [B, T]: the tokens themselves, each predicted one place before; `targets_BT`: the
        token after each place, as the loader gives it, for which no logits are returned. -100 is left out of both.
        Positions are counted from each text's first token, so `position_ids` are not read.
        """
        B, T = input_ids.shape
        cache, taught = past_key_values, labels is not None or targets_BT is not None
        if cache is None and (self.config.use_cache if use_cache is None else use_cache) and not taught:
            cache = DsaCache(len(self.layers))
        begun = torch.zeros(B, dtype=torch.int32, device=input_ids.device)
        if cache is not None:
            cache.begin(B, input_ids.device)
            begun = cache.at
        fresh = cache is None or not any(cache.lengths)
        mask = None if attention_mask is None else attention_mask[:, -T:].bool()
        tokens, order = [T] * B, None
        if mask is not None and fresh and not bool(mask.all()):
            tokens = mask.sum(1).tolist()
            if min(tokens) < 1:
                raise ValueError("attention_mask: a text without a token; leave it out of the batch")
            order = torch.argsort((~mask).to(torch.int8), dim=1, stable=True)  # padding goes to the right
            input_ids = input_ids.gather(1, order)
        x = self.embed_tokens(input_ids)
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))  # the stream too: half the bytes of norms and sums
        at = torch.arange(T, device=x.device) + begun[:, None]
        turn = self.config.rope_theta ** (
            -torch.arange(0, self.config.head_dim, 2, device=x.device, dtype=torch.float32) / self.config.head_dim
        )
        angle = at[..., None].float() * turn
        first = input_ids.sum(1) if self.training and taught else None
        step = Step(angle.cos(), angle.sin(), starts_BT, cache, tokens, first)
        losses = []
        for layer in self.layers:
            x, loss = layer(x, step)
            if loss is not None:
                losses.append(loss)
        if cache is not None:
            cache.advance(tokens)
        if order is not None:
            x = torch.empty_like(x).scatter(1, order[..., None].expand_as(x), x)
        x = self.norm(x[:, -logits_to_keep:])
        logits = None if targets_BT is not None else self.lm_head(x)
        total = lm_loss = gate_loss = None
        if targets_BT is not None:
            lm_loss = self._cross_entropy(x.flatten(0, 1), targets_BT.flatten())
        elif labels is not None:
            assert logits is not None
            lm_loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=-100)
        if losses:
            gate_loss = torch.stack(losses).mean()
        if lm_loss is not None:
            total = lm_loss if gate_loss is None else lm_loss + gate_loss
        return DsaOutput(loss=total, logits=logits, past_key_values=cache, lm_loss=lm_loss, gate_loss=gate_loss)  # pyright: ignore

    def _cross_entropy(self, x_NC: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        """The mean over the targets that count; logits live a chunk at a time, in the backward pass as well."""

        def part(x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            return F.cross_entropy(self.lm_head(x).float(), targets, ignore_index=-100, reduction="sum")

        pieces = zip(x_NC.split(LOGITS), targets_N.split(LOGITS), strict=True)
        sums: list[Any] = [
            checkpoint(part, *piece, use_reentrant=False, preserve_rng_state=False)
            if torch.is_grad_enabled()
            else part(*piece)
            for piece in pieces
        ]
        return torch.stack(sums).sum() / (targets_N != -100).sum().clamp(min=1)


AutoConfig.register(DsaConfig.model_type, DsaConfig, exist_ok=True)
AutoModelForCausalLM.register(DsaConfig, DsaForCausalLM, exist_ok=True)

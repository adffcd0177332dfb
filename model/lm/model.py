"""A decoder language model with dynamic sparse attention (DSA): GQA, RoPE, RMSNorm, SwiGLU, tied embeddings.

After `import model.lm`, `AutoModelForCausalLM.from_pretrained(folder)` loads it too.
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
from model.lm.layers import Block, ForwardContext

MAX_LOGITS_TOKENS = 4096  # in training, logits are calculated for so many tokens at a time
IGNORED_LABEL = -100  # no loss is calculated for it


@dataclass
class DsaOutput(CausalLMOutputWithPast):
    """The output of a forward pass. `loss` is the sum of the two others."""

    lm_loss: torch.Tensor | None = None  # mean cross-entropy, nats a token
    gate_loss: torch.Tensor | None = None  # KL divergence of `distill`, mean over the layers


class DsaForCausalLM(PreTrainedModel, GenerationMixin):
    """The language model.

    Texts may be padded on either side. Inside the model padding is on the right, and each text begins at position 0.
    """

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
        """Normal; matrices that write into the residual stream are smaller by √(2 layers) (GPT-2, section 2.3)."""
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
            for output in (module.attention.o_proj, module.mlp.down_proj):
                nn.init.normal_(output.weight, std=std / (2 * self.config.num_hidden_layers) ** 0.5)

    def get_input_embeddings(self) -> nn.Module:
        return self.embed_tokens

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # `forward` creates a DsaCache

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
        """Returns logits [B, T, vocabulary], and a loss where labels or targets are given.

        Positions are counted from each text's first token, so `position_ids` are not read.

        Args:
            input_ids: token ids [B, T].
            attention_mask: [B, T], 0 for padding, on either side.
            past_key_values: the KV cache of the tokens before; the new ones are added to it.
            labels: [B, T], the tokens themselves: each is predicted from the place before it. -100 is not counted.
            targets_BT: instead of `labels`, the token after each place, as the loader returns it. No logits are
                returned, which saves the memory of a large vocabulary.
            starts_BT: the position at which each token's document begins, in a packed batch.
            use_cache: whether to create a KV cache where none is given; None: as the configuration says.
            logits_to_keep: return the logits of the last so many places; 0: of all.

        Raises:
            ValueError: a text consists of padding alone.
        """
        B, T = input_ids.shape
        cache, has_labels = past_key_values, labels is not None or targets_BT is not None
        if cache is None and (self.config.use_cache if use_cache is None else use_cache) and not has_labels:
            cache = DsaCache(len(self.layers))
        cached_B = torch.zeros(B, dtype=torch.int32, device=input_ids.device)
        if cache is not None:
            cache.start(B, input_ids.device)
            cached_B = cache.positions_B
        is_first_pass = cache is None or not any(cache.lengths)
        lengths, order_BT = [T] * B, None
        mask_BT = None if attention_mask is None else attention_mask[:, -T:].bool()
        if mask_BT is not None and is_first_pass and not bool(mask_BT.all()):
            lengths = mask_BT.sum(1).tolist()
            if min(lengths) < 1:
                raise ValueError("attention_mask: a text without a token; leave it out of the batch")
            order_BT = torch.argsort((~mask_BT).to(torch.int8), dim=1, stable=True)  # moves padding to the right
            input_ids = input_ids.gather(1, order_BT)
        x_BTC = self.embed_tokens(input_ids)
        if torch.is_autocast_enabled(x_BTC.device.type):
            # The residual stream too, which halves the memory traffic of norms and sums.
            x_BTC = x_BTC.to(torch.get_autocast_dtype(x_BTC.device.type))
        angles_BTD = self._rope_angles(torch.arange(T, device=x_BTC.device) + cached_B[:, None])
        context = ForwardContext(
            cos_BTD=angles_BTD.cos(),
            sin_BTD=angles_BTD.sin(),
            starts_BT=starts_BT,
            cache=cache,
            lengths=lengths,
            # A number that depends on the text alone: a resumed training samples the same queries.
            sample_offset_B=input_ids.sum(1) if self.training and has_labels else None,
        )
        gate_losses = []
        for layer in self.layers:
            x_BTC, layer_loss = layer(x_BTC, context)
            if layer_loss is not None:
                gate_losses.append(layer_loss)
        if cache is not None:
            cache.advance(lengths)
        if order_BT is not None:
            x_BTC = torch.empty_like(x_BTC).scatter(1, order_BT[..., None].expand_as(x_BTC), x_BTC)
        x_BTC = self.norm(x_BTC[:, -logits_to_keep:])
        logits_BTV = None if targets_BT is not None else self.lm_head(x_BTC)
        loss = lm_loss = gate_loss = None
        if targets_BT is not None:
            lm_loss = self._cross_entropy(x_BTC.flatten(0, 1), targets_BT.flatten())
        elif labels is not None:
            assert logits_BTV is not None
            logits_NV, labels_N = logits_BTV[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten()
            lm_loss = F.cross_entropy(logits_NV, labels_N, ignore_index=IGNORED_LABEL)
        if gate_losses:
            gate_loss = torch.stack(gate_losses).mean()
        if lm_loss is not None:
            loss = lm_loss if gate_loss is None else lm_loss + gate_loss
        return DsaOutput(loss=loss, logits=logits_BTV, past_key_values=cache, lm_loss=lm_loss, gate_loss=gate_loss)  # pyright: ignore

    def _rope_angles(self, positions_BT: torch.Tensor) -> torch.Tensor:
        """Returns RoPE's angles [B, T, D / 2] (arXiv 2104.09864, section 3.2.2)."""
        D, device = self.config.head_dim, positions_BT.device
        frequencies = self.config.rope_theta ** (-torch.arange(0, D, 2, device=device, dtype=torch.float32) / D)
        return positions_BT[..., None].float() * frequencies

    def _cross_entropy(self, x_NC: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        """Returns the mean loss over the targets that count.

        The logits of MAX_LOGITS_TOKENS tokens exist at a time; the backward pass calculates them again.
        """

        def sum_of_part(x_NC: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
            logits_NV = self.lm_head(x_NC).float()
            return F.cross_entropy(logits_NV, targets_N, ignore_index=IGNORED_LABEL, reduction="sum")

        parts = zip(x_NC.split(MAX_LOGITS_TOKENS), targets_N.split(MAX_LOGITS_TOKENS), strict=True)
        sums: list[Any] = [
            checkpoint(sum_of_part, *part, use_reentrant=False, preserve_rng_state=False)
            if torch.is_grad_enabled()
            else sum_of_part(*part)
            for part in parts
        ]
        return torch.stack(sums).sum() / (targets_N != IGNORED_LABEL).sum().clamp(min=1)


AutoConfig.register(DsaConfig.model_type, DsaConfig, exist_ok=True)
AutoModelForCausalLM.register(DsaConfig, DsaForCausalLM, exist_ok=True)

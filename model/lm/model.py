"""A decoder language model with dynamic sparse attention (DSA): GQA, RoPE, RMSNorm, SwiGLU, tied embeddings.

After `import model.lm`, `AutoModelForCausalLM.from_pretrained(folder)` loads it too; without that import, it does with
`trust_remote_code=True`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from model.attention.gate import Gate
from model.lm.config import DsaConfig
from model.lm.kv_cache import DsaCache, check_cache
from model.lm.layers import Block, ForwardContext
from model.lm.padding import Padding
from model.lm.remote_code import write_module

MAX_LOGITS_TOKENS = 4096  # in training, logits are calculated for so many tokens at a time
IGNORED_LABEL = -100  # no loss is calculated for it
ASSISTED_OPTIONS = ("assistant_model", "prompt_lookup_num_tokens", "assistant_early_exit")  # of `generate`


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
    accepts_loss_kwargs = True  # `num_items_in_batch`, which the Trainer of transformers asks for
    _is_stateful = True  # transformers: the cache cannot be cut back to fewer tokens

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

    @classmethod
    def is_backend_compatible(cls) -> bool:
        """vLLM asks before it puts its dense attention into a model that it does not know. Raises ValueError."""
        raise ValueError(
            "vLLM runs a DSA model by the plugin gristmill_dsa, which it did not load: install the package gristmill "
            "beside vLLM, and name gristmill_dsa in VLLM_PLUGINS if that is set. Other engines cannot run the model"
        )

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """Saves as transformers does, with the file that lets other processes load the model (`remote_code`)."""
        super().save_pretrained(save_directory, *args, **kwargs)
        if Path(save_directory).is_dir():
            write_module(save_directory)

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """Generates as transformers does.

        Raises:
            ValueError: assisted or prompt-lookup decoding, or a KV cache of another kind.
        """
        given = [*args[1:2], kwargs.get("generation_config"), self.generation_config]
        for name in ASSISTED_OPTIONS:
            if kwargs.get(name) is not None or any(getattr(config, name, None) is not None for config in given):
                raise ValueError(
                    f"{name}: assisted and prompt-lookup decoding take tokens back, which the KV cache of this model "
                    f"cannot do; leave {name} out"
                )
        if kwargs.get("past_key_values") is not None:
            check_cache(kwargs["past_key_values"])
        generate: Any = super().generate  # pyright: ignore
        return generate(*args, **kwargs)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: DsaCache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        targets_BT: torch.Tensor | None = None,
        starts_BT: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        num_items_in_batch: torch.Tensor | int | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        cache_position: torch.Tensor | None = None,
    ) -> DsaOutput | tuple[Any, ...]:
        """Returns logits [B, T, vocabulary], and a loss where labels or targets are given.

        Args:
            input_ids: token ids [B, T].
            attention_mask: [B, T], 0 for padding, on either side.
            position_ids: [B, T]. Positions are counted from each text's first token; ids that begin again at 0 within a
                text are the documents of a packed batch, as `starts_BT` are.
            past_key_values: the KV cache of the tokens before; the new ones are added to it.
            inputs_embeds: instead of `input_ids`, what `embed_tokens` returns, [B, T, hidden_size].
            labels: [B, T], the tokens themselves: each is predicted from the place before it. -100 is not counted.
            targets_BT: instead of `labels`, the token after each place, as the loader returns it. No logits are
                returned, which saves the memory of a large vocabulary.
            starts_BT: the position at which each token's document begins, in a packed batch.
            use_cache: whether to create a KV cache where none is given; None: as the configuration says.
            logits_to_keep: return the logits of the last so many places; 0: of all.
            num_items_in_batch: predicted tokens of all passes whose gradients are added up before a step; `loss` is
                then this pass's share of their mean. None: the mean over this pass.
            output_hidden_states: whether to return the residual stream [B, T, hidden_size] before the first layer,
                after each, and last after the norm.
            output_attentions: not possible: no implementation has all attention weights at any time.
            return_dict: False: return a tuple.
            cache_position: not read; the cache knows its length.

        Raises:
            ValueError: a text consists of padding alone, or an argument is not possible for this model.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("input_ids: give either these or inputs_embeds")
        if output_attentions:
            raise ValueError("output_attentions: the attention weights are not kept; leave it out")
        x_BTC: Any = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        B, T = x_BTC.shape[:2]
        cache, has_labels = past_key_values, labels is not None or targets_BT is not None
        if cache is not None:
            check_cache(cache)
        elif starts_BT is None and position_ids is not None and attention_mask is None:
            starts_BT = _packed_starts(position_ids, T)
            if starts_BT is not None and use_cache:
                raise ValueError("position_ids: a packed batch cannot be cached; give use_cache=False")
            use_cache = use_cache if starts_BT is None else False
        if cache is None and (self.config.use_cache if use_cache is None else use_cache) and not has_labels:
            cache = DsaCache(len(self.layers))
        cached_B = torch.zeros(B, dtype=torch.int32, device=x_BTC.device)
        if cache is not None:
            cache.start(B, x_BTC.device)
            cached_B = cache.positions_B
        padding = Padding.none(B, T)
        if attention_mask is not None and (cache is None or not any(cache.lengths)):
            padding = Padding.from_mask(attention_mask[:, -T:].bool())
        if torch.is_autocast_enabled(x_BTC.device.type):
            # The residual stream too, which halves the memory traffic of norms and sums.
            x_BTC = x_BTC.to(torch.get_autocast_dtype(x_BTC.device.type))
        angles_BTD = self.rope_angles(torch.arange(T, device=x_BTC.device) + cached_B[:, None])
        context = ForwardContext(
            cos_BTD=angles_BTD.cos(),
            sin_BTD=angles_BTD.sin(),
            starts_BT=starts_BT,
            cache=cache,
            lengths=padding.lengths,
            # A number that depends on the text alone: a resumed training samples the same queries.
            sample_offset_B=_text_number(input_ids, inputs_embeds) if self.training and has_labels else None,
        )
        x_BTC = padding.moved_right(x_BTC)
        streams: list[torch.Tensor] = []
        gate_losses: list[torch.Tensor] = []
        for layer in self.layers:
            if output_hidden_states:
                streams.append(padding.moved_back(x_BTC))
            x_BTC, layer_loss = layer(x_BTC, context)
            if layer_loss is not None:
                gate_losses.append(layer_loss)
        if cache is not None:
            cache.advance(padding.lengths)
        x_BTC = padding.moved_back(x_BTC)
        hidden_states = (*streams, self.norm(x_BTC)) if output_hidden_states else None
        x_BTC = self.norm(x_BTC[:, -logits_to_keep:])
        logits_BTV = None if targets_BT is not None else self.lm_head(x_BTC)
        output = DsaOutput(
            logits=logits_BTV,  # pyright: ignore
            past_key_values=cache,
            hidden_states=hidden_states,  # pyright: ignore
            lm_loss=self._lm_loss(x_BTC, logits_BTV, labels, targets_BT),
            gate_loss=torch.stack(gate_losses).mean() if gate_losses else None,
        )
        if output.lm_loss is not None:
            loss = output.lm_loss if output.gate_loss is None else output.lm_loss + output.gate_loss
            if num_items_in_batch is not None:
                predicted = labels[:, 1:] if targets_BT is None else targets_BT  # pyright: ignore
                loss = loss * (predicted != IGNORED_LABEL).sum() / num_items_in_batch
            output.loss = loss  # pyright: ignore
        is_dict = self.config.return_dict if return_dict is None else return_dict
        return output if is_dict else output.to_tuple()

    def rope_angles(self, positions_BT: torch.Tensor) -> torch.Tensor:
        """Returns RoPE's angles [B, T, D / 2] (arXiv 2104.09864, section 3.2.2)."""
        D, device = self.config.head_dim, positions_BT.device
        frequencies = self.config.rope_theta ** (-torch.arange(0, D, 2, device=device, dtype=torch.float32) / D)
        return positions_BT[..., None].float() * frequencies

    def _lm_loss(
        self,
        x_BTC: torch.Tensor,
        logits_BTV: torch.Tensor | None,
        labels: torch.Tensor | None,
        targets_BT: torch.Tensor | None,
    ) -> torch.Tensor | None:
        """Returns the mean cross-entropy, of `targets_BT` where they are given; None without labels and targets."""
        if targets_BT is not None:
            return self._cross_entropy(x_BTC.flatten(0, 1), targets_BT.flatten())
        if labels is None or logits_BTV is None:
            return None
        logits_NV = logits_BTV[:, :-1].flatten(0, 1).float()
        return F.cross_entropy(logits_NV, labels[:, 1:].flatten(), ignore_index=IGNORED_LABEL)

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


def _packed_starts(position_ids: torch.Tensor, T: int) -> torch.Tensor | None:
    """Returns where each token's document begins, [B, T]; None where the positions are those of one document.

    Raises:
        ValueError: the positions are neither.
    """
    starts_BT = (torch.arange(T, device=position_ids.device) - position_ids).to(torch.int32)
    if not bool(starts_BT.any()):
        return None
    is_start = position_ids == 0
    is_next = position_ids[:, 1:] == position_ids[:, :-1] + 1
    if not bool(is_start[:, 0].all() and (is_start[:, 1:] | is_next).all()):
        raise ValueError("position_ids: they must count from 0, and again from 0 at each document of a packed batch")
    return starts_BT


def _text_number(input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor | None) -> torch.Tensor:
    """Returns an integer for each text, [B]."""
    if input_ids is not None:
        return input_ids.sum(1)
    assert inputs_embeds is not None
    return inputs_embeds.detach().abs().sum((1, 2)).long()


AutoConfig.register(DsaConfig.model_type, DsaConfig, exist_ok=True)
AutoModelForCausalLM.register(DsaConfig, DsaForCausalLM, exist_ok=True)

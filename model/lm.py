"""A decoder language model with dynamic sparse attention: GQA, RoPE, RMSNorm, SwiGLU, tied embeddings.

AutoModelForCausalLM.from_pretrained(folder)      after `import model.lm`
Model.from_pretrained(folder).generate("…", max_length=200, temperature=0.7)
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from model.attention import decode
from model.attention.attend import attend, choose
from model.attention.gate import Gate, distill
from model.attention.pages import Pages
from model.attention.sparsity import Sparsity
from model.cache import DsaCache, DsaLayer

LOGITS = 4096  # tokens whose logits exist at a time in training


class DsaConfig(PreTrainedConfig):
    """Sizes of the model and the geometry of its attention; `attention: dense` is the twin that attends all.

    `block`, `top`, `fanout`, `roots`, `beam`: see `Sparsity`. `gate_dim`: numbers of a block's summary.
    """

    model_type = "gristmill-dsa"
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012 - the library's own form

    def __init__(
        self,
        vocab_size: int = 32_000,
        hidden_size: int = 1024,
        intermediate_size: int = 2816,
        num_hidden_layers: int = 22,
        num_attention_heads: int = 16,
        num_key_value_heads: int = 4,
        rope_theta: float = 500_000.0,
        rms_norm_eps: float = 1e-5,
        max_position_embeddings: int = 131_072,
        initializer_range: float = 0.02,
        attention: str = "sparse",
        block: int = 64,
        top: int = 16,
        fanout: int = 8,
        roots: int = 512,
        beam: int = 16,
        gate_dim: int = 64,
        tie_word_embeddings: bool = True,
        use_cache: bool = True,
        **kwargs: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_key_value_heads = num_key_value_heads
        self.rope_theta = rope_theta
        self.rms_norm_eps = rms_norm_eps
        self.max_position_embeddings = max_position_embeddings
        self.initializer_range = initializer_range
        self.attention = attention
        self.block, self.top, self.fanout, self.roots, self.beam = block, top, fanout, roots, beam
        self.gate_dim = gate_dim
        self.tie_word_embeddings, self.use_cache = tie_word_embeddings, use_cache
        if attention not in ("sparse", "dense"):
            raise ValueError(f"attention: {attention!r}; sparse or dense")
        if hidden_size % num_attention_heads or num_attention_heads % num_key_value_heads:
            raise ValueError("hidden_size must be a multiple of num_attention_heads, that of num_key_value_heads")
        if hidden_size // num_attention_heads % 2:
            raise ValueError("hidden_size / num_attention_heads: RoPE turns pairs, so it must be even")
        _ = self.sparsity
        super().__init__(**kwargs)

    @property
    def sparsity(self) -> Sparsity:
        """The geometry, checked: raises ValueError naming the field."""
        return Sparsity(self.block, self.top, self.fanout, self.roots, self.beam)

    @property
    def head_dim(self) -> int:
        """Numbers of a query or key head."""
        return self.hidden_size // self.num_attention_heads

    def flops_per_token(self, length: int) -> float:
        """Of a training step (forward and backward) a token at this text length: 6 a weight, 12 a key, dim and layer.

        Only what is attended counts: at most `top` blocks where attention is sparse (PaLM, arXiv 2204.02311, App. B).
        """
        C, L, D = self.hidden_size, self.num_hidden_layers, self.head_dim
        heads, groups = self.num_attention_heads, self.num_key_value_heads
        weights = L * (2 * C * heads * D + 2 * C * groups * D + 3 * C * self.intermediate_size) + C * self.vocab_size
        keys = length / 2
        if self.attention == "sparse":
            keys = min(keys, self.top * self.block)
            weights += L * C * groups * self.gate_dim
        return 6.0 * weights + 12.0 * L * heads * D * keys


@dataclass(frozen=True, slots=True)
class Step:
    """What every layer needs of a forward pass: angles, document starts, cache, and where gate queries are sampled."""

    cos_BTD: torch.Tensor
    sin_BTD: torch.Tensor
    starts_BT: torch.Tensor | None
    cache: DsaCache | None
    tokens: list[int]  # real ones of each text
    first_B: torch.Tensor | None

    def turn(self, x_BTHD: torch.Tensor) -> torch.Tensor:
        """RoPE."""
        return decode.turn(x_BTHD, self.cos_BTD[:, :, None], self.sin_BTD[:, :, None])


class Attention(nn.Module):
    """Grouped-query attention over the blocks that the gate chooses; a sigmoid of the token scales each head.

    The head gate is that of gated attention (arXiv 2505.06708, §2): per token, so nothing later leaks in.
    """

    def __init__(self, config: DsaConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.sparsity, self.sparse = layer, config.sparsity, config.attention == "sparse"
        H, K, D, C = config.num_attention_heads, config.num_key_value_heads, config.head_dim, config.hidden_size
        self.heads, self.groups, self.head_dim = H, K, D
        self.q_proj = nn.Linear(C, H * D, bias=False)
        self.k_proj = nn.Linear(C, K * D, bias=False)
        self.v_proj = nn.Linear(C, K * D, bias=False)
        self.o_proj = nn.Linear(H * D, C, bias=False)
        self.head_gate = nn.Linear(C, H)
        self.gate = Gate(C, K, D, config.gate_dim) if self.sparse else None

    def forward(self, x_BTC: torch.Tensor, step: Step) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Output [B, T, C], and the gate's loss where it is taught."""
        B, T = x_BTC.shape[:2]
        q = self.q_proj(x_BTC).view(B, T, self.heads, self.head_dim)
        plain = self.k_proj(x_BTC).view(B, T, self.groups, self.head_dim)
        v = self.v_proj(x_BTC).view(B, T, self.groups, self.head_dim)
        loss = None
        if step.cache is not None:
            out = self._cached(x_BTC, q, plain, v, step, step.cache)
        else:
            out, loss = self._whole(x_BTC, step.turn(q), step.turn(plain), v, plain, step)
        out = out * torch.sigmoid(self.head_gate(x_BTC))[..., None]
        return self.o_proj(out.flatten(2)), loss

    def _whole(
        self, x: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plain: torch.Tensor, step: Step
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        T, sparsity, selected, loss = x.shape[1], self.sparsity, None, None
        taught = step.first_B is not None and 5 * sparsity.block <= T  # below, no token has two blocks to choose from
        if self.gate is not None and (taught or sparsity.dense_below < T):
            gate, leaves = self.gate.queries(x), self.gate.leaves(plain, sparsity.block)
            if taught:
                assert step.first_B is not None
                loss = distill(q, k, gate, leaves, sparsity, step.first_B, step.starts_BT)
            if sparsity.dense_below < T:
                selected = choose(gate, leaves, sparsity, starts_BT=step.starts_BT)
        return attend(q, k, v, selected, sparsity, starts_BT=step.starts_BT), loss

    def _cached(
        self, x: torch.Tensor, q: torch.Tensor, plain: torch.Tensor, v: torch.Tensor, step: Step, cache: DsaCache
    ) -> torch.Tensor:
        T, sparsity, gate, lengths = x.shape[1], self.sparsity, self.gate, cache.lengths
        layer: Any = cache.layers[self.layer]
        assert isinstance(layer, DsaLayer)
        if not layer.is_initialized:
            layer.hold(Pages.empty(plain, gate, sparsity))
        pages: Pages = layer.pages
        end = max(lengths) + T
        sparse = gate is not None and end > sparsity.dense_below
        if T == 1:
            pages.reserve(end)
            asked = gate.queries(x)[:, 0] if gate is not None and sparse else None
            angles = step.cos_BTD[:, 0], step.sin_BTD[:, 0]
            return decode.step(q[:, 0], plain[:, 0], v[:, 0], *angles, cache.at, pages, gate, asked)[:, None]
        first = lengths[0]
        if any(length != first for length in lengths):
            raise ValueError("texts of different lengths take one token at a time: give each its own cache")
        pages.settle(pages.extend(step.turn(plain), v, plain, gate, first), step.tokens, first)
        selected = None
        if gate is not None and sparse:
            selected = choose(gate.queries(x), pages.levels[0][:, : end // sparsity.block], sparsity, offset=first)
        return attend(step.turn(q), pages.keys[:, :end], pages.values[:, :end], selected, sparsity, offset=first)


class Mlp(nn.Module):
    """SwiGLU (arXiv 2002.05202)."""

    def __init__(self, config: DsaConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """Attention and MLP, each behind a norm and added to the stream."""

    def __init__(self, config: DsaConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attention = Attention(config, layer)
        self.mlp_norm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = Mlp(config)

    def forward(self, x: torch.Tensor, step: Step) -> tuple[torch.Tensor, torch.Tensor | None]:
        out, loss = self.attention(self.attention_norm(x), step)
        x = x + out
        return x + self.mlp(self.mlp_norm(x)), loss


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

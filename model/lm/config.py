"""`DsaConfig`: the configuration of a DSA language model, in the form that transformers saves and loads."""

from typing import Any

from transformers import PreTrainedConfig

from model.attention.sparsity import Sparsity
from model.lm.remote_code import AUTO_MAP


class DsaConfig(PreTrainedConfig):
    """Sizes of the model and geometry of its attention. The names without a note are those of Llama's configuration.

    Args:
        attention: `sparse`, or `dense`: the same model without a gate, in which each token attends all before it.
        block, top, fanout, roots, beam: the geometry of sparse attention; see `Sparsity`.
        gate_dim: size of a gate query and of a block's summary.

    Raises:
        ValueError: the sizes do not fit together; the message names the field.
    """

    model_type = "gristmill-dsa"
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012 - as transformers declares it

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
            raise ValueError(f"attention: {attention!r} is unknown; give sparse or dense")
        if hidden_size % num_attention_heads or num_attention_heads % num_key_value_heads:
            raise ValueError(
                f"hidden_size: {hidden_size} must be a multiple of num_attention_heads ({num_attention_heads}), "
                f"and that a multiple of num_key_value_heads ({num_key_value_heads})"
            )
        if hidden_size // num_attention_heads % 2:
            raise ValueError(
                "hidden_size / num_attention_heads: must be even, because RoPE rotates pairs; change one of the two"
            )
        self.auto_map = dict(AUTO_MAP)
        _ = self.sparsity  # raises ValueError naming the field
        super().__init__(**kwargs)

    @property
    def sparsity(self) -> Sparsity:
        """The geometry of the attention."""
        return Sparsity(self.block, self.top, self.fanout, self.roots, self.beam)

    @property
    def head_dim(self) -> int:
        """Size of a query, key or value head."""
        return self.hidden_size // self.num_attention_heads

    def flops_per_token(self, length: int) -> float:
        """Returns the floating-point operations of a training step, forward and backward, for each token.

        6 for each weight, and 12 for each attended key, head dimension and head of a layer (PaLM, arXiv 2204.02311,
        appendix B). Sparse attention attends at most `top` blocks; the gate's weights count, its search does not.

        Args:
            length: tokens of a text; a token attends half of them on average.
        """
        C, L, D = self.hidden_size, self.num_hidden_layers, self.head_dim
        H, K = self.num_attention_heads, self.num_key_value_heads
        weights = L * (2 * C * H * D + 2 * C * K * D + 3 * C * self.intermediate_size) + C * self.vocab_size
        attended_keys = length / 2
        if self.attention == "sparse":
            attended_keys = min(attended_keys, self.top * self.block)
            weights += L * C * K * self.gate_dim
        return 6.0 * weights + 12.0 * L * H * D * attended_keys

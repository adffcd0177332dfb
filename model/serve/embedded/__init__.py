"""The embedded engine: continuous batching in this process, for the DSA model and for Hugging Face causal models.

Read `engine` (the thread) and `generation` (what it does in a step), `scheduler` (who is read and decoded next),
`slot_model` (a model over slots; `loading` creates one) with its two kinds `dsa_slots` and `hf_slots`, `prompt_pass`
and `decode_pass` (how the former reads prompts and generates, both on a `joined_network` with `triton_gates`), their
CUDA graphs `prompt_graphs` and `decode_graphs`, then `sampling` and `lora` (a different adapter for each row).

Tensors are named by their shapes as in `model/attention`, but for M, which is the tokens of all texts of a pass, and K
in `sampling`, which is the candidates of a token.
"""

from model.serve.embedded.engine import EmbeddedEngine, EmbeddedOptions

__all__ = ["EmbeddedEngine", "EmbeddedOptions"]

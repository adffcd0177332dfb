"""The language model with dynamic sparse attention (DSA). Importing this package registers it with transformers.

Read `config`, `model` (a forward pass), `layers`, `kv_cache`, then `language_model` (`Model`: text in, text out).
`padding` moves padding to one side; `remote_code` lets a saved model be loaded where this package was not imported.
"""

from model.lm.config import DsaConfig
from model.lm.model import DsaForCausalLM

__all__ = ["DsaConfig", "DsaForCausalLM"]

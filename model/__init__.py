"""Models: those that turn prompts into text, the encoder of the filters, and the project's own language model.

from model import Model  # a language model, text in and text out: see `model.lm.language_model`

The data engine uses `backends` (generators) and `encoder`. The language model lives in `lm` and `attention`, is trained
and measured in `data`, `training` and `evaluation`, and answers requests in `serve`. All of them use `weights`,
`device`, `special_tokens` (special tokens in texts are plain text) and `silence` (no progress bars of libraries).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.lm.language_model import Model

__all__ = ["Model"]


def __getattr__(name: str) -> Any:
    """Imports `Model` when it is first used: it loads torch, which most of this package does without."""
    if name != "Model":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from model.lm.language_model import Model

    return Model

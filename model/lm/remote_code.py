"""The file that lets transformers load a saved model in a process that has not imported `model.lm`.

`AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)` runs it. It only imports this package, which must
be installed.
"""

from pathlib import Path

MODULE = "gristmill_dsa"
AUTO_MAP = {"AutoConfig": f"{MODULE}.DsaConfig", "AutoModelForCausalLM": f"{MODULE}.DsaForCausalLM"}
SOURCE = '''"""Loads the architecture of this model from the installed package gristmill."""

try:
    from model.lm import DsaConfig, DsaForCausalLM
except ImportError as error:
    raise ImportError("this model needs the package gristmill; install it, then load the model again") from error

__all__ = ["DsaConfig", "DsaForCausalLM"]
'''


def write_module(folder: str | Path) -> None:
    """Writes the file beside a saved model. Raises OSError."""
    Path(folder, f"{MODULE}.py").write_text(SOURCE, "utf-8")

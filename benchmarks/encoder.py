"""Documents of 256 tokens a second through the encoder that the filters share, tokenising included.

    python benchmarks/encoder.py [DOCUMENTS] [--commit HASH]

multilingual-e5-small as it is packaged, and the shapes of MiniLM-L6 and BERT-base with random weights and e5's
tokenizer, through the same code as a run.
The baseline is transformers in the same process: batches of 32 in arrival order, padded to the longest, in float32.
Each is timed on texts that none has seen, after a warm-up on others. Adds rows to benchmarks/results/throughput.json.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.figures import ROOT, Figures, processor
from benchmarks.screening import plain
from configs.schema import Encoder
from model.encoder.encoder import BertEncoder

TOKENS = 256
REAL = "multilingual-e5-small"
SHAPES: dict[str, dict[str, Any]] = {
    "MiniLM-L6's shape": {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536},
    "BERT-base's shape": {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072},
}
AIMS = {"MiniLM-L6's shape": 10_000.0, "BERT-base's shape": 500.0}


def documents(encoder: BertEncoder, count: int) -> list[str]:
    """Of about 256 tokens each and all different: the repository's own pages behind a number."""
    pages = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
    words = " ".join(path.read_text("utf-8") for path in pages).split()
    head = encoder.tokenizer(" ".join(words[:4000]), add_special_tokens=False)["input_ids"]
    width = int(4000 / len(head) * TOKENS)
    return [f"{n} " + " ".join(words[(n * 37) % (len(words) - width) :][:width]) for n in range(count)]


def random_weights(folder: Path, shape: dict[str, Any], tokenizer: Any) -> str:
    """A folder with a model of the shape and another's tokenizer."""
    from transformers import BertConfig, BertModel

    BertModel(BertConfig(vocab_size=len(tokenizer), **shape), add_pooling_layer=False).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def rate(work: Callable[[list[str]], Any], texts: list[str]) -> float:
    """Documents a second on the second half, the first being the warm-up."""
    half = len(texts) // 2
    work(texts[:half])
    began = time.perf_counter()
    work(texts[half:])
    return (len(texts) - half) / (time.perf_counter() - began)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", nargs="?", type=int, default=65_536)
    parser.add_argument("--batch-tokens", type=int, help="of a batch; the encoder's own where left out")
    parser.add_argument("--commit", default="", help="where there is no git")
    options = parser.parse_args()
    figures = Figures("throughput", "python " + " ".join(sys.argv), processor(), options.commit)
    with tempfile.TemporaryDirectory() as scratch:
        real = Encoder(model=REAL, max_length=TOKENS, batch_tokens=options.batch_tokens, adapter="none")
        first = BertEncoder(real, 0)
        if first.device.type == "cuda":
            import torch

            figures.machine += f"; {torch.cuda.get_device_name()}, torch {torch.__version__}"
        texts = documents(first, options.documents)
        for name in (*SHAPES, REAL):
            model = REAL if name == REAL else random_weights(Path(scratch, name), SHAPES[name], first.tokenizer)
            config = real.model_copy(update={"model": model})
            encoder = BertEncoder(config, 0)
            ours = rate(encoder.encode, texts)
            tokenised = rate(encoder.tokens, texts)
            baseline = plain(encoder.card.path, encoder.prefix, encoder.max_tokens, encoder.device.type)
            theirs = rate(baseline, texts[: len(texts) // 8])
            aim = AIMS.get(name) if encoder.device.type == "cuda" else None
            where = f"{name}, {TOKENS} tokens on {encoder.device.type}, {encoder.tokens_per_batch} tokens a batch"
            figures.put(f"{where}: documents/s", ours, aim)
            figures.put(f"{where}: times transformers in float32", ours / theirs)
            figures.put(f"{where}: documents/s tokenised, no more", tokenised)
    return 0


if __name__ == "__main__":
    sys.exit(main())

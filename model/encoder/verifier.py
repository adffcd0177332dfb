"""`open_verifier`: a cross-encoder, or a language model that is asked."""

from model.encoder.asked_model import AskedModel, is_causal
from model.encoder.cross_encoder import CrossEncoder, identify_cross_encoder
from stages.ports import Verifier


def open_verifier(model: str, adapter: str, threads: int) -> Verifier:
    """Loads a verifier of answers.

    Args:
        model: a packaged model, a local folder or a hub name. One that writes text is asked; others are cross-encoders.
        adapter: the folder of a cross-encoder's LoRA adapter; "" for none.
        threads: CPU threads; 0 or less means all cores.

    Raises ConfigError, InputError or BackendError naming `model`.
    """
    if not adapter and is_causal(identify_cross_encoder(model)):
        return AskedModel(model, threads)
    return CrossEncoder(model, adapter, threads)

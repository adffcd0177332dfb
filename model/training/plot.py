"""The curves of a training run as a picture."""

import json
from pathlib import Path


def draw(metrics: Path, picture: Path, unigram: float) -> None:
    """Training and held-out loss over steps, the unigram baseline, and the gate's loss where it was taught."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = [json.loads(line) for line in metrics.read_text("utf-8").splitlines()]
    trained = [line for line in lines if "loss" in line]
    held = [line for line in lines if "held_out" in line]
    gate = [line for line in trained if line["gate_loss"]]
    figure, axes = pyplot.subplots(1, 2 if gate else 1, figsize=(11 if gate else 6.5, 4), squeeze=False)
    left = axes[0][0]
    left.plot([x["step"] for x in trained], [x["loss"] for x in trained], lw=1, alpha=0.6, label="training")
    left.plot([x["step"] for x in held], [x["held_out"] for x in held], "o-", ms=3, label="held out")
    left.axhline(unigram, color="gray", ls="--", lw=1, label="unigram")
    left.set(xlabel="step", ylabel="loss, nats a token", title="Language model")
    left.legend()
    if gate:
        right = axes[0][1]
        right.plot([x["step"] for x in gate], [x["gate_loss"] for x in gate], lw=1, color="tab:green")
        right.set(xlabel="step", ylabel="KL divergence, nats", title="Gate against full attention")
    for axis in axes[0]:
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(picture, dpi=130)
    pyplot.close(figure)

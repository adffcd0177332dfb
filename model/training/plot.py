"""The loss curves of a training as a picture."""

from pathlib import Path

from model.training.metrics import read_lines


def draw_curves(metrics: Path, picture: Path, unigram_loss: float) -> None:
    """Draws training and held-out loss over steps with the unigram baseline, and the gate's loss where it was trained.

    Args:
        metrics: metrics.jsonl of the training.
        picture: the file to write, a PNG whatever its name.
        unigram_loss: held-out loss of the unigram baseline, nats a token.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines, _ = read_lines(metrics)
    trained = [line for line in lines if "loss" in line]
    held_out = [line for line in lines if "held_out" in line]
    has_gate = any(line["gate_loss"] for line in trained)  # 0 in all lines: there is no gate, or it was not trained
    figure, axes = pyplot.subplots(1, 2 if has_gate else 1, figsize=(11 if has_gate else 6.5, 4), squeeze=False)
    left = axes[0][0]
    steps = [line["step"] for line in trained]
    left.plot(steps, [line["loss"] for line in trained], lw=1, alpha=0.6, label="training")
    left.plot(
        [line["step"] for line in held_out], [line["held_out"] for line in held_out], "o-", ms=3, label="held out"
    )
    left.axhline(unigram_loss, color="gray", ls="--", lw=1, label="unigram")
    left.set(xlabel="step", ylabel="loss, nats a token", title="Language model")
    left.legend()
    if has_gate:
        right = axes[0][1]
        right.plot(steps, [line["gate_loss"] for line in trained], lw=1, color="tab:green")
        right.set(xlabel="step", ylabel="KL divergence, nats", title="Gate against full attention")
    for axis in axes[0]:
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(picture, dpi=130, format="png")
    pyplot.close(figure)

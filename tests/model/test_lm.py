"""The DSA language model: implementations agree, nothing looks ahead, the cache changes nothing, files give it back."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

torch = pytest.importorskip("torch")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

from model.attention.attend import attend, choose_blocks  # noqa: E402
from model.attention.gate import Gate, distill  # noqa: E402
from model.attention.select import select_blocks  # noqa: E402
from model.attention.sparsity import Sparsity  # noqa: E402
from model.lm import DsaConfig, DsaForCausalLM  # noqa: E402

pytestmark = pytest.mark.weights
SMALL = Sparsity(block=4, top=6, fanout=2, roots=8, beam=4)
SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "gate_dim": 8,
    "block": 4,
    "top": 5,
    "fanout": 2,
    "roots": 8,
    "beam": 4,
}


def small(seed: int = 0, **changes) -> DsaForCausalLM:
    torch.manual_seed(seed)
    model = DsaForCausalLM(DsaConfig(**SIZES | changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # so that attention is no near-uniform average
            if parameter.dim() > 1:
                parameter.mul_(4)
    return model


def ids(seed: int, *shape: int):
    return torch.randint(1, 97, shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=15, deadline=None)
@given(T=st.integers(1, 90), seed=st.integers(0, 9), documents=st.booleans(), sparse=st.booleans())
def test_the_implementations_agree_forward_and_backward(T: int, seed: int, documents: bool, sparse: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    shapes = (2, T, 4, 8), (2, T, 2, 8), (2, T, 2, 8), (2, T, 2, 4), (2, T // 4, 2, 4)
    q, k, v, gate, leaves = (torch.randn(*shape, generator=generator) for shape in shapes)
    starts = torch.where(torch.arange(T) < T // 2, 0, T // 2).expand(2, T) if documents else None
    selected = choose_blocks(gate, leaves, SMALL, starts_BT=starts) if sparse else None
    results = []
    for name in ("reference", "sdpa"):
        inputs = [x.clone().requires_grad_() for x in (q, k, v)]
        out = attend(*inputs, selected, SMALL, starts_BT=starts, implementation=name)
        out.square().sum().backward()
        results.append([out.detach(), *(x.grad for x in inputs)])
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, atol=2e-4)


def test_chunks_of_queries_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(1, 70, n, 8, generator=generator).requires_grad_() for n in (4, 2, 2))
    selected = select_blocks(torch.randn(1, 70, 2, 4), torch.randn(1, 17, 2, 4), SMALL)
    whole = attend(q, k, v, selected, SMALL, implementation="sdpa")
    grads = torch.autograd.grad(whole.square().sum(), (q, k, v))
    monkeypatch.setattr("model.attention.attend.QUERIES_PER_CHUNK", 16)
    parts = attend(q, k, v, selected, SMALL, implementation="sdpa")
    assert torch.allclose(whole, parts, atol=1e-5)
    for a, b in zip(grads, torch.autograd.grad(parts.square().sum(), (q, k, v)), strict=True):
        assert torch.allclose(a, b, atol=1e-4)


def test_triton_refuses_what_it_cannot_do() -> None:
    q = torch.randn(1, 8, 2, 8)
    with pytest.raises(ValueError, match="use sdpa"):
        attend(q, q, q, None, SMALL, implementation="triton")


def test_the_gate_learns_where_attention_looks() -> None:
    """Keys and queries share a hidden cause by block: after training, the gate's first choice carries more mass."""
    torch.manual_seed(0)
    sparsity, B, T, D = Sparsity(block=4, top=4, fanout=2, roots=64, beam=8), 8, 128, 8
    gate = Gate(D, 1, D, 8)
    torch.nn.init.normal_(gate.summary, std=0.2)
    optimizer = torch.optim.Adam(gate.parameters(), 3e-2)

    def draw():
        topic = torch.nn.functional.one_hot(torch.randint(0, D, (B, T // 4)), D).float()
        k = (topic.repeat_interleave(4, 1) * 3 + 0.1 * torch.randn(B, T, D))[:, :, None]
        x = torch.nn.functional.one_hot(torch.randint(0, D, (B, T)), D).float()
        return x, x[:, :, None] * 4, k

    losses = []
    for step in range(150):
        x, q, k = draw()
        loss = distill(q, k, gate.queries(x), gate.leaves(k, 4), sparsity, torch.full((B,), step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.3 * losses[0]
    x, q, k = draw()
    chosen = select_blocks(gate.queries(x), gate.leaves(k, 4), sparsity)[:, 0, -1, 0]
    topic = k[torch.arange(B), chosen.long() * 4, 0].argmax(-1)
    right = x[:, -1].argmax(-1)
    there = (k[:, : T - 8, 0].argmax(-1) == right[:, None]).any(1)
    assert (topic == right)[there].float().mean() > 0.8


def test_the_gates_loss_reaches_the_gate_alone() -> None:
    model = small().train()
    text = ids(0, 2, 60)
    out = model(text, labels=text)
    out.gate_loss.backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert reached == {f"layers.{n}.attention.gate.{part}" for n in (0, 1) for part in ("query.weight", "summary")}


@settings(max_examples=12, deadline=None)
@given(cut=st.integers(1, 69), seed=st.integers(0, 5), attention=st.sampled_from(["sparse", "dense"]))
def test_no_logit_depends_on_a_later_token(cut: int, seed: int, attention: str) -> None:
    model = small(attention=attention)
    text, other = ids(seed, 2, 70), ids(seed + 50, 2, 70)
    other[:, :cut] = text[:, :cut]
    with torch.no_grad():
        one, two = (model(x, use_cache=False).logits[:, :cut] for x in (text, other))
    assert torch.equal(one, two)


@pytest.mark.parametrize("attention", ["sparse", "dense"])
@pytest.mark.parametrize("prefill", [1, 3, 22, 41])
def test_step_by_step_gives_what_one_pass_gives(attention: str, prefill: int) -> None:
    model, text = small(attention=attention), ids(1, 2, 60)
    with torch.no_grad():
        whole = model(text, use_cache=False).logits
        out = model(text[:, :prefill])
        steps, cache = [out.logits], out.past_key_values
        for t in range(prefill, 50):
            steps.append(model(text[:, t : t + 1], past_key_values=cache).logits)
        steps.append(model(text[:, 50:], past_key_values=cache).logits)
    assert torch.allclose(torch.cat(steps, 1), whole, atol=2e-4)


@settings(max_examples=10, deadline=None)
@given(lengths=st.lists(st.integers(1, 45), min_size=2, max_size=4), left=st.booleans(), seed=st.integers(0, 5))
def test_padding_on_either_side_changes_nothing(lengths: list[int], left: bool, seed: int) -> None:
    model, width, more = small(), max(lengths), 12
    texts = [ids(seed + row, 1, length + more) for row, length in enumerate(lengths)]
    batch, mask = torch.zeros(len(lengths), width, dtype=torch.long), torch.zeros(len(lengths), width)
    for row, (text, length) in enumerate(zip(texts, lengths, strict=True)):
        place = slice(width - length, width) if left else slice(0, length)
        batch[row, place], mask[row, place] = text[0, :length], 1
    with torch.no_grad():
        out = model(batch, attention_mask=mask)
        for step in range(more):
            rows = torch.cat([text[:, length + step] for text, length in zip(texts, lengths, strict=True)])
            last = model(rows[:, None], past_key_values=out.past_key_values)
        for row, (text, length) in enumerate(zip(texts, lengths, strict=True)):
            alone = model(text, use_cache=False).logits[0]
            place = slice(width - length, width) if left else slice(0, length)
            assert torch.allclose(out.logits[row, place], alone[:length], atol=2e-4)
            assert torch.allclose(last.logits[row, 0], alone[-1], atol=2e-4)


def test_files_give_the_same_logits(tmp_path) -> None:
    model, text = small(), ids(3, 1, 40)
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").exists()
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert isinstance(again, DsaForCausalLM)
    assert again.lm_head.weight is again.embed_tokens.weight
    with torch.no_grad():
        assert torch.equal(model(text, use_cache=False).logits, again(text, use_cache=False).logits)


@pytest.mark.parametrize("beams", [1, 3])
def test_generate_with_and_without_a_cache_is_the_same(beams: int) -> None:
    model, text = small(), ids(4, 3, 30)
    mask = torch.ones_like(text)
    mask[1, :9] = 0
    settings = {"max_new_tokens": 25, "do_sample": False, "num_beams": beams, "pad_token_id": 0}
    cached = model.generate(text, attention_mask=mask, **settings)
    plain = model.generate(text, attention_mask=mask, use_cache=False, **settings)
    assert torch.equal(cached, plain)


def test_a_packed_document_knows_nothing_of_its_neighbour() -> None:
    model, first, second = small(), ids(5, 1, 33), ids(6, 1, 31)
    starts = torch.tensor([[0] * 33 + [33] * 31])
    with torch.no_grad():
        packed = model(torch.cat([first, second], 1), starts_BT=starts, use_cache=False).logits
        other = model(torch.cat([ids(7, 1, 33), second], 1), starts_BT=starts, use_cache=False).logits
        assert torch.allclose(packed[:, :33], model(first, use_cache=False).logits, atol=2e-4)
    assert torch.equal(packed[:, 33:], other[:, 33:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention": "flash"}, "attention"),
        ({"num_attention_heads": 3}, "num_attention_heads"),
        ({"block": 48}, "block"),
        ({"hidden_size": 36, "num_attention_heads": 4}, "even"),
    ],
)
def test_a_config_that_cannot_be_is_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DsaConfig(**SIZES | change)


def test_what_is_counted_as_work_follows_what_is_attended() -> None:
    sparse, dense = DsaConfig(), DsaConfig(attention="dense")
    assert sparse.flops_per_token(131_072) < 0.35 * dense.flops_per_token(131_072)
    assert 0.9 < sparse.flops_per_token(1024) / dense.flops_per_token(1024) < 1.1


def test_text_is_drawn_only_where_a_temperature_is_given(tmp_path) -> None:
    from configs.errors import InputError
    from model.data.tokenizer_training import train_tokenizer
    from model.lm.text_generator import TextGenerator

    rows = [{"text": f"The court of case {n} ends.", "seed_id": str(n)} for n in range(50)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    folder = train_tokenizer([tmp_path / "a.parquet"], 300, 0.1, tmp_path / "model")
    with pytest.raises(InputError, match=r"no config\.json"):
        TextGenerator.from_pretrained(folder)
    small(vocab_size=320, eos_token_id=0).save_pretrained(folder)
    model = TextGenerator.from_pretrained(folder)
    one = model.generate("The court of", max_length=60)
    assert one == model.generate("The court of", max_length=60)
    drawn = {model.generate("The court of", max_length=60, temperature=1.5, seed=seed) for seed in (1, 1, 2)}
    assert len(drawn) == 2
    torch.manual_seed(3)
    assert len({model.generate("The court of", max_length=60, temperature=1.5) for _ in range(3)}) == 3  # no seed: anew
    state = torch.get_rng_state()
    model.generate("The court of", max_length=60, temperature=1.5, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.generate_batch(["The", "The court of case"], max_length=60)[1] == model.generate(
        "The court of case", max_length=60
    )
    with pytest.raises(ValueError, match="but the prompt alone has"):
        model.generate("The court of", max_length=2)
    with pytest.raises(ValueError, match="empty"):
        model.generate("")

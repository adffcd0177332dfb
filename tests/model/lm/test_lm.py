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
    from configs.errors import ConfigError
    from model import Model
    from model.data.tokenizer_training import train_tokenizer

    rows = [{"text": f"The court of case {n} ends.", "seed_id": str(n)} for n in range(50)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    folder = train_tokenizer([tmp_path / "a.parquet"], 300, 0.1, tmp_path / "model")
    with pytest.raises(ConfigError, match=r"lacks \*\.safetensors"):
        Model.from_pretrained(folder)
    small(vocab_size=320, eos_token_id=0).save_pretrained(folder)
    model = Model.from_pretrained(folder)
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


# --- transformers' own conventions -----------------------------------------------------------------------------------
def test_losses_of_accumulated_passes_add_up_to_the_loss_of_the_whole_batch() -> None:
    model, text = small().train(), ids(8, 4, 40)
    labels = text.clone()
    labels[0, :30] = labels[1, :7] = -100
    count = int((labels[:, 1:] != -100).sum())
    whole = model(text, labels=labels, num_items_in_batch=count)
    for size in (1, 2):
        parts = [
            model(text[row : row + size], labels=labels[row : row + size], num_items_in_batch=torch.tensor(count))
            for row in range(0, 4, size)
        ]
        # The gate's loss of a pass is a mean over its queries, so only the sum of the other one is exact.
        shares = [float((labels[row : row + size, 1:] != -100).sum()) / count for row in range(0, 4, size)]
        lm = sum(part.lm_loss * share for part, share in zip(parts, shares, strict=True))
        assert float(lm) == pytest.approx(float(whole.lm_loss), rel=1e-5)
        assert float(sum(part.loss for part in parts)) == pytest.approx(float(whole.loss), rel=0.05)
    alone = model(text, labels=labels)
    assert float(alone.loss) == pytest.approx(float(whole.loss), rel=1e-6)


def test_the_trainers_gradient_accumulation_does_not_scale_the_loss(tmp_path) -> None:
    pytest.importorskip("accelerate")
    from transformers import Trainer, TrainingArguments

    texts = [{"input_ids": ids(9, 8, 24)[row], "labels": ids(9, 8, 24)[row]} for row in range(8)]
    losses = []
    for accumulated in (1, 4):
        arguments = TrainingArguments(
            output_dir=str(tmp_path),
            max_steps=1,
            per_device_train_batch_size=8 // accumulated,
            gradient_accumulation_steps=accumulated,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            seed=1,
        )
        losses.append(Trainer(small(attention="dense"), arguments, train_dataset=texts).train().training_loss)
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_hidden_states_tuples_and_embeddings_are_what_transformers_says() -> None:
    model, text = small(), ids(10, 2, 30)
    mask = torch.ones_like(text)
    mask[0, :11] = 0
    with torch.no_grad():
        out = model(text, attention_mask=mask, output_hidden_states=True, use_cache=False)
        assert [tuple(states.shape) for states in out.hidden_states] == [(2, 30, 32)] * 3
        assert torch.allclose(model.lm_head(out.hidden_states[-1]), out.logits, atol=1e-6)
        assert torch.equal(out.hidden_states[0][mask.bool()], model.embed_tokens(text)[mask.bool()])
        alone = model(text[:1, 11:], output_hidden_states=True, use_cache=False)
        for one, other in zip(out.hidden_states, alone.hidden_states, strict=True):
            assert torch.allclose(one[0, 11:], other[0], atol=1e-4)
        logits, cache = model(text, return_dict=False)
        assert torch.equal(logits, model(text).logits)
        assert cache.lengths == [30, 30]
        embedded = model(inputs_embeds=model.embed_tokens(text), attention_mask=mask, use_cache=False)
        assert torch.equal(embedded.logits[mask.bool()], out.logits[mask.bool()])
        generated = model.generate(inputs_embeds=model.embed_tokens(text), max_new_tokens=5, do_sample=False)
        assert torch.equal(generated, model.generate(text, max_new_tokens=5, do_sample=False)[:, 30:])
    assert model.train()(inputs_embeds=model.embed_tokens(text), labels=text).loss.requires_grad


def test_packed_positions_separate_documents() -> None:
    model, text = small(), ids(11, 1, 64)
    starts = torch.tensor([[0] * 33 + [33] * 31])
    positions = torch.arange(64)[None] - starts
    with torch.no_grad():
        packed = model(text, position_ids=positions).logits
        assert torch.equal(packed, model(text, starts_BT=starts, use_cache=False).logits)
        assert not torch.allclose(packed, model(text, use_cache=False).logits)
        assert torch.equal(model(text, position_ids=torch.arange(64)[None]).logits, model(text).logits)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"position_ids": torch.arange(5, 35)[None]}, "position_ids: they must count from 0"),
        ({"output_attentions": True}, "output_attentions"),
        ({"inputs_embeds": torch.zeros(1, 30, 32)}, "input_ids: give either"),
        ({"past_key_values": "dynamic"}, "past_key_values: a DynamicCache, but this model .* DsaCache"),
    ],
)
def test_an_argument_that_cannot_be_followed_is_refused_not_swallowed(options: dict, words: str) -> None:
    from transformers import DynamicCache

    options = {name: DynamicCache() if value == "dynamic" else value for name, value in options.items()}  # type: ignore
    with pytest.raises(ValueError, match=words):
        small()(ids(0, 1, 30), **options)
    with pytest.raises(TypeError, match="unexpected keyword"):
        small()(ids(0, 1, 30), no_such_argument=1)


@pytest.mark.parametrize("name", ["assistant_model", "prompt_lookup_num_tokens", "past_key_values"])
def test_decoding_that_takes_tokens_back_is_refused_by_name(name: str) -> None:
    from transformers import DynamicCache, GenerationConfig

    model = small()
    value = {"assistant_model": model, "prompt_lookup_num_tokens": 3, "past_key_values": DynamicCache()}[name]
    with pytest.raises(ValueError, match=f"{name}: .*leave {name} out"):
        model.generate(ids(0, 1, 30), max_new_tokens=3, **{name: value})
    if name == "prompt_lookup_num_tokens":
        with pytest.raises(ValueError, match=name):
            model.generate(ids(0, 1, 30), GenerationConfig(max_new_tokens=3, prompt_lookup_num_tokens=3))


# --- the command -----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    from model.data.tokenizer_training import train_tokenizer

    folder = tmp_path_factory.mktemp("generate")
    rows = [{"text": f"The court of case {n} ends.", "seed_id": str(n)} for n in range(50)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "a.parquet")
    train_tokenizer([folder / "a.parquet"], 300, 0.1, folder / "model")
    small(vocab_size=320, eos_token_id=0).save_pretrained(folder / "model")
    return folder / "model"


def test_unseeded_draws_do_not_repeat_from_process_to_process(model_folder) -> None:
    from model import Model

    generator = Model.from_pretrained(model_folder)
    texts = set()
    for _ in range(3):
        torch.manual_seed(0)  # the state that a process begins with
        texts.add(generator.generate("The court of", max_length=60, temperature=1.5))
    assert len(texts) == 3


def test_a_continuation_is_streamed_in_pieces(model_folder) -> None:
    from model import Model

    generator, pieces = Model.from_pretrained(model_folder), []
    text = generator.generate("The court of", max_length=120, temperature=1.0, seed=1, on_text=pieces.append)
    assert "".join(pieces) == text
    assert len(pieces) > 3
    with pytest.raises(ValueError, match="on_text"):
        generator.generate_batch(["a", "b"], on_text=pieces.append)


def test_the_command_answers_each_line_before_it_reads_the_next(model_folder, monkeypatch, capsys) -> None:
    import io
    import json
    import sys

    from pipeline.cli import main

    class Lines(io.BytesIO):
        def readline(self, *arguments):
            printed.append(capsys.readouterr().out)
            return super().readline(*arguments)

    printed: list[str] = []
    stdin = io.TextIOWrapper(Lines("The court\n\nEl tribunal número\n".encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert main(["generate", "--model", str(model_folder), "--seed", "3", "--max-length", "30", "--json"]) == 0
    printed.append(capsys.readouterr().out)
    assert [json.loads(line)["prompt"] for line in "".join(printed).splitlines()] == ["The court", "El tribunal número"]
    assert json.loads(printed[1])["prompt"] == "The court"  # before the third line was asked for
    assert main(["generate", "--model", str(model_folder), "--max-length", "30", "The court"]) == 0
    assert capsys.readouterr().out.startswith("The court")


def test_prompts_that_are_not_utf_8_are_named(model_folder, monkeypatch, capsys) -> None:
    import io
    import sys

    from pipeline.cli import main

    line = ["generate", "--model", str(model_folder), "--max-length", "30"]
    assert main([*line, "The court", "caf\udce9"]) == 1
    assert "generate: prompt 2 is not UTF-8" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9\n")))
    assert main(line) == 1
    assert "generate: prompt 1 is not UTF-8" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert main(line) == 2
    assert "no prompt" in capsys.readouterr().err

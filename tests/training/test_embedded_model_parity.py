"""Training and llama.cpp make the same tokens and the same answers: of new networks, and of the shipped model."""

import json
import random
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.models.catalog import EMBEDDED_PATH
from mcp_server.engine.settings import EngineSettings
from mcp_server.engine.types import GenerationRequest, Message, OutputParams, SamplingParams, TokenizeRequest
from training.embedded_model import generate, tokenizer
from training.embedded_model.export import export
from training.embedded_model.families import read_families
from training.embedded_model.network import Network, Shape
from training.embedded_model.pack import prompt_of

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*"),
]
N_STRINGS = 400
N_TOKENS = 40  # of each greedy answer
NEAR_TIE = 1e-3  # best logits as close as this may come in either order: sums differ in their last bits
SHAPES = {
    "one head of keys": Shape(vocabulary=0, width=64, layers=2, heads=4, kv_heads=1, inner=96),
    "as many as of queries": Shape(vocabulary=0, width=96, layers=3, heads=3, kv_heads=3, inner=64),
}
ALPHABETS = (
    "etaoin shrdlu ",
    "0123456789+-*/=() ",
    "\n\t  \r\n",
    "{}[]<>|_#\"'`\\;:,.!?",
    "äßéñçøŁ",
    "日本語中文한국",
    "\U0001f600\U0001f469\u200d\U0001f4bb\U0001f3fd\u202e\ufb01e\u0301",
)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer learnt from a few examples."""
    folder = tmp_path_factory.mktemp("data")
    r, drawer = random.Random(1), generate.Drawer(read_families(generate.FOLDER))
    rows = [json.dumps(generate.row_of(drawer.draw(r))) for _ in range(300)]
    (folder / "train-00000.jsonl").write_text("\n".join(rows), encoding="utf-8")
    path = folder / "tokenizer.json"
    tokenizer.train(folder).save(str(path))
    return path


@pytest.fixture(scope="module", params=SHAPES)
def exported(request: pytest.FixtureRequest, learnt: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A network of random weights, and the file that llama.cpp reads."""
    size = Tokenizer.from_file(str(learnt)).get_vocab_size()
    shape = Shape(**{**asdict(SHAPES[request.param]), "vocabulary": size})
    torch.manual_seed(3)
    network = Network(shape)
    for parameter in network.parameters():  # a new one adds nothing in its layers, and every norm is 1
        torch.nn.init.normal_(parameter, 1 if parameter.ndim == 1 else 0, 0.15)
    folder = tmp_path_factory.mktemp("exported")
    torch.save({"shape": asdict(shape), "network": network.state_dict()}, folder / "checkpoint.pt")
    export(folder / "checkpoint.pt", learnt, folder / "model.gguf", "f32")
    return network.eval(), folder / "model.gguf"


def _engine(model: Path, home: Path) -> AsyncEngine:
    settings = EngineSettings(
        home=home, model=str(model), cache_type_k="f32", cache_type_v="f32", flash_attention="off"
    )
    return AsyncEngine(settings)


@pytest.fixture
async def engine(exported: Any, tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    made = _engine(exported[1], tmp_path)
    yield made
    await made.aclose()


@pytest.fixture
async def shipped(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    made = _engine(next(EMBEDDED_PATH.glob("*.gguf")), tmp_path)
    yield made
    await made.aclose()


def _strings() -> list[str]:
    """Texts of requests with the model's special tokens, and characters at random."""
    r, drawer = random.Random(2), generate.Drawer(read_families(generate.FOLDER))
    rows = [generate.row_of(drawer.draw(r)) for _ in range(N_STRINGS // 4)]
    texts = [prompt_of(row) + str(row["answer"]) for row in rows]
    for _ in range(N_STRINGS // 2):
        letters = "".join(r.sample(ALPHABETS, r.randint(1, 3)))
        texts.append("".join(r.choices(letters, k=r.randint(1, 60))))
    anywhere = [code for code in range(1, 0x30000) if not 0xD800 <= code < 0xE000]
    texts += ["".join(map(chr, r.choices(anywhere, k=r.randint(1, 30)))) for _ in range(N_STRINGS // 4)]
    return texts


async def _split_otherwise(ours: Tokenizer, engine: AsyncEngine) -> list[str]:
    """Return the texts that llama.cpp splits in another way."""
    texts = _strings()
    theirs = [(await engine.tokenize(TokenizeRequest(text))).tokens for text in texts]
    pairs = zip(texts, theirs, ours.encode_batch(texts), strict=True)
    return [text for text, tokens, encoding in pairs if list(tokens) != encoding.ids]


async def test_a_learnt_tokenizer_splits_as_llama_cpp_does(learnt: Path, engine: AsyncEngine) -> None:
    assert await _split_otherwise(Tokenizer.from_file(str(learnt)), engine) == []


async def test_the_shipped_models_tokens_are_those_that_training_would_make(shipped: AsyncEngine) -> None:
    read = gguf.GGUFReader(next(EMBEDDED_PATH.glob("*.gguf")))
    tokens, merges = (read.fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "merges"))
    ours = tokenizer.untrained()
    special = [token for token in tokenizer.SPECIAL if token in tokens]
    ours.model = tokenizer.models.BPE(
        {token: i for i, token in enumerate(tokens)}, [tuple(merge.split(" ")) for merge in merges]
    )
    ours.add_special_tokens(special)
    assert await _split_otherwise(ours, shipped) == []


async def _greedy(engine: AsyncEngine, text: str, *, ends: bool = False) -> tuple[list[int], list[int]]:
    """Return the tokens of a prompt and of the likeliest answer to llama.cpp; past its end unless it *ends*."""
    request = GenerationRequest(
        messages=(Message("user", text),),
        sampling=SamplingParams(temperature=0, max_tokens=N_TOKENS, ignore_eos=not ends),
        output=OutputParams(return_token_ids=True),
    )
    result = await engine.generate(request)
    answer = result.completions[0].token_ids
    assert result.prompt_token_ids
    assert answer
    return list(result.prompt_token_ids), list(answer)


@torch.no_grad()
def _chosen_otherwise(network: Network, prompt: list[int], answer: list[int], tie: float) -> list[int]:
    """Return the places in *answer* where the network's best token is another, near ties left out."""
    logits = network(torch.tensor([prompt + answer[:-1]]))[0, len(prompt) - 1 :]
    lost = logits.max(-1).values - logits[torch.arange(len(answer)), torch.tensor(answer)]
    return [i for i, logit in enumerate(lost.tolist()) if logit > tie]


PROMPTS = ("add two numbers", "fix this:\n\ndef f(x)\n    return x", "what is 17 + 4?", "écris une fonction ☃")


async def test_a_networks_greedy_answers_are_those_of_its_file(exported: Any, engine: AsyncEngine) -> None:
    network, _ = exported
    answers = [await _greedy(engine, text) for text in PROMPTS]
    assert [_chosen_otherwise(network, prompt, answer, NEAR_TIE) for prompt, answer in answers] == [[]] * len(PROMPTS)
    assert len({tuple(answer) for _, answer in answers}) > 1, "the answers do not depend on the prompt"


def _network_in(path: Path) -> Network:
    """Return the network of a file, its weights as 32-bit floats."""
    read = gguf.GGUFReader(path)
    tensors = {
        one.name: torch.from_numpy(np.array(gguf.quants.dequantize(one.data, one.tensor_type), np.float32))
        for one in read.tensors
    }
    keys = {name: read.fields[f"llama.{name}"].contents() for name in ("block_count", "attention.head_count")}
    width, inner = tensors["token_embd.weight"].shape[1], tensors["blk.0.ffn_gate.weight"].shape[0]
    head = width // keys["attention.head_count"]
    shape = Shape(
        vocabulary=tensors["token_embd.weight"].shape[0],
        width=width,
        layers=keys["block_count"],
        heads=keys["attention.head_count"],
        kv_heads=tensors["blk.0.attn_k.weight"].shape[0] // head,
        inner=inner,
    )
    state = {"embedding.weight": tensors["token_embd.weight"], "norm.weight": tensors["output_norm.weight"]}
    for i in range(shape.layers):
        ours, theirs = f"blocks.{i}.", f"blk.{i}."
        names = {"attention_norm": "attn_norm", "inner_norm": "ffn_norm", "out": "attn_output", "down": "ffn_down"}
        state |= {f"{ours}{name}.weight": tensors[f"{theirs}{other}.weight"] for name, other in names.items()}
        state[f"{ours}qkv.weight"] = torch.cat([tensors[f"{theirs}attn_{part}.weight"] for part in "qkv"])
        state[f"{ours}gate_up.weight"] = torch.cat([tensors[f"{theirs}ffn_{part}.weight"] for part in ("gate", "up")])
    network = Network(shape)
    network.load_state_dict(state)
    return network.eval()


async def test_the_shipped_model_is_the_network_of_training(shipped: AsyncEngine) -> None:
    """llama.cpp rounds activations to 8 bits beside 8-bit weights, so a close second may win; nothing else may."""
    network = _network_in(next(EMBEDDED_PATH.glob("*.gguf")))
    for text in PROMPTS:
        prompt, answer = await _greedy(shipped, text, ends=True)
        assert _chosen_otherwise(network, prompt, answer, tie=0.5) == []

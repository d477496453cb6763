"""Write a trained network as a GGUF file that llama.cpp loads: weights, tokenizer and chat template in one.

python -m training.embedded_model.export CHECKPOINT TOKENIZER --out model.gguf [--type q8_0]
"""

import argparse
import json
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
import torch

from training.embedded_model.network import Shape
from training.embedded_model.tokenizer import SPECIAL

NAME: Final = "cinque-tiny"
CONTEXT: Final = 2_048
_TYPES: Final = {
    "f32": gguf.LlamaFileType.ALL_F32,
    "f16": gguf.LlamaFileType.MOSTLY_F16,
    "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
}


def export(checkpoint: Path, tokenizer: Path, out: Path, kind: str) -> None:
    """Write the GGUF file, matrices as *kind* and all else as 32-bit floats."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    shape = Shape(**state["shape"])
    writer = gguf.GGUFWriter(out, "llama")
    _describe(writer, shape, kind)
    _add_tokenizer(writer, json.loads(tokenizer.read_text(encoding="utf-8"))["model"])
    for name, tensor in _tensors(state["network"], shape):
        _add(writer, name, tensor.float().numpy(), kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: gguf.GGUFWriter, shape: Shape, kind: str) -> None:
    writer.add_name(NAME)
    writer.add_license("MIT")
    writer.add_description(
        "Writes short Python functions and small scripts; trained from nothing on generated tasks, to show and to test"
    )
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_rope_dimension_count(shape.head)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(_TYPES[kind])


def _add_tokenizer(writer: gguf.GGUFWriter, model: dict[str, Any]) -> None:
    vocabulary: dict[str, int] = model["vocab"]
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    control = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}
    types = [
        gguf.TokenType.CONTROL
        if token in control
        else gguf.TokenType.USER_DEFINED
        if token in SPECIAL
        else gguf.TokenType.NORMAL
        for token in tokens
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]])
    writer.add_bos_token_id(vocabulary["<|endoftext|>"])
    writer.add_pad_token_id(vocabulary["<|endoftext|>"])
    writer.add_eos_token_id(vocabulary["<|im_end|>"])
    writer.add_eot_token_id(vocabulary["<|im_end|>"])
    writer.add_add_bos_token(value=False)
    writer.add_chat_template(Path(__file__).with_name("chat_template.jinja").read_text(encoding="utf-8"))


def _tensors(state: dict[str, torch.Tensor], shape: Shape) -> list[tuple[str, torch.Tensor]]:
    """Return tensors under llama.cpp's names; stacked ones apart."""
    queries, keys = shape.heads * shape.head, shape.kv_heads * shape.head
    named = [("token_embd.weight", state["embedding.weight"]), ("output_norm.weight", state["norm.weight"])]
    for i in range(shape.layers):
        ours, theirs = f"blocks.{i}.", f"blk.{i}."
        q, k, v = state[ours + "qkv.weight"].split([queries, keys, keys])
        gate, up = state[ours + "gate_up.weight"].chunk(2)
        named += [
            (theirs + "attn_norm.weight", state[ours + "attention_norm.weight"]),
            (theirs + "ffn_norm.weight", state[ours + "inner_norm.weight"]),
            (theirs + "attn_q.weight", q),
            (theirs + "attn_k.weight", k),
            (theirs + "attn_v.weight", v),
            (theirs + "attn_output.weight", state[ours + "out.weight"]),
            (theirs + "ffn_gate.weight", gate),
            (theirs + "ffn_up.weight", up),
            (theirs + "ffn_down.weight", state[ours + "down.weight"]),
        ]
    return named


def _add(writer: gguf.GGUFWriter, name: str, array: "np.ndarray[Any, Any]", kind: str) -> None:
    if array.ndim == 1 or kind == "f32":
        writer.add_tensor(name, array.astype(np.float32))
    elif kind == "f16":
        writer.add_tensor(name, array.astype(np.float16))
    else:
        quantised = gguf.quants.quantize(array, gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(name, quantised, raw_dtype=gguf.GGMLQuantizationType.Q8_0)


def main() -> None:
    """Export, and say how large the file is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--type", choices=list(_TYPES), default="q8_0")
    options = parser.parse_args()
    export(options.checkpoint, options.tokenizer, options.out, options.type)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()

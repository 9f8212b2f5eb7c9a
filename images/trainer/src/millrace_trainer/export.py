"""The trained model in files that other programs read: GPT-2's names and shapes in safetensors, tokenizer, config."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from millrace_trainer.config import GPTConfig
from millrace_trainer.files import fsync_file, write_text
from millrace_trainer.network import GPT
from millrace_trainer.tokens import END_OF_TEXT, load_tokenizer

LINEAR = {
    "qkv": "attn.c_attn",
    "attention_out": "attn.c_proj",
    "up": "mlp.c_fc",
    "down": "mlp.c_proj",
}
NORM = {"norm1": "ln_1", "norm2": "ln_2"}


def gpt2_tensors(network: GPT) -> dict[str, torch.Tensor]:
    """The weights under the names of GPT2LMHeadModel, whose linear layers hold (in, out) matrices."""
    tensors = {
        "transformer.wte.weight": network.tokens.weight,
        "transformer.wpe.weight": network.positions.weight,
        "transformer.ln_f.weight": network.norm.weight,
        "transformer.ln_f.bias": network.norm.bias,
    }
    for index, block in enumerate(network.blocks):
        own = dict(block.named_parameters())
        for ours, theirs in LINEAR.items():
            tensors[f"transformer.h.{index}.{theirs}.weight"] = own[f"{ours}.weight"].T
            tensors[f"transformer.h.{index}.{theirs}.bias"] = own[f"{ours}.bias"]
        for ours, theirs in NORM.items():
            tensors[f"transformer.h.{index}.{theirs}.weight"] = own[f"{ours}.weight"]
            tensors[f"transformer.h.{index}.{theirs}.bias"] = own[f"{ours}.bias"]
    return {name: tensor.detach().float().cpu().contiguous() for name, tensor in tensors.items()}


def gpt2_config(config: GPTConfig, end_of_text: int | None) -> dict[str, object]:
    """The config.json that goes with `gpt2_tensors`."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "n_layer": config.layers,
        "n_head": config.heads,
        "n_embd": config.hiddenSize,
        "n_positions": config.sequenceLength,
        "vocab_size": config.vocabSize,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "layer_norm_epsilon": 1e-5,
        "tie_word_embeddings": True,
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "torch_dtype": "float32",
    }


def export_model(network: GPT, config: GPTConfig, tokenizer: str | None, folder: Path) -> None:
    """Write model.safetensors, config.json and, unless the data was mock, tokenizer.json, all durable."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.iterdir():
        left.unlink()
    weights = folder / "model.safetensors"
    save_file(gpt2_tensors(network), weights, metadata={"format": "pt"})
    weights.chmod(0o644)  # safetensors makes it private, but those who read it back are other users
    fsync_file(weights)
    end_of_text = None
    if tokenizer is not None:
        end_of_text = load_tokenizer(tokenizer).token_to_id(END_OF_TEXT)
        write_text(folder / "tokenizer.json", tokenizer)
    write_text(folder / "config.json", json.dumps(gpt2_config(config, end_of_text), indent=1))

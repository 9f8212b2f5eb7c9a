"""A model behind OpenAI's HTTP interface: the second entry point of the trainer's image, and all of smollm2's.

Only `torch_engine` and `gpt2` import torch, and only `llama_engine` imports xllamacpp, so that an image needs the one it serves
with. What an endpoint may expect of us, and of any other image, is docs/serve-contract.md.
"""

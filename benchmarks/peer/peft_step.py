#!/usr/bin/env python3
"""One LoRA+ training step as most people would take it: transformers, PEFT, scaled_dot_product_attention, gradient checkpointing, fused AdamW.

It reads the weights and tokens that `longlora bench step --export-peer DIR` wrote, and prints the JSON object of peer.py. Attention is full, because
that is what these libraries offer. Needs torch 2.4, transformers 4.48 and peft 0.14, or later ones; without them it says so and ends with 3, which
run.sh takes for a peer that is not there.
"""
import argparse
import json
import os
import sys
import time

try:
    import torch
    import transformers
    import peft
except ImportError as error:
    print(f"no peer with PEFT: {error}. It needs torch 2.4, transformers 4.48 and peft 0.14, or later ones.", file=sys.stderr)
    sys.exit(3)

from peer import limit_memory, read_safetensors, resident


def read_model(folder, tensors, kind):
    """The base from the folder's config and weights, in one type."""
    config = transformers.LlamaConfig(**read_config(folder))
    config._attn_implementation = "sdpa"
    model = transformers.LlamaForCausalLM(config).to(kind)
    base = {name: tensor.to(kind) for name, tensor in tensors.items() if ".lora_" not in name and not name.startswith("input_ids.")}
    missing, unexpected = model.load_state_dict(base, strict=False)
    missing = [name for name in missing if not (name == "lm_head.weight" and config.tie_word_embeddings)]
    if missing or unexpected:
        sys.exit(f"The weights do not fit: missing {missing[:3]}, unexpected {unexpected[:3]}.")
    return model


def read_config(folder):
    with open(os.path.join(folder, "config.json")) as file:
        config = json.load(file)
    return {name: value for name, value in config.items() if name not in ("architectures", "model_type", "torch_dtype", "dtype")}


def add_lora(model, tensors, scale):
    """LoRA on the layers that have a pair, with its numbers; embeddings and norms are trained too."""
    pairs = sorted(name[: -len(".lora_A.weight")] for name in tensors if name.endswith(".lora_A.weight"))
    if not pairs:
        sys.exit("The folder has no LoRA pairs.")
    rank = tensors[pairs[0] + ".lora_A.weight"].shape[0]
    settings = peft.LoraConfig(r=rank, lora_alpha=scale * rank, target_modules=sorted({name.split(".")[-1] for name in pairs}), lora_dropout=0.0)
    model = peft.get_peft_model(model, settings)
    there = dict(model.named_parameters())
    with torch.no_grad():
        for pair in pairs:
            for part in ("lora_A", "lora_B"):
                there[f"base_model.model.{pair}.{part}.default.weight"].copy_(tensors[f"{pair}.{part}.weight"])
    for name, parameter in model.named_parameters():
        if "embed_tokens" in name or "norm" in name or ".lora_" in name:
            parameter.data = parameter.data.float()
            parameter.requires_grad_(True)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="folder written by longlora bench step --export-peer")
    parser.add_argument("--context", type=int, required=True)
    parser.add_argument("--steps", type=int, default=3, help="timed steps, after one that is not")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--type", choices=["f32", "bf16"], default="f32", help="bf16: frozen weights and products in bfloat16")
    options = parser.parse_args()
    on_gpu = options.device.startswith("cuda")
    torch.set_num_threads(options.threads)
    if not on_gpu:
        limit_memory()

    tensors, metadata = read_safetensors(os.path.join(options.data, "step.safetensors"))
    ids = tensors[f"input_ids.{options.context}"].to(options.device)
    model = read_model(options.data, tensors, torch.bfloat16 if options.type == "bf16" else torch.float32)
    model = add_lora(model, tensors, float(metadata["lora_scale"])).to(options.device)
    del tensors
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=float(metadata["learning_rate"]), betas=(0.9, 0.95), eps=1e-8, weight_decay=0, fused=True)

    def memory(field):
        if not on_gpu:
            return resident(field)
        return torch.cuda.memory_allocated() if field == "VmRSS:" else torch.cuda.max_memory_allocated()

    def step():
        with torch.autocast(options.device.split(":")[0], torch.bfloat16, enabled=options.type == "bf16"):
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    before, losses, seconds = memory("VmRSS:"), [step()], []
    peak = memory("VmHWM:")
    for _ in range(options.steps):
        start = time.perf_counter()
        losses.append(step())
        seconds.append(time.perf_counter() - start)
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}"
    print(json.dumps({"seconds": min(seconds) if seconds else None, "losses": losses, "resident_bytes": before, "peak_resident_bytes": peak,
                      "trained": sum(p.numel() for p in trained), "versions": versions}))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""One LoRA+ training step of a Llama in eager PyTorch, with LongLoRA's published attention scheme.

Written from the paper (arXiv 2309.12307, section 3.2 and algorithm 1) and from the published description of Llama, in the style of the usual eager
implementations: whole logits, materialised attention scores, autograd, torch.optim.AdamW. It reads the weights and tokens that
`longlora bench step --export-peer DIR` wrote, so its losses can be compared with ours. Needs PyTorch 1.13 or later, and nothing else.

Prints one JSON object: seconds of the shortest step, losses, resident bytes before the first step and at its peak. On a GPU (--device cuda) the
bytes are those of PyTorch's allocator there. --kernel sdpa takes scaled_dot_product_attention (flash attention on a GPU) in the place of the scores,
and --type bf16 computes in bfloat16 with trained weights in fp32.
"""
import argparse
import json
import os
import resource
import struct
import time

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils import checkpoint


def read_safetensors(path):
    """All tensors of a file, and its metadata."""
    types = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = bytearray(file.read())
    metadata = header.pop("__metadata__", {})
    view = memoryview(data)
    tensors = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        tensors[name] = torch.frombuffer(view[start:end], dtype=types[entry["dtype"]]).reshape(entry["shape"]).clone()
    return tensors, metadata


class RmsNorm(nn.Module):
    def __init__(self, weight, epsilon):
        super().__init__()
        self.weight, self.epsilon = nn.Parameter(weight), epsilon

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon))


class Linear(nn.Module):
    """A frozen matrix with an optional LoRA pair."""

    def __init__(self, tensors, name, scale):
        super().__init__()
        self.weight = nn.Parameter(tensors[name + ".weight"], requires_grad=False)
        self.scale = scale
        a, b = tensors.get(name + ".lora_A.weight"), tensors.get(name + ".lora_B.weight")
        self.lora_a = None if a is None else nn.Parameter(a)
        self.lora_b = None if b is None else nn.Parameter(b)

    def forward(self, x):
        y = F.linear(x, self.weight)
        return y if self.lora_a is None else y + self.scale * F.linear(F.linear(x, self.lora_a), self.lora_b)


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return x * cos + turned * sin


def scores_attention(q, k, v, mask):
    """softmax(q k^T / sqrt(K) + mask) v with the scores in memory; q, k, v [b, H, l, K]."""
    scores = torch.matmul(q, k.transpose(2, 3)) / q.shape[-1] ** 0.5 + mask
    return torch.matmul(F.softmax(scores, dim=-1, dtype=torch.float32), v)


def fused_attention(q, k, v, mask):
    """The same through the fused kernel, which needs no mask for plain causal attention."""
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def causal_mask(length):
    return torch.full((length, length), float("-inf")).triu_(1)


class Attention(nn.Module):
    def __init__(self, tensors, name, config, scale, kind, group):
        super().__init__()
        self.attend = fused_attention if config["kernel"] == "sdpa" else scores_attention
        self.q, self.k, self.v, self.o = (Linear(tensors, f"{name}.{p}_proj", scale) for p in "qkvo")
        self.heads, self.shared, self.size = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
        self.kind, self.group = kind, group

    def forward(self, x, cos, sin, masks):
        batch, length, _ = x.shape
        q = rotate(self.q(x).view(batch, length, self.heads, self.size).transpose(1, 2), cos, sin)
        k = rotate(self.k(x).view(batch, length, self.shared, self.size).transpose(1, 2), cos, sin)
        v = self.v(x).view(batch, length, self.shared, self.size).transpose(1, 2)
        if self.shared < self.heads:
            k, v = (t.repeat_interleave(self.heads // self.shared, dim=1) for t in (k, v))
        if self.kind == "full":
            out = self.attend(q, k, v, masks).transpose(1, 2)
        else:
            out = self.shifted(q, k, v, masks)
        return self.o(out.reshape(batch, length, self.heads * self.size))

    def shifted(self, q, k, v, masks):
        """Algorithm 1: roll half of the heads by half a group, attend in groups, roll back."""
        batch, heads, length, size = q.shape
        half, group = heads // 2, self.group
        count = length // group

        def to_groups(t):
            t = torch.cat((t[:, :half], t[:, half:].roll(-(group // 2), dims=2)), dim=1)
            return t.transpose(1, 2).reshape(batch * count, group, heads, size).transpose(1, 2)

        q, k, v = to_groups(q), to_groups(k), to_groups(v)
        out = self.attend(q, k, v, masks).transpose(1, 2).reshape(batch, length, heads, size)
        return torch.cat((out[:, :, :half], out[:, :, half:].roll(group // 2, dims=1)), dim=2)


class Block(nn.Module):
    def __init__(self, tensors, name, config, scale, kind, group):
        super().__init__()
        epsilon = config["rms_norm_eps"]
        self.attention_norm = RmsNorm(tensors[name + ".input_layernorm.weight"], epsilon)
        self.attention = Attention(tensors, name + ".self_attn", config, scale, kind, group)
        self.mlp_norm = RmsNorm(tensors[name + ".post_attention_layernorm.weight"], epsilon)
        self.gate, self.up, self.down = (Linear(tensors, f"{name}.mlp.{p}_proj", scale) for p in ("gate", "up", "down"))

    def forward(self, x, cos, sin, masks):
        x = x + self.attention(self.attention_norm(x), cos, sin, masks)
        y = self.mlp_norm(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Llama(nn.Module):
    def __init__(self, tensors, config, scale, kind, group, checkpointing):
        super().__init__()
        self.config, self.kind, self.group, self.checkpointing = config, kind, group, checkpointing
        self.embedding = nn.Parameter(tensors["model.embed_tokens.weight"])
        self.blocks = nn.ModuleList(Block(tensors, f"model.layers.{i}", config, scale, kind, group) for i in range(config["num_hidden_layers"]))
        self.norm = RmsNorm(tensors["model.norm.weight"], config["rms_norm_eps"])
        self.head = None if config.get("tie_word_embeddings") else Linear(tensors, "lm_head", scale)

    def tables(self, length):
        size = self.config["head_dim"]
        inverse = self.config["rope_theta"] ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
        angles = torch.outer(torch.arange(length, dtype=torch.float64), inverse)
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos().float(), angles.sin().float()

    def masks(self, length):
        if self.config["kernel"] == "sdpa":
            return None
        if self.kind == "full":
            return causal_mask(length)
        mask = causal_mask(self.group)
        if self.kind == "s2-roll" or length == self.group:
            return mask
        # Without the leak: in the last shifted group the tokens that the roll brought from the beginning do not see the end of the text.
        heads, half = self.config["num_attention_heads"], self.group // 2
        masks = mask.repeat(length // self.group, heads, 1, 1)
        masks[-1, heads // 2:, half:, :half] = float("-inf")
        return masks

    def forward(self, ids):
        x = F.embedding(ids, self.embedding)
        length = ids.shape[1]
        (cos, sin), masks = (t.to(x.device) for t in self.tables(length)), self.masks(length)
        masks = masks if masks is None else masks.to(x.device)
        for block in self.blocks:
            if self.checkpointing:
                x = checkpoint.checkpoint(block, x, cos, sin, masks, use_reentrant=True)
            else:
                x = block(x, cos, sin, masks)
        x = self.norm(x)
        return F.linear(x, self.embedding) if self.head is None else self.head(x)


def resident(field):
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith(field))


def limit_memory():
    """An allocation beyond what is free then fails here, instead of ending some other process."""
    with open("/proc/meminfo") as info:
        free = next(1024 * int(line.split()[1]) for line in info if line.startswith("MemAvailable"))
    used = resident("VmSize:")
    resource.setrlimit(resource.RLIMIT_AS, (used + int(0.95 * free), resource.RLIM_INFINITY))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="folder written by longlora bench step --export-peer")
    parser.add_argument("--context", type=int, required=True)
    parser.add_argument("--attention", choices=["full", "s2-roll", "s2-mask"], required=True,
                        help="s2-roll: as published; s2-mask: the same without the leak from the end of the text")
    parser.add_argument("--group-size", type=int, default=0, help="default: a quarter of the context")
    parser.add_argument("--steps", type=int, default=3, help="timed steps, after one that is not; 0 for the loss of the untimed one alone")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--checkpointing", action="store_true", help="recompute each block in the backward pass")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--kernel", choices=["scores", "sdpa"], default="scores")
    parser.add_argument("--type", choices=["f32", "bf16"], default="f32", help="bf16: frozen weights and products in bfloat16")
    options = parser.parse_args()
    if options.kernel == "sdpa" and options.attention == "s2-mask":
        parser.error("s2-mask needs --kernel scores")
    on_gpu = options.device.startswith("cuda")
    torch.set_num_threads(options.threads)
    if not on_gpu:
        limit_memory()

    tensors, metadata = read_safetensors(os.path.join(options.data, "step.safetensors"))
    with open(os.path.join(options.data, "config.json")) as file:
        config = json.load(file)
    config["kernel"] = options.kernel
    ids = tensors[f"input_ids.{options.context}"].to(options.device)
    group = options.group_size or options.context // 4
    if options.attention != "full" and options.context % group:
        parser.error(f"the published scheme needs a context that the group divides; {group} does not divide {options.context}")
    model = Llama(tensors, config, float(metadata["lora_scale"]), options.attention, group, options.checkpointing).to(options.device)
    del tensors
    if options.type == "bf16":
        for parameter in model.parameters():
            if not parameter.requires_grad:
                parameter.data = parameter.data.bfloat16()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=float(metadata["learning_rate"]), betas=(0.9, 0.95), eps=1e-8, weight_decay=0)

    def memory(field):
        if not on_gpu:
            return resident(field)
        return torch.cuda.memory_allocated() if field == "VmRSS:" else torch.cuda.max_memory_allocated()

    def step():
        with torch.autocast(options.device.split(":")[0], torch.bfloat16, enabled=options.type == "bf16"):
            logits = model(ids).float()
        loss = F.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        return loss.item()

    before, losses, seconds = memory("VmRSS:"), [], []
    try:
        losses.append(step())
        peak = memory("VmHWM:")
        for _ in range(options.steps):
            start = time.perf_counter()
            losses.append(step())
            seconds.append(time.perf_counter() - start)
    except (RuntimeError, MemoryError) as error:
        if "memory" not in str(error):
            raise
        print(json.dumps({"out_of_memory": True, "peak_resident_bytes": memory("VmHWM:")}))
        return
    print(json.dumps({"seconds": min(seconds) if seconds else None, "losses": losses, "resident_bytes": before, "peak_resident_bytes": peak,
                      "trained": sum(p.numel() for p in trained), "torch": torch.__version__}))


if __name__ == "__main__":
    main()

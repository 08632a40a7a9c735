"""Makes the files of this folder. Needs PyTorch alone (made with Debian 12's python3-torch 1.13): python3 make.py

odd.bin and odd_legacy.bin hold the same state dict in both forms of torch.save; odd.safetensors the values, as float64, written by hand.
llama_tiny/ is ../llama_tiny in float16 as old checkpoints have it: shards of pickles, rotary tables beside the weights.
tied/ is a model folder whose head is its embeddings, stored twice under two names.
longlora_pair/ is ../llama_tiny_lora as LongLoRA publishes adapters: adapter_model.bin, and trainable_params.bin with changed norms and embeddings and
one row more of them; trained.safetensors has the latter as float64.
"""
import collections, json, os, shutil, struct
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDENS = os.path.dirname(HERE)
CODES = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64, "I32": torch.int32}


def path(*parts):
    return os.path.join(HERE, *parts)


def read(file):
    """The tensors of a safetensors file."""
    data = open(file, "rb").read()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    out = {}
    for name, e in header.items():
        begin, end = e["data_offsets"]
        out[name] = torch.frombuffer(bytearray(data[8 + size + begin:8 + size + end]), dtype=CODES[e["dtype"]]).reshape(e["shape"])
    return out


def write_float64(file, tensors):
    """A safetensors file of float64, without a library."""
    header, blobs, at = {}, [], 0
    for name, t in tensors.items():
        blob = t.detach().to(torch.float64).contiguous().numpy().tobytes()
        header[name] = {"dtype": "F64", "shape": list(t.shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(file, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def odd():
    torch.manual_seed(0)
    base = torch.randn(6, 8)
    tensors = collections.OrderedDict()
    for kind in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        tensors["type." + str(kind)[6:]] = torch.randn(3, 5).to(kind)
    for kind in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        tensors["type." + str(kind)[6:]] = torch.arange(7).to(kind)
    tensors["type.bool"] = torch.tensor([True, False, True])
    tensors["whole"] = base
    tensors["alias"] = base
    tensors["rows"] = base[2:4]
    tensors["columns"] = base[:, 1:6:2]
    tensors["transposed"] = base.t()
    tensors["one column"] = base[:, 3:4]
    tensors["scalar"] = torch.tensor(3.25)
    tensors["nothing"] = torch.empty(0, 4)
    tensors["parameter"] = torch.nn.Parameter(torch.randn(2, 2))
    tensors["half.columns"] = torch.randn(4, 4).half().t()
    torch.save(tensors, path("odd.bin"))
    torch.save({"state_dict": tensors, "epoch": 3, "lr": [1e-3, {"a": None}], "dtype": torch.bfloat16, "size": torch.Size([2, 3])},
               path("odd_legacy.bin"), _use_new_zipfile_serialization=False)
    write_float64(path("odd.safetensors"), tensors)


def llama_tiny():
    os.makedirs(path("llama_tiny"), exist_ok=True)
    weights = read(os.path.join(GOLDENS, "llama_tiny", "model.safetensors"))
    names = sorted(weights)
    half = len(names) // 2
    shards, index = [names[:half], names[half:]], {}
    for i, shard in enumerate(shards):
        file = f"pytorch_model-{i + 1:05d}-of-00002.bin"
        tensors = collections.OrderedDict((n, torch.nn.Parameter(weights[n].half(), requires_grad=False)) for n in shard)
        if i == 1:
            tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
        tensors._metadata = collections.OrderedDict([("", {"version": 1})])
        torch.save(tensors, path("llama_tiny", file))
        index.update({n: file for n in tensors})
    with open(path("llama_tiny", "pytorch_model.bin.index.json"), "w") as f:
        json.dump({"metadata": {"total_size": sum(2 * t.numel() for t in weights.values())}, "weight_map": index}, f, indent=1)
    shutil.copy(os.path.join(GOLDENS, "llama_tiny", "config.json"), path("llama_tiny"))


def tied():
    os.makedirs(path("tied"), exist_ok=True)
    torch.manual_seed(2)
    table = torch.randn(16, 8)
    tensors = collections.OrderedDict({"model.embed_tokens.weight": table, "lm_head.weight": table, "model.norm.weight": torch.ones(8)})
    block = "model.layers.0."
    for name, size in {"self_attn.q_proj": (8, 8), "self_attn.k_proj": (4, 8), "self_attn.v_proj": (4, 8), "self_attn.o_proj": (8, 8),
                       "mlp.gate_proj": (12, 8), "mlp.up_proj": (12, 8), "mlp.down_proj": (8, 12)}.items():
        tensors[block + name + ".weight"] = torch.randn(size)
    tensors[block + "input_layernorm.weight"] = torch.ones(8)
    tensors[block + "post_attention_layernorm.weight"] = torch.ones(8)
    torch.save(tensors, path("tied", "pytorch_model.bin"))
    with open(path("tied", "config.json"), "w") as f:
        json.dump({"model_type": "llama", "vocab_size": 16, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2,
                   "num_key_value_heads": 1, "max_position_embeddings": 32, "tie_word_embeddings": True}, f, indent=1)


def longlora_pair():
    os.makedirs(path("longlora_pair"), exist_ok=True)
    adapter = read(os.path.join(GOLDENS, "llama_tiny_lora", "adapter_model.safetensors"))
    prefix = "base_model.model."
    torch.manual_seed(1)
    base = read(os.path.join(GOLDENS, "llama_tiny", "model.safetensors"))
    trained = collections.OrderedDict((n, t + 0.02 * torch.randn(t.shape)) for n, t in sorted(base.items()) if "norm" in n or "embed" in n)
    table = "model.embed_tokens.weight"
    trained[table] = torch.cat([trained[table], trained[table].mean(0, keepdim=True)])
    write_float64(path("longlora_pair", "trained.safetensors"), trained)
    torch.save(collections.OrderedDict((n, t) for n, t in adapter.items() if "lora_" in n), path("longlora_pair", "adapter_model.bin"))
    torch.save(trained, path("longlora_pair", "trainable_params.bin"))
    config = json.load(open(os.path.join(GOLDENS, "llama_tiny_lora", "adapter_config.json")))
    with open(path("longlora_pair", "adapter_config.json"), "w") as f:
        json.dump(config, f, indent=2)


odd()
llama_tiny()
tied()
longlora_pair()

#!/usr/bin/env python3
"""Makes the tiny models of every family and what they compute, slowly and obviously, in float64.

Needs PyTorch (Debian: python3-torch; any version) and nothing else:

    /usr/bin/python3 make_families.py            writes *_tiny/ beside this file (but not llama_tiny and neox_tiny, which are older)
    /usr/bin/python3 make_families.py --check    runs the same code on llama_tiny and neox_tiny, whose results come from another
                                                 implementation, and prints the largest differences

It shares nothing with the library: every position is turned by a whole rotation matrix, every head is computed alone, every mask is
written out pair by pair.
"""
import json, math, os, struct, sys
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
F64 = torch.float64


# ---- safetensors: 8 bytes of header length, a JSON header, the numbers ----

TYPES = {"F32": (torch.float32, "f", 4), "F64": (F64, "d", 8), "I64": (torch.int64, "q", 8)}


def read(path):
    with open(path, "rb") as file:
        data = file.read()
    (size,) = struct.unpack("<Q", data[:8])
    tensors = {}
    for name, entry in json.loads(data[8:8 + size]).items():
        if name == "__metadata__":
            continue
        kind, code, width = TYPES[entry["dtype"]]
        begin, end = entry["data_offsets"]
        numbers = struct.unpack("<%d%s" % ((end - begin) // width, code), data[8 + size + begin:8 + size + end])
        tensors[name] = torch.tensor(numbers, dtype=kind).reshape(entry["shape"])
    return tensors


def write(path, tensors):
    header, body = {}, b""
    for name, tensor in tensors.items():
        kind = next(k for k, v in TYPES.items() if v[0] == tensor.dtype)
        numbers = tensor.reshape(-1).tolist()
        begin = len(body)
        body += struct.pack("<%d%s" % (len(numbers), TYPES[kind][1]), *numbers)
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [begin, len(body)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + body)


# ---- pieces ----

def linear(w, name, x):
    y = torch.einsum("bti,oi->bto", x, w[name + ".weight"])
    return y + w[name + ".bias"] if name + ".bias" in w else y


def rms_norm(x, weight, epsilon):
    return x / torch.sqrt((x ** 2).mean(-1, keepdim=True) + epsilon) * weight


def layer_norm(x, weight, bias, epsilon):
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred ** 2).mean(-1, keepdim=True) + epsilon) * weight + bias


def gelu(x, kind):
    if kind == "gelu":
        return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def rotations(config, head, turned, length):
    """[length, head, head]: the matrix by which a head at each position is multiplied."""
    theta = config.get("rope_theta", config.get("rotary_emb_base", 10000.0))
    scaling = config.get("rope_scaling") or {"type": "none"}
    angles = [theta ** (-2.0 * i / turned) for i in range(turned // 2)]
    factor = 1.0
    if scaling["type"] == "linear":
        angles = [a / scaling["factor"] for a in angles]
    elif scaling["type"] == "longrope":
        original = config["original_max_position_embeddings"]
        divisors = scaling["long_factor" if length > original else "short_factor"]
        angles = [a / d for a, d in zip(angles, divisors)]
        factor = math.sqrt(1 + math.log(config["max_position_embeddings"] / original) / math.log(original))
    elif scaling["type"] != "none":
        raise ValueError(scaling["type"])
    matrices = torch.zeros(length, head, head, dtype=F64)
    for position in range(length):
        for i in range(turned, head):
            matrices[position, i, i] = 1
        for i, angle in enumerate(angles):
            j = i + turned // 2
            c, s = factor * math.cos(position * angle), factor * math.sin(position * angle)
            matrices[position, i, i], matrices[position, i, j] = c, -s
            matrices[position, j, i], matrices[position, j, j] = s, c
    return matrices


def visible(query, key, head, heads, group, window):
    """Whether a query may look at a key; group: that of shifted sparse attention, or None; window: tokens, or None."""
    if key > query or (window is not None and query - key >= window):
        return False
    if group is None:
        return True
    shift = 0 if head < heads // 2 else group // 2
    return (query + shift) // group == (key + shift) // group


def attention(q, k, v, group, window):
    """q: list of heads [B, T, K]; k, v: lists of fewer or as many."""
    length, outputs = q[0].shape[1], []
    for h, query in enumerate(q):
        shared = h * len(k) // len(q)
        mask = torch.tensor([[0.0 if visible(i, j, h, len(q), group, window) else -math.inf for j in range(length)] for i in range(length)], dtype=F64)
        scores = torch.einsum("bik,bjk->bij", query, k[shared]) / math.sqrt(query.shape[-1]) + mask
        weights = torch.exp(scores - scores.max(-1, keepdim=True).values)
        outputs.append(torch.einsum("bij,bjk->bik", weights / weights.sum(-1, keepdim=True), v[shared]))
    return torch.cat(outputs, -1)


def turn(heads, matrices):
    return [torch.einsum("tij,btj->bti", matrices, head) for head in heads]


def cut(x, size):
    return [x[..., i:i + size] for i in range(0, x.shape[-1], size)]


# ---- the families ----

def gated(config, w, x, layer, group):
    """Llama, Mistral, Qwen2, Qwen3, Phi-3."""
    family, name, eps = config["model_type"], "model.layers.%d." % layer, config["rms_norm_eps"]
    heads, shared = config["num_attention_heads"], config["num_key_value_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    h = rms_norm(x, w[name + "input_layernorm.weight"], eps)
    if family == "phi3":
        q, k, v = torch.split(linear(w, name + "self_attn.qkv_proj", h), [heads * size, shared * size, shared * size], -1)
    else:
        q, k, v = [linear(w, name + "self_attn.%s_proj" % c, h) for c in "qkv"]
    q, k, v = cut(q, size), cut(k, size), cut(v, size)
    if family == "qwen3":
        q = [rms_norm(head, w[name + "self_attn.q_norm.weight"], eps) for head in q]
        k = [rms_norm(head, w[name + "self_attn.k_norm.weight"], eps) for head in k]
    matrices = rotations(config, size, int(size * config.get("partial_rotary_factor", 1)), x.shape[1])
    window = config.get("sliding_window")
    if family.startswith("qwen") and not (config["use_sliding_window"] and layer >= config["max_window_layers"]):
        window = None
    x = x + linear(w, name + "self_attn.o_proj", attention(turn(q, matrices), turn(k, matrices), v, group, window))
    h = rms_norm(x, w[name + "post_attention_layernorm.weight"], eps)
    if family == "phi3":
        gate, up = torch.split(linear(w, name + "mlp.gate_up_proj", h), config["intermediate_size"], -1)
    else:
        gate, up = linear(w, name + "mlp.gate_proj", h), linear(w, name + "mlp.up_proj", h)
    return x + linear(w, name + "mlp.down_proj", gate / (1 + torch.exp(-gate)) * up)


def neox(config, w, x, layer, group):
    name, eps, size = "gpt_neox.layers.%d." % layer, config["layer_norm_eps"], config["hidden_size"] // config["num_attention_heads"]
    norm = lambda part, y: layer_norm(y, w[name + part + ".weight"], w[name + part + ".bias"], eps)
    parts = cut(linear(w, name + "attention.query_key_value", norm("input_layernorm", x)), size)  # q0 k0 v0 q1 k1 v1 ...
    matrices = rotations(config, size, int(size * config["rotary_pct"]), x.shape[1])
    attended = linear(w, name + "attention.dense", attention(turn(parts[0::3], matrices), turn(parts[1::3], matrices), parts[2::3], group, None))
    mlp = lambda y: linear(w, name + "mlp.dense_4h_to_h", gelu(linear(w, name + "mlp.dense_h_to_4h", norm("post_attention_layernorm", y)), config["hidden_act"]))
    return x + attended + mlp(x) if config["use_parallel_residual"] else x + attended + mlp(x + attended)


def logits(config, w, ids, group=None):
    is_neox = config["model_type"] == "gpt_neox"
    table = w["gpt_neox.embed_in.weight" if is_neox else "model.embed_tokens.weight"]
    x = table[ids]
    for layer in range(config["num_hidden_layers"]):
        x = (neox if is_neox else gated)(config, w, x, layer, group)
    if is_neox:
        x = layer_norm(x, w["gpt_neox.final_layer_norm.weight"], w["gpt_neox.final_layer_norm.bias"], config["layer_norm_eps"])
    else:
        x = rms_norm(x, w["model.norm.weight"], config["rms_norm_eps"])
    head = table if config.get("tie_word_embeddings") else w["embed_out.weight" if is_neox else "lm_head.weight"]
    return torch.einsum("bti,vi->btv", x, head)


def results(config, weights, ids, group=None):
    w = {name: value.to(F64).requires_grad_(True) for name, value in weights.items()}
    out = logits(config, w, ids, group)
    rows = out[:, :-1]
    chosen = rows.gather(-1, ids[:, 1:].unsqueeze(-1)).squeeze(-1)
    loss = (torch.logsumexp(rows, -1) - chosen).mean()
    loss.backward()
    return out.detach(), loss.detach(), {name: value.grad for name, value in w.items()}


# ---- the tiny models ----

def shapes(config):
    d, f, v, heads = config["hidden_size"], config["intermediate_size"], config["vocab_size"], config["num_attention_heads"]
    found = {}

    def layer(name, outputs, inputs, bias=False):
        found[name + ".weight"] = [outputs, inputs]
        if bias:
            found[name + ".bias"] = [outputs]

    def norm(name, size, bias=False):
        found[name + ".weight"] = [size]
        if bias:
            found[name + ".bias"] = [size]

    if config["model_type"] == "gpt_neox":
        layer("gpt_neox.embed_in", v, d)
        for i in range(config["num_hidden_layers"]):
            name = "gpt_neox.layers.%d." % i
            norm(name + "input_layernorm", d, True)
            layer(name + "attention.query_key_value", 3 * d, d, True)
            layer(name + "attention.dense", d, d, True)
            norm(name + "post_attention_layernorm", d, True)
            layer(name + "mlp.dense_h_to_4h", f, d, True)
            layer(name + "mlp.dense_4h_to_h", d, f, True)
        norm("gpt_neox.final_layer_norm", d, True)
        layer("embed_out", v, d)
        return found
    size, shared, family = config.get("head_dim") or d // heads, config["num_key_value_heads"], config["model_type"]
    layer("model.embed_tokens", v, d)
    for i in range(config["num_hidden_layers"]):
        name = "model.layers.%d." % i
        norm(name + "input_layernorm", d)
        if family == "phi3":
            layer(name + "self_attn.qkv_proj", (heads + 2 * shared) * size, d)
        else:
            layer(name + "self_attn.q_proj", heads * size, d, family == "qwen2")
            layer(name + "self_attn.k_proj", shared * size, d, family == "qwen2")
            layer(name + "self_attn.v_proj", shared * size, d, family == "qwen2")
        if family == "qwen3":
            norm(name + "self_attn.q_norm", size)
            norm(name + "self_attn.k_norm", size)
        layer(name + "self_attn.o_proj", d, heads * size)
        norm(name + "post_attention_layernorm", d)
        if family == "phi3":
            layer(name + "mlp.gate_up_proj", 2 * f, d)
        else:
            layer(name + "mlp.gate_proj", f, d)
            layer(name + "mlp.up_proj", f, d)
        layer(name + "mlp.down_proj", d, f)
    norm("model.norm", d)
    if not config["tie_word_embeddings"]:
        layer("lm_head", v, d)
    return found


LLAMA_LIKE = dict(vocab_size=48, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                  max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=10000.0, hidden_act="silu", tie_word_embeddings=False,
                  bos_token_id=1, eos_token_id=2, torch_dtype="float32")

MODELS = {
    "mistral_tiny": dict(LLAMA_LIKE, model_type="mistral", architectures=["MistralForCausalLM"], sliding_window=12),
    "qwen2_tiny": dict(LLAMA_LIKE, model_type="qwen2", architectures=["Qwen2ForCausalLM"], tie_word_embeddings=True, rope_theta=1000000.0,
                       use_sliding_window=True, sliding_window=11, max_window_layers=1, rms_norm_eps=1e-6),
    "qwen3_tiny": dict(LLAMA_LIKE, model_type="qwen3", architectures=["Qwen3ForCausalLM"], head_dim=12, attention_bias=False,
                       use_sliding_window=False, sliding_window=None, max_window_layers=2, rope_theta=1000000.0, rms_norm_eps=1e-6),
    "phi3_tiny": dict(LLAMA_LIKE, model_type="phi3", architectures=["Phi3ForCausalLM"], hidden_size=48, num_attention_heads=6, num_key_value_heads=3,
                      partial_rotary_factor=0.75, original_max_position_embeddings=16, sliding_window=None,
                      rope_scaling=dict(type="longrope", short_factor=[1.0, 1.1, 1.3], long_factor=[1.5, 2.5, 4.0])),
    "neox_serial_tiny": dict(model_type="gpt_neox", architectures=["GPTNeoXForCausalLM"], vocab_size=48, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                             num_attention_heads=4, max_position_embeddings=64, layer_norm_eps=1e-5, rotary_pct=0.5, rotary_emb_base=10000,
                             use_parallel_residual=False, hidden_act="gelu_fast", tie_word_embeddings=False, bos_token_id=0, eos_token_id=0,
                             torch_dtype="float32"),
}

LENGTH, GROUP = 40, 16


def make(name, config):
    folder = os.path.join(HERE, name)
    os.makedirs(folder, exist_ok=True)
    torch.manual_seed(sum(map(ord, name)))
    weights = {}
    for key, shape in shapes(config).items():
        numbers = torch.randn(shape, dtype=F64)
        if "norm" in key:
            numbers = numbers * 0.2 + (1 if key.endswith("weight") else 0)
        else:
            numbers = numbers * (0.3 if len(shape) > 1 else 0.5)
        weights[key] = numbers.float()
    ids = torch.randint(0, config["vocab_size"], [2, LENGTH])
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file, indent=1)
        file.write("\n")
    write(os.path.join(folder, "model.safetensors"), weights)
    cases = {"full": (ids, None), "s2_flash": (ids, GROUP)}
    if "original_max_position_embeddings" in config:
        cases["short"] = (ids[:, :config["original_max_position_embeddings"]], None)
    for case, (case_ids, group) in cases.items():
        out, loss, gradients = results(config, weights, case_ids, group)
        # Gradients of everything in layer 1, and of what lies outside the layers.
        kept = {"grad." + k: g.float() for k, g in gradients.items() if ".layers.0." not in k} if case != "short" else {}
        write(os.path.join(folder, case + ".safetensors"), {"input_ids": case_ids, "logits": out.float(), "loss": loss.reshape([]), **kept})
        print("%s %s: loss %.6f" % (name, case, loss))


def check(name, case, group):
    with open(os.path.join(HERE, name, "config.json")) as file:
        config = json.load(file)
    golden = read(os.path.join(HERE, name, case + ".safetensors"))
    out, loss, gradients = results(config, read(os.path.join(HERE, name, "model.safetensors")), golden["input_ids"], group)
    worst = max(float((gradients[k[5:]] - g).abs().max() / g.abs().max()) for k, g in golden.items() if k.startswith("grad."))
    print("%s %s: logits %.1e, loss %.1e, gradients (relative) %.1e"
          % (name, case, float((out - golden["logits"]).abs().max()), abs(float(loss) - float(golden["loss"])), worst))


if __name__ == "__main__":
    torch.set_num_threads(1)
    if "--check" in sys.argv:
        for model in ("llama_tiny", "neox_tiny"):
            check(model, "full", None)
            check(model, "s2_flash", GROUP)
    else:
        for model, shape in MODELS.items():
            make(model, shape)

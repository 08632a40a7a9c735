#!/usr/bin/env bash
# Runs what build/publish.sh made as on a machine without .NET: build/check-published.sh FOLDER [LIBTORCH]
# FOLDER has the program; LIBTORCH is the torch/lib folder of a PyTorch, unless the program has its own libtorch.
set -euo pipefail
export LC_ALL=C # times have a decimal point
[[ $# -ge 1 ]] || { sed -n '2,3p' "${BASH_SOURCE[0]}" | cut -c3- >&2; exit 2; }
program="$(cd "$1" && pwd)/longlora"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin"
# A PATH of a few programs only: no dotnet, and no folder that .NET is looked for in.
for name in env sh cat; do
    ln -s "$(command -v "$name")" "$work/bin/$name"
done
run() { env -i PATH="$work/bin" HOME="$work" TMPDIR="$work" OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}" ${libtorch:+LONGLORA_LIBTORCH="$libtorch"} "$program" "$@"; }
fail() { echo "FAILED: $1" >&2; exit 1; }
pass() { echo "passed: $1"; }
libtorch="${2:-}"

if env -i PATH="$work/bin" sh -c 'command -v dotnet' > /dev/null; then
    fail "this check would find a dotnet"
fi
[[ "$(find "$(dirname "$program")" -name '*coreclr*' | wc -l)" -gt 0 ]] || fail "the runtime is not beside the program"
run --version | grep -qE '^[0-9]+\.[0-9]+' || fail "--version"
pass "it starts without .NET: $(run --version)"

# The least processor time of several starts: what else runs here makes it longer, never shorter.
least() {
    local best=999 seen
    TIMEFORMAT='%U %S'
    run "$@" > /dev/null || fail "$*"
    for _ in 1 2 3 4 5; do
        seen="$( { time run "$@" > /dev/null 2>&1; } 2>&1 | awk '{ print $1 + $2 }')"
        best="$(awk -v a="$best" -v b="$seen" 'BEGIN { print (a < b ? a : b) }')"
    done
    echo "$best"
}
run data sdk-docs --every 100 --output "$work/docs.jsonl" > /dev/null || fail "the quickstart's text is not inside"
pass "the quickstart's text is inside: $(wc -l < "$work/docs.jsonl") of a hundred times as many documents"

seconds="$(least --version)"
awk -v s="$seconds" 'BEGIN { exit !(s < 0.2) }' || fail "--version takes $seconds s of processor time; 0.2 is the limit"
pass "--version takes $seconds s of processor time"

# Llama 2 70B in fourteen files of headers and holes.
number() { awk -v n="$1" 'BEGIN { for (i = 0; i < 8; i++) { printf "\\x%02x", n % 256; n = int(n / 256) } }'; }
make_seventy() {
    local layer file=0 offset=0 header="" names="" name shape rows columns
    mkdir "$work/70b"
    cat > "$work/70b/config.json" << 'JSON'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80,
 "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 32000, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
 "rope_theta": 10000.0, "torch_dtype": "bfloat16", "hidden_act": "silu", "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2}
JSON
    close_file() {
        header="{${header%,}}"
        { printf "$(number "${#header}")"; printf '%s' "$header"; } > "$work/70b/part-$file.safetensors"
        truncate -s "$((8 + ${#header} + offset))" "$work/70b/part-$file.safetensors"
        file=$((file + 1)) offset=0 header=""
    }
    add() { # name rows columns (0 for a vector)
        name="$1" rows="$2" columns="$3" shape="[$2]"
        local bytes=$((2 * rows))
        if [[ "$columns" -gt 0 ]]; then
            shape="[$rows,$columns]" bytes=$((2 * rows * columns))
        fi
        header+="\"$name\":{\"dtype\":\"BF16\",\"shape\":$shape,\"data_offsets\":[$offset,$((offset + bytes))]},"
        names+="\"$name\":\"part-$file.safetensors\","
        offset=$((offset + bytes))
    }
    add model.embed_tokens.weight 32000 8192
    for ((layer = 0; layer < 80; layer++)); do
        local at="model.layers.$layer"
        add "$at.self_attn.q_proj.weight" 8192 8192
        add "$at.self_attn.k_proj.weight" 1024 8192
        add "$at.self_attn.v_proj.weight" 1024 8192
        add "$at.self_attn.o_proj.weight" 8192 8192
        add "$at.mlp.gate_proj.weight" 28672 8192
        add "$at.mlp.up_proj.weight" 28672 8192
        add "$at.mlp.down_proj.weight" 8192 28672
        add "$at.input_layernorm.weight" 8192 0
        add "$at.post_attention_layernorm.weight" 8192 0
        if ((layer % 6 == 5)); then
            close_file
        fi
    done
    add model.norm.weight 8192 0
    add lm_head.weight 32000 8192
    close_file
    echo "{\"metadata\":{\"total_size\":137953296384},\"weight_map\":{${names%,}}}" > "$work/70b/model.safetensors.index.json"
}
make_seventy
run inspect "$work/70b" > "$work/inspect.txt" || fail "inspect: $(cat "$work/inspect.txt")"
grep -q '68.98 B' "$work/inspect.txt" || fail "inspect does not count the parameters of Llama 2 70B"
seconds="$(least inspect "$work/70b")"
awk -v s="$seconds" 'BEGIN { exit !(s < 1) }' || fail "inspect takes $seconds s of processor time; 1 is the limit"
pass "inspect of a 70B folder takes $seconds s of processor time"

# A PDF whose form calls itself ends the process that reads it. The program goes on only if that was a worker.
mkdir "$work/documents"
echo '<html><body><p>The lighthouse keeper counted the ships of the morning.</p></body></html>' > "$work/documents/a.html"
object() { printf '%s 0 obj\n%s\nendobj\n' "$1" "$2"; }
stream() { printf '<< %s /Length %s >>\nstream\n%s\nendstream' "$2" "${#1}" "$1"; }
{
    echo '%PDF-1.4'
    object 1 '<< /Type /Catalog /Pages 2 0 R >>'
    object 2 '<< /Type /Pages /Kids [3 0 R] /Count 1 >>'
    object 3 '<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /Contents 4 0 R /Resources << /XObject << /X 6 0 R >> /Font << /F1 5 0 R >> >> >>'
    object 4 "$(stream 'BT /F1 12 Tf 10 100 Td (Words) Tj ET /X Do' '')"
    object 5 '<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>'
    object 6 "$(stream '/X Do' '/Type /XObject /Subtype /Form /BBox [0 0 9 9]')"
    echo 'trailer << /Root 1 0 R /Size 7 >>'
    echo '%%EOF'
} > "$work/documents/b.pdf"

run prepare --data "$work/documents" --output "$work/corpus" --skip-unreadable > "$work/prepare.txt" 2>&1 || fail "prepare: $(cat "$work/prepare.txt")"
grep -q 'b\.pdf' "$work/prepare.txt" || fail "prepare does not name the PDF that ends its reader: $(cat "$work/prepare.txt")"
pass "documents are read in workers of the published program"

model="$(dirname "$program")/models/longlora-tiny"
run generate --model "$model" --prompt "The runtime" --max-tokens 8 > "$work/text.txt" 2>&1 || fail "generate: $(cat "$work/text.txt")"
pass "generate runs"

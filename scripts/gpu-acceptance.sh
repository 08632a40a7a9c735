#!/usr/bin/env bash
# Everything about a GPU in one call of less than nine minutes, and one Markdown page of it:
#   scripts/gpu-acceptance.sh --program DIR --tests DIR --libtorch DIR [--output PAGE.md]
#     --program DIR    the published program; --tests DIR the published tests (build/publish.sh --tests)
#     --libtorch DIR   the torch/lib folder of a PyTorch 2.10 or 2.11 with CUDA
#     --output FILE    the page (default gpu.md)
#     --device cpu     all parts, small, on the CPU: a test of this script (default cuda)
#     --python FILE    a Python with PyTorch, for the published attention in PyTorch beside ours (default: the one of --libtorch)
#     --seconds N      time for all parts but the real run (default 520)
#   The real run, last and only if both are given: from 8,192 to 32,768 tokens, perplexity and pass keys before and after
#     --model DIR      a model of 8,192 tokens, such as SmolLM2-135M-Instruct; --data PATH books
#     --real-seconds N time for it (default 1500)
# A part that fails or is cut off is said on the page, and the others go on. Ends with 1 if any part failed.
set -uo pipefail
here="$(cd -P "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
program="" tests="" libtorch="" output=gpu.md device=cuda python="" seconds=520 model="" data="" real_seconds=1500
usage() { echo "$1" >&2; sed -n '2,13p' "${BASH_SOURCE[0]}" | cut -c3- >&2; exit 2; }
while [[ $# -gt 0 ]]; do
    [[ $# -ge 2 ]] || usage "$1 needs a value."
    case "$1" in
        --program) program="$2" ;;
        --tests) tests="$2" ;;
        --libtorch) libtorch="$2" ;;
        --output) output="$2" ;;
        --device) device="$2" ;;
        --python) python="$2" ;;
        --seconds) seconds="$2" ;;
        --model) model="$2" ;;
        --data) data="$2" ;;
        --real-seconds) real_seconds="$2" ;;
        *) usage "There is no option $1." ;;
    esac
    shift 2
done
[[ -x "$program/longlora" ]] || usage "--program is '$program', which has no longlora."
[[ -x "$tests/LongLora.Tests" ]] || usage "--tests is '$tests', which has no LongLora.Tests."
[[ -f "$libtorch/libtorch_cpu.so" ]] || usage "--libtorch is '$libtorch', which has no libtorch_cpu.so."
case "$device" in cuda | cpu) ;; *) usage "--device is '$device'; it must be cuda or cpu." ;; esac
[[ -z "$model" || -d "$model" ]] || usage "--model is '$model', which is no folder."
[[ -z "$model" || -e "$data" ]] || usage "--data is '$data', which does not exist; the real run needs it."
: > "$output" || usage "--output is '$output', which cannot be written."
export LONGLORA_LIBTORCH="$libtorch" COLUMNS=160 NO_COLOR=1
if [[ "$device" == cpu ]]; then
    export CUDA_VISIBLE_DEVICES=""
fi
longlora="$program/longlora"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
end=$((SECONDS + seconds))
failed=0
started="$(date -u +%Y-%m-%dT%H:%MZ)"
summary="$work/summary.md" body="$work/body.md"
: > "$summary"
: > "$body"

# Runs one part with a limit of its own that the rest of the time may shorten: part NAME LIMIT COMMAND...
part() {
    local name="$1" limit="$2" left=$((end - SECONDS)) begun="$SECONDS" code verdict
    shift 2
    if ((limit > left)); then
        limit="$left"
    fi
    if ((limit < 5)); then
        verdict="not run: no time left"
        failed=1
    else
        timeout -k 10 "$limit" "$@" > "$work/part.txt" 2>&1
        code=$?
        case "$code" in
            0) verdict=passed ;;
            77) verdict="skipped: $(tail -1 "$work/part.txt")" ;;
            124) verdict="cut off after $limit s"; failed=1 ;;
            137) verdict="killed: it did not end after $limit s, or had no memory left"; failed=1 ;;
            *) verdict="**failed** with code $code"; failed=1 ;;
        esac
    fi
    echo "$name: $verdict ($((SECONDS - begun)) s)" >&2
    echo "| $name | $verdict | $((SECONDS - begun)) |" >> "$summary"
    if [[ "$verdict" != skipped* && "$verdict" != not\ run* ]]; then
        {
            printf '\n## %s\n\n`%s`\n\n```\n' "$name" "$(printf '%s ' "$@" | sed "s#$program/##g; s#$work#DIR#g; s#$tests/##g")"
            sed 's/\x1b\[[0-9;]*m//g; s/[[:space:]]*$//' "$work/part.txt" | grep -v '^$' | tail -60
            echo '```'
        } >> "$body"
    fi
}

# The tests run nothing where they find no GPU, which must not look like success.
run_tests() {
    "$tests/LongLora.Tests" -class "*CudaTests" > "$work/tests.txt" 2>&1
    local code=$?
    grep -vE '\[SKIP\]|^.{0,8} +there is no CUDA' "$work/tests.txt"
    [[ "$code" -eq 0 ]] || return "$code"
    if [[ "$device" == cuda ]] && grep -q 'there is no CUDA device' "$work/tests.txt"; then
        echo "The tests found no GPU."
        return 1
    fi
}

# The longest context of one step, to a sixteenth: doubling, then halving the gap. Each try is a process, because one that ran out of memory is no measure.
longest() {
    local name="$1" kind="$2" low="$3" high=0 most="$4" try
    fits() {
        "$longlora" bench step --device "$device" --model "$name" --quantization "$kind" --context "$1" --full false --steps 0 > "$work/try.txt" 2>&1
        local code=$?
        if [[ "$code" -eq 0 ]]; then
            echo "$1 tokens: fits, $(grep -oE '[0-9.,]+ [GM]iB' "$work/try.txt" | head -1)"
        else
            echo "$1 tokens: ends with code $code: $(grep -v '^$' "$work/try.txt" | tail -1 | cut -c1-160)"
        fi
        return "$code"
    }
    fits "$low" || return 1
    while ((high == 0)); do
        try=$((2 * low))
        if ((try > most)); then
            echo "longest that was tried: $low tokens"
            return 0
        fi
        if fits "$try"; then low="$try"; else high="$try"; fi
    done
    while ((high - low > low / 16)); do
        try=$(((low + high) / 2 / 256 * 256))
        if fits "$try"; then low="$try"; else high="$try"; fi
    done
    echo "longest: $low tokens"
}

# The same step in PyTorch with the published attention: weights and tokens are ours.
peer() {
    local contexts="$1" context kind
    local interpreter="$python"
    if [[ -z "$interpreter" ]]; then
        interpreter="$(cd -P "$libtorch/../../../../.." 2> /dev/null && pwd)/bin/python3"
    fi
    if ! "$interpreter" -c 'import torch' 2> /dev/null; then
        echo "'$interpreter' has no PyTorch; give --python"
        return 77
    fi
    "$longlora" bench step --device "$device" --model smollm2-135m --context "$contexts" --steps 3 --export-peer "$work/peer" || return 1
    for context in ${contexts//,/ }; do
        for kind in s2-roll full; do
            echo "PyTorch, $kind, scaled_dot_product_attention, checkpointing, bf16, $context tokens:"
            "$interpreter" "$here/../benchmarks/peer/peer.py" --data "$work/peer" --context "$context" --attention "$kind" --steps 3 \
                --device "$device" --kernel sdpa --type bf16 --checkpointing || return 1
        done
        echo "transformers and PEFT, full, bf16, $context tokens:"
        "$interpreter" "$here/../benchmarks/peer/peft_step.py" --data "$work/peer" --context "$context" --steps 3 --device "$device" --type bf16 ||
            [[ $? == 3 ]] || return 1
    done
}

real_run() {
    local run="$work/real" lengths="8192,16384,32768" steps=300 warmup=20 context=32768
    if [[ "$device" == cpu ]]; then
        lengths="512,1024" steps=2 warmup=1 context=1024
    fi
    local keys="${lengths##*,}"
    measure() {
        "$longlora" evaluate perplexity --device "$device" --model "$model" "$@" --data "$data" --lengths "$lengths" --max-tokens "$((4 * context))" --quiet &&
            "$longlora" evaluate passkey --device "$device" --model "$model" "$@" --lengths "$keys" --trials 10 --quiet
    }
    echo "before, rescaled but not trained:"
    measure --extend-to "$context" --rope-scaling yarn || return 1
    "$longlora" train --device "$device" --model "$model" --data "$data" --context "$context" --rope-scaling yarn --steps "$steps" \
        --warmup-steps "$warmup" --gradient-accumulation 1 --learning-rate 2e-4 --output "$run" --quiet || return 1
    echo "after $steps steps:"
    measure --adapter "$run/adapter"
}

export -f run_tests longest peer real_run
export longlora tests device work here python libtorch model data

describe() {
    "$longlora" --version
    if [[ "$device" == cuda ]]; then
        nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv || return 1
    fi
    lscpu | grep -E '^(Model name|CPU\(s\))'
    "$longlora" plan --device "$device" --model llama-2-7b --context 8192
}
export -f describe

if [[ "$device" == cuda ]]; then
    quick=() small=llama-3.2-1b large=llama-2-7b short=8192,32768 long=131072 start=65536 most=2097152 prompt=4096 peers=8192,32768 quickstart=120
else
    quick=(--factor 2 --steps 2 --trials 1) small="$program/models/longlora-tiny" large="$program/models/longlora-tiny" short=64,128 long=256 start=64 most=128 prompt=64 peers=128 quickstart=300
fi
part "The machine, and what fits" 40 bash -c describe
part "Tests against the CPU (CudaTests)" 120 bash -c run_tests
part "Quickstart" "$quickstart" "$longlora" quickstart --output "$work/quickstart" "${quick[@]}" --quiet
for kind in none nf4; do
    part "A step of ${small##*/}, $kind" 60 "$longlora" bench step --device "$device" --model "$small" --quantization "$kind" --context "$short" --steps 2 --quiet
done
for kind in none nf4; do
    part "A step of ${large##*/}, $kind" 90 "$longlora" bench step --device "$device" --model "$large" --quantization "$kind" --context "$short" --steps 1 --quiet
done
part "A long step of ${large##*/}, S² alone" 90 "$longlora" bench step --device "$device" --model "$large" --quantization nf4 --context "$long" --steps 0 --full false --quiet
part "Decode, ${large##*/}" 60 "$longlora" bench decode --device "$device" --model "$large" --context "$prompt" --tokens 32 --quiet
part "Decode, ${large##*/} in nf4" 60 "$longlora" bench decode --device "$device" --model "$large" --quantization nf4 --context "$prompt" --tokens 32 --quiet
part "The published attention in PyTorch" 120 bash -c 'peer "$1"' peer "$peers"
part "Longest context of ${large##*/} in nf4" 240 bash -c 'longest "$@"' longest "$large" nf4 "$start" "$most"
if [[ -n "$model" ]]; then
    end=$((SECONDS + real_seconds))
    part "A real run" "$real_seconds" bash -c real_run
fi

{
    echo "# On an NVIDIA GPU: $(if [[ "$device" == cuda ]]; then nvidia-smi --query-gpu=name --format=csv,noheader 2> /dev/null | head -1; else echo "none, a test on the CPU"; fi)"
    printf '\n%s, `scripts/gpu-acceptance.sh --device %s`, %s.\n' "$started" "$device" "$("$longlora" --version 2> /dev/null)"
    printf '\n| part | result | seconds |\n|---|---|---:|\n'
    cat "$summary"
    cat "$body"
} > "$output" || failed=1
echo "The page is $output." >&2
exit "$failed"

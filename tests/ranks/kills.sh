#!/usr/bin/env bash
# Runs a small training many times on 3 or 4 ranks, kills a random rank with -9 at a random moment, resumes on 3 ranks, and compares the
# adapter with that of one process. Build first: dotnet build src/LongLora.Cli -c Release
# Usage: kills.sh [RUNS] [SEED]
set -u
runs="${1:-20}"
RANDOM="${2:-1}"
export OMP_NUM_THREADS=1
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
program="${LONGLORA:-$root/src/LongLora.Cli/bin/Release/net10.0/LongLora.Cli}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cat "$root"/README.md "$root"/docs/*.md "$root"/docs/how-to/*.md > "$work/text.txt"

train() { # LAUNCHER RANKS OUTPUT MORE...
    local command=() launcher="$1" ranks="$2" output="$3"
    shift 3
    case "$launcher" in
        openmpi) command=(mpirun.openmpi --allow-run-as-root --oversubscribe --bind-to none -np "$ranks") ;;
        mpich) command=(mpirun.mpich -np "$ranks") ;;
    esac
    "${command[@]}" "$program" train --model "$root/models/longlora-tiny" --data "$work/text.txt" --context 512 --gradient-accumulation 6 \
        --steps 6 --save-every 1 --learning-rate 1e-3 --warmup-steps 2 --output "$output" --quiet "$@" < /dev/null > "$output.log" 2>&1
}

hash_of() { sha256sum "$1/adapter/adapter_model.safetensors" 2> /dev/null | cut -c 1-12; }

train none 1 "$work/one"
expected="$(hash_of "$work/one")"
echo "one process: $expected"
same=0
for ((run = 1; run <= runs; run++)); do
    launcher=$([[ $((RANDOM % 2)) == 0 ]] && echo openmpi || echo mpich)
    ranks=$((3 + RANDOM % 2))
    victim=$((RANDOM % ranks))
    steps=$((1 + RANDOM % 5))
    output="$work/run$run"
    train "$launcher" "$ranks" "$output" &
    job=$!
    # After so many steps, and a moment.
    while kill -0 "$job" 2> /dev/null && [[ "$(wc -l 2> /dev/null < "$output/metrics.jsonl" || echo 0)" -lt "$steps" ]]; do sleep 0.05; done
    sleep "0.$((RANDOM % 10))"
    pid="$(grep -A 3 "\"rank\": $victim," "$output/ranks.json" 2> /dev/null | grep -o '"pid": [0-9]*' | grep -o '[0-9]*')"
    [[ -n "$pid" ]] && kill -9 "$pid" 2> /dev/null && killed=yes || killed=no
    begin="$(date +%s.%N)"
    wait "$job"
    code=$?
    seconds="$(echo "$(date +%s.%N) - $begin" | bc)"
    done_steps="$(wc -l < "$output/metrics.jsonl")"
    train "$launcher" 3 "$output" --resume
    got="$(hash_of "$output")"
    [[ "$got" == "$expected" ]] && same=$((same + 1))
    printf '%2d %-8s ranks %d victim %d killed %-3s after step %d code %3d ended in %4.1f s  resumed: %s\n' "$run" "$launcher" "$ranks" "$victim" \
        "$killed" "$done_steps" "$code" "$seconds" "$got"
done
echo "$same of $runs have the hash of one process"
[[ "$same" == "$runs" ]]

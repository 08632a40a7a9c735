#!/usr/bin/env bash
# Kills training runs at random moments (kill -9), resumes each until it is done, and compares every byte of the result, the losses, and
# what is left behind with a run that was never interrupted: scripts/reliability/kill-train.sh [KILLS] [SEED] [PROGRAM]
# PROGRAM is LongLora.Cli.dll of a Release build; its default is the one of this clone. It needs bash, coreutils and jq.
set -uo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
wanted="${1:-100}"
RANDOM="${2:-1}"
program="${3:-$root/src/LongLora.Cli/bin/Release/net10.0/LongLora.Cli.dll}"
work="$(mktemp -d "${TMPDIR:-/tmp}/longlora-kill.XXXXXX")"
export OMP_NUM_THREADS=1 TMPDIR="$work/tmp" DOTNET_TieredPGO=0
mkdir -p "$work/tmp" "$work/data"
trap 'rm -rf "$work"' EXIT
head -c 60000 "$root/docs/how-to/serve.md" > "$work/data/0.txt"
cat "$root"/docs/how-to/*.md | head -c 120000 > "$work/data/1.txt"

base=(train --model "$root/tests/LongLora.Tests/Goldens/stories260K-hf" --data "$work/data" --steps 20 --gradient-accumulation 2
    --learning-rate 1e-3 --warmup-steps 3 --quiet)
declare -A extra=(
    [plain]="--context 512 --save-every 2"
    [offload]="--context 1024 --activation-offload disk --keep-checkpoints 1 --save-every 2"
    [full]="--context 512 --tuning full --save-every 1"
    [cache]="--context 1024 --token-cache $work/cache --keep-documents-apart --save-every 2"
    [nf4]="--context 512 --tuning lora --quantization nf4 --short-share 0.5 --save-every 3 --schedule cosine"
    [guard]="--context 512 --save-every 2 --skip-spikes 3"
)
# A version without an option leaves its configuration out.
names=()
for name in plain offload full cache nf4 guard; do
    [[ "$name" != guard ]] || dotnet "$program" train --help | grep -q -- --skip-spikes || continue
    names+=("$name")
done

digest() { (cd "$1" && find . -type f -exec sha256sum {} + | LC_ALL=C sort -k2 | sha256sum); }
losses() { jq -c '[.step, .loss, .gradient_norm]' "$1/metrics.jsonl" | sha256sum; }
result() { [[ -d "$1/model" ]] && echo "$1/model" || echo "$1/adapter"; }
listing() { (cd "$1" && find . -mindepth 1 -maxdepth 2 | LC_ALL=C sort); }
# shellcheck disable=SC2086
start() { exec dotnet "$program" "${base[@]}" ${extra[$1]} --output "$2" --resume; }

failures=0
fail() {
    failures=$((failures + 1))
    echo "FAILED: $*"
}

declare -A bytes numbers files seconds
for name in "${names[@]}"; do
    began=$(date +%s%N)
    (start "$name" "$work/reference-$name") > /dev/null 2> "$work/error" || { cat "$work/error"; exit 1; }
    seconds[$name]=$((($(date +%s%N) - began) / 1000000))
    bytes[$name]="$(digest "$(result "$work/reference-$name")")"
    numbers[$name]="$(losses "$work/reference-$name")"
    files[$name]="$(listing "$work/reference-$name")"
    rm -rf "$work/cache"
    echo "$name: reference in ${seconds[$name]} ms"
done

kills=0
completed=0
while ((kills < wanted)); do
    name="${names[completed % ${#names[@]}]}"
    out="$work/run"
    rm -rf "$out" "$work/cache"
    for ((try = 1; ; try++)); do
        (start "$name" "$out") > "$work/output" 2> "$work/error" &
        process=$!
        # Anywhere between the first instant and a little before the usual end, so that some runs end by themselves.
        if ((try < 16)); then
            span=$((seconds[$name] * 9 / 10))
            limit=$((200 + (RANDOM * 32768 + RANDOM) % (span > 400 ? span : 400)))
            ended=$(($(date +%s%N) / 1000000 + limit))
            while kill -0 "$process" 2> /dev/null && (($(date +%s%N) / 1000000 < ended)); do sleep 0.02; done
        fi
        if ((try < 16)) && kill -9 "$process" 2> /dev/null; then
            wait "$process" 2> /dev/null
            kills=$((kills + 1))
            left="$(find "$work/tmp" -name '*longlora*' | head -3)"
            [[ -z "$left" ]] || fail "$name: left after a kill: $left"
            continue
        fi
        wait "$process"
        code=$?
        break
    done
    completed=$((completed + 1))
    if ((code != 0)); then
        fail "$name: exit code $code: $(head -c 500 "$work/error")"
        continue
    fi
    [[ "$(digest "$(result "$out")")" == "${bytes[$name]}" ]] || fail "$name: other bytes after $try tries"
    [[ "$(losses "$out")" == "${numbers[$name]}" ]] || fail "$name: other losses after $try tries"
    [[ "$(listing "$out")" == "${files[$name]}" ]] || fail "$name: other files: $(diff <(listing "$out") <(echo "${files[$name]}") | head -5)"
    left="$(find "$work/cache" -type f ! -name '*.tokens' 2> /dev/null | head -3)"
    [[ -z "$left" ]] || fail "$name: left in the cache: $left"
    ((completed % 10 != 0)) || echo "$kills kills, $completed runs completed, $failures failures"
done
echo "$kills kills, $completed runs completed, $failures failures"
((failures == 0))

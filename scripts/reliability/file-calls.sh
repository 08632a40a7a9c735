#!/usr/bin/env bash
# Kills a command at every file-changing system call of its main thread, or lets that call fail, one run each, and runs it again to the end:
# scripts/reliability/file-calls.sh kill|error [COMMAND...]
# Each time: exit code 0, 2 or 3 without an internal error; the second run ends with the bytes of an undisturbed one; nothing is left over.
# COMMAND is train, full, merge, gguf, shards, pytorch, quantize or prepare; all by default. It needs strace and a Release build.
set -uo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
mode="${1:?kill or error}"
shift
commands=("$@")
[[ $# -gt 0 ]] || commands=(train full merge gguf shards pytorch quantize prepare)
program="$root/src/LongLora.Cli/bin/Release/net10.0/LongLora.Cli.dll"
model="$root/tests/LongLora.Tests/Goldens/stories260K-hf"
work="$(mktemp -d "${TMPDIR:-/tmp}/longlora-calls.XXXXXX")"
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1 TMPDIR="$work/tmp" DOTNET_EnableDiagnostics=0 DOTNET_TieredPGO=0
mkdir -p "$work/tmp"
cat "$root"/docs/how-to/*.md | head -c 40000 > "$work/text.txt"
declare -A errors=([pwrite64]=ENOSPC [rename]=EACCES [fsync]=EIO [mkdir]=ENOSPC [unlink]=EACCES [rmdir]=EACCES [ftruncate]=EIO)

train=(train --model "$model" --data "$work/text.txt" --context 512 --gradient-accumulation 1 --keep-checkpoints 1 --quiet)
dotnet "$program" "${train[@]}" --steps 2 --output "$work/tuned" > "$work/log" 2>&1 || { cat "$work/log"; exit 1; }

# Sets "arguments" of a command that writes to $1, and "result", whose bytes are compared.
describe() {
    result="$2"
    case "$1" in
        train) arguments=("${train[@]}" --steps 4 --save-every 2 --token-cache "$2-cache" --output "$2" --resume) result="$2/adapter" ;;
        full) arguments=("${train[@]}" --steps 2 --save-every 1 --tuning full --activation-offload disk --output "$2" --resume) result="$2/model" ;;
        merge) arguments=(merge --model "$model" --adapter "$work/tuned/adapter" --output "$2") ;;
        gguf) arguments=(export gguf --model "$model" --type q8_0 --output "$2") ;;
        shards) arguments=(export safetensors --model "$root/models/longlora-tiny" --shard-size 2MB --type bf16 --output "$2") ;;
        pytorch) arguments=(export pytorch --model "$model" --output "$2") ;;
        quantize) arguments=(quantize --model "$model" --quantization int8 --output "$2") ;;
        prepare) arguments=(prepare --data "$work/text.txt" --model "$model" --output "$2") ;;
        *) echo "Unknown command '$1'."; exit 2 ;;
    esac
}

digest() { (cd "$(dirname "$1")" && find "$(basename "$1")" -type f -exec sha256sum {} + | sed "s| $(basename "$1")| .|" | sort -k 2 | sha256sum); }

points=0 failures=0
fail() {
    echo "FAILED: $command, $call $k: $1"
    failures=$((failures + 1))
}
for command in "${commands[@]}"; do
    rm -rf "$work"/whole*
    describe "$command" "$work/whole"
    strace -f -qq -o "$work/trace" -e "trace=$(IFS=,; echo "${!errors[*]}")" dotnet "$program" "${arguments[@]}" > "$work/log" 2>&1 ||
        { cat "$work/log"; exit 1; }
    expected="$(digest "$result")"
    main="$(head -n 1 "$work/trace" | cut -d ' ' -f 1)"
    describe "$command" "$work/out"
    before="$points"
    for call in "${!errors[@]}"; do
        count="$(grep -c "^$main  *$call(" "$work/trace")"
        for ((k = 1; k <= count; k += count > 40 ? 3 : 1)); do
            rm -rf "$work"/out*
            [[ "$mode" == kill ]] && what="signal=KILL" || what="error=${errors[$call]}"
            # In a group, so that the shell does not report kills.
            {
                strace -f -qq -o /dev/null -e "trace=$call" -e "inject=$call:$what:when=$k" dotnet "$program" "${arguments[@]}" > "$work/log" 2>&1
                code=$?
            } 2> /dev/null
            points=$((points + 1))
            if [[ "$mode" == error ]]; then
                [[ "$code" == [023] ]] || fail "exit code $code: $(head -n 1 "$work/log")"
                ! grep -q "Internal" "$work/log" || fail "$(grep -m 1 Internal "$work/log")"
            fi
            if [[ -e "$result" && "$command" != train && "$command" != full && "$command" != prepare ]]; then
                [[ "$(digest "$result")" == "$expected" ]] || fail "a part stands under the final name"
                continue
            fi
            dotnet "$program" "${arguments[@]}" > "$work/log" 2>&1 || { fail "the run after it: $(tail -n 1 "$work/log")"; continue; }
            [[ "$(digest "$result")" == "$expected" ]] || fail "the run after it has other bytes"
            left="$(find "$work" -path "$work/whole*" -prune -o \( -name '*.partial-*' -o -name '*.old-*' -o -path "$work/tmp/*" \) -print)"
            [[ -z "$left" ]] || fail "left over: $left"
        done
    done
    echo "$command: $((points - before)) points"
done
echo "$points points, $failures failures"
[[ "$failures" == 0 ]]

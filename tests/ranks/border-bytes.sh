#!/bin/bash
# Bytes that two hosts (network namespaces) send each other for one pass over a divided text, at two lengths with the same attention group,
# beside those of the plan. Needs root, ip and Open MPI.
# border-bytes.sh MODEL DATA PROGRAM...   such as: border-bytes.sh stories260K-hf train.bin dotnet LongLora.Cli.dll
set -euo pipefail
model=$(realpath "$1"); data=$(realpath "$2"); shift 2
export OMP_NUM_THREADS=1
source "$(dirname "${BASH_SOURCE[0]}")/two-hosts.sh"
make_hosts lb 10.79.0

count() { for host in $left $right; do ip netns exec $host cat /sys/class/net/veth0/statistics/tx_bytes; done | paste -sd+ | bc; }

# run CONTEXT MICRO-BATCHES: bytes of a run of one step
run() {
  local before; before=$(count)
  "${on_hosts[@]}" "${program[@]}" \
    train --model "$model" --data "$data" --device cpu --group-size 512 --sequence-parallel 2 --steps 1 --check-memory false \
    --context "$1" --gradient-accumulation "$2" --token-cache "$folder/tokens-$1" --output "$folder/run-$1-$2" > "$folder/log" 2>&1 || { cat "$folder/log" >&2; return 1; }
  echo $(($(count) - before))
}

program=("$@")
for context in 2048 8192; do
  "${program[@]}" plan --model "$model" --device cpu --group-size 512 --sequence-parallel 2 --context $context --rate 1 \
    --json "$folder/plan.json" > /dev/null
  planned=$(grep -o '"border_\(right\|left\)_bytes":[0-9]*' "$folder/plan.json" | cut -d: -f2 | paste -sd+ | bc)
  few=$(run $context 1); many=$(run $context 9)
  pass=$(((many - few) / 8))
  echo "$context tokens: $pass bytes for a pass on the wire, $planned planned, $(echo "scale=4; $pass / $planned" | bc)"
done

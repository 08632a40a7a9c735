#!/usr/bin/env bash
# One training step of ours, of an eager PyTorch model with LongLoRA's published attention, and of PEFT where it is installed, in one run:
#   benchmarks/peer/run.sh 4096 8192
# Same shape, weights, tokens, trainables and optimizer; one process a measurement, one after the other.
#   THREADS=2 STEPS=3        threads of both; timed steps after an untimed one
#   PYTHON=/usr/bin/python3  an interpreter with PyTorch
#   PEER_FLAGS=              --checkpointing lets the peer recompute its blocks, as ours does
#   KEEP=DIR                 keep weights and raw results there, in a new or empty folder
set -euo pipefail
here="$(cd -P "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
[[ $# -gt 0 ]] || { sed -n '2,9p' "${BASH_SOURCE[0]}" | cut -c3- >&2; exit 2; }
threads="${THREADS:-2}" steps="${STEPS:-3}" python="${PYTHON:-/usr/bin/python3}"
export OMP_NUM_THREADS="$threads"
"$python" -c 'import torch' || { echo "$python has no PyTorch: install python3-torch, or set PYTHON." >&2; exit 1; }

folder="${KEEP:-}"
if [[ -z "$folder" ]]; then
    folder="$(mktemp -d)"
    trap 'rm -rf "$folder"' EXIT
fi
mkdir -p "$folder"
contexts="$(IFS=,; echo "$*")"
"$here/../../longlora" bench step --context "$contexts" --steps "$steps" --export-peer "$folder" --json "$folder/step.json"

peer() { # context attention steps
    # shellcheck disable=SC2086
    "$python" "$here/peer.py" --data "$folder" --context "$1" --attention "$2" --steps "$3" --threads "$threads" ${PEER_FLAGS:-} > "$folder/peer.$1.$2.json"
}
for context in "$@"; do
    peer "$context" s2-roll "$steps"
    peer "$context" s2-mask 1 # for its losses: the published roll looks into the future
    peer "$context" full "$steps"
    # As most people would take it, where transformers and PEFT are there.
    code=0
    "$python" "$here/peft_step.py" --data "$folder" --context "$context" --steps "$steps" --threads "$threads" > "$folder/peer.$context.peft.json" || code=$?
    if ((code != 0)); then
        rm -f "$folder/peer.$context.peft.json"
        ((code == 3)) || exit "$code"
    fi
done
"$python" "$here/compare.py" "$folder" "$@"

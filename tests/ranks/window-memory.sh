#!/bin/bash
# Memory that one window takes on each rank, beyond the model, where 1, 2 and 4 ranks share it. Needs Open MPI and the built tests.
# window-memory.sh MODEL TOKENS [TESTS]   such as: window-memory.sh models/longlora-tiny 32768
set -euo pipefail
model=$(realpath "$1"); tokens=$2
tests=${3:-$(dirname "${BASH_SOURCE[0]}")/../LongLora.Tests/bin/Release/net10.0/LongLora.Tests}
export OMP_NUM_THREADS=1
for ranks in 1 2 4; do
  echo "P = $ranks"
  mpirun.openmpi --allow-run-as-root --oversubscribe --bind-to none -np $ranks "$tests" --rank "memory $model $tokens"
done

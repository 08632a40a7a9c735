#!/usr/bin/env bash
# What becomes of a job of three ranks when something happens to one of them, under both launchers: prints the message, the exit code, the
# seconds from the fault to the end, and how many processes are left. Build the tests first: dotnet build tests/LongLora.Tests -c Release
set -u
export OMP_NUM_THREADS=1
program="$(dirname "${BASH_SOURCE[0]}")/../LongLora.Tests/bin/Release/net10.0/LongLora.Tests"

printf '%-8s %-8s %4s %8s %5s  %s\n' launcher fault code seconds left message
for fault in "kill 2" "kill 0" "stop 2" "stop 0" "hang 2" "hang 0" "throw 2" "throw 0" "throw" "part 1" "slow 1"; do
    for launcher in openmpi mpich; do
        [[ $launcher == openmpi ]] && options=(--allow-run-as-root --oversubscribe --bind-to none) || options=()
        log="$(mktemp)"
        timeout -k 5 120 "mpirun.$launcher" "${options[@]}" -np 3 "$program" --rank "$fault" < /dev/null 2>&1 |
            while IFS= read -r line; do printf '%s %s\n' "$(date +%s.%N)" "$line"; done > "$log"
        code="${PIPESTATUS[0]}"
        end="$(date +%s.%N)"
        begin="$(grep -m 1 ': now ' "$log" | cut -d ' ' -f 1)"
        message="$(grep -m 1 -E 'The job is ended|a bad file|noticed that|EXIT STRING' "$log" | cut -d ' ' -f 2- | cut -c 1-110)"
        sleep 2 # a stopped process is killed, and its launcher may still have to take notice
        left=0
        for pid in $(grep -o 'pid [0-9]*' "$log" | cut -d ' ' -f 2); do
            grep -q LongLora "/proc/$pid/comm" 2> /dev/null && left=$((left + 1))
        done
        printf '%-8s %-8s %4d %8.1f %5d  %s\n' "$launcher" "$fault" "$code" "$(echo "$end - ${begin:-$end}" | bc)" "$left" "$message"
        rm -f "$log"
    done
done

#!/usr/bin/env bash
# A job on two hosts (network namespaces) whose link is set down: prints what each host says, and the seconds from the cut to the end of
# the ranks on both hosts and of the launcher; fails unless all end within 15 seconds and the lost rank is named. Needs root, ip and Open MPI.
# link-down.sh [PROGRAM]: the program of the tests. RETRIES sets how often Linux sends a message again before it gives up a connection.
set -u
export OMP_NUM_THREADS=1
program="${1:-$(dirname "${BASH_SOURCE[0]}")/../LongLora.Tests/bin/Release/net10.0/LongLora.Tests}"
program="$(realpath "$program")"
source "$(dirname "${BASH_SOURCE[0]}")/two-hosts.sh"
make_hosts ld 10.80.0
# mpirun's own connection has unconfirmed messages, for which Linux tries 15 minutes by default.
for host in "$left" "$right"; do ip netns exec "$host" sysctl -qw net.ipv4.tcp_retries2="${RETRIES:-4}"; done

# What the ranks print over there does not come over a cut link, so each writes to a file of its own.
cat > "$folder/rank.sh" << RANK
#!/bin/bash
echo \$\$ > "$folder/pid.\$OMPI_COMM_WORLD_RANK"
exec "$program" --rank "link 1" 2> "$folder/rank.\$OMPI_COMM_WORLD_RANK"
RANK
chmod +x "$folder/rank.sh"

# As docs/how-to/many-ranks.md says, so that mpirun itself notices it too.
"${on_hosts[@]}" --mca oob_tcp_keepalive_time 5 --mca oob_tcp_keepalive_intvl 2 --mca oob_tcp_keepalive_probes 3 "$folder/rank.sh" \
    < /dev/null > "$folder/log" 2>&1 &
job=$!
for ((i = 0; i < 600; i++)); do
    grep -q ': now link' "$folder/rank.1" 2> /dev/null && break
    sleep 0.1
done
begin="$(date +%s.%N)"
ip -n "$left" link set veth0 down
seconds() { echo "$(date +%s.%N) - $begin" | bc; }
is_alive() { [[ -e "/proc/$1" ]] && ! grep -q ') Z ' "/proc/$1/stat" 2> /dev/null; }
declare -A ended=()
pids=([0]="$(cat "$folder/pid.0")" [1]="$(cat "$folder/pid.1")" [2]="$job")
for ((i = 0; i < 300 && ${#ended[@]} < 3; i++)); do
    for who in 0 1 2; do
        [[ -z "${ended[$who]:-}" ]] && ! is_alive "${pids[$who]}" && ended[$who]="$(seconds)"
    done
    sleep 0.1
done
code=none
[[ -n "${ended[2]:-}" ]] && { wait "$job"; code=$?; }
for who in 0 1; do
    printf 'rank %d ended after %s s: %s\n' "$who" "${ended[$who]:-more than 30}" "$(grep -m 1 'The job is ended' "$folder/rank.$who" | cut -c 1-160)"
done
printf 'mpirun ended after %s s with exit code %s\n' "${ended[2]:-more than 30}" "$code"
for who in 0 1 2; do is_alive "${pids[$who]}" && kill -9 "${pids[$who]}"; done 2> /dev/null
awk -v a="${ended[0]:-99}" -v b="${ended[1]:-99}" -v c="${ended[2]:-99}" 'BEGIN { exit !(a < 15 && b < 15 && c < 15) }' && grep -q 'rank [01] (ld' "$folder/rank.0"

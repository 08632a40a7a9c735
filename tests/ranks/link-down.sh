#!/usr/bin/env bash
# A job on two hosts (network namespaces) whose link is set down: prints what each host says, and the seconds from the cut to the end of
# the ranks on both hosts and of the launcher; fails unless all end within 15 seconds and the lost rank is named. Needs root, ip and Open MPI.
# link-down.sh [PROGRAM]: the program of the tests. RETRIES sets how often Linux sends a message again before it gives up a connection.
set -u
export OMP_NUM_THREADS=1
program="${1:-$(dirname "${BASH_SOURCE[0]}")/../LongLora.Tests/bin/Release/net10.0/LongLora.Tests}"
program="$(realpath "$program")"
folder="$(mktemp -d)"
left="ldA$$" right="ldB$$" net=10.80.0
finish() {
    ip netns del "$left"
    ip netns del "$right"
    rm -rf "$folder"
}
trap finish EXIT

for host in "$left" "$right"; do ip netns add "$host" && ip -n "$host" link set lo up || exit 1; done
ip link add veth0 netns "$left" type veth peer name veth0 netns "$right"
ip -n "$left" addr add "$net.1/24" dev veth0
ip -n "$right" addr add "$net.2/24" dev veth0
for host in "$left" "$right"; do
    ip -n "$host" link set veth0 up
    # mpirun's own connection has unconfirmed messages, for which Linux tries 15 minutes by default.
    ip netns exec "$host" sysctl -qw net.ipv4.tcp_retries2="${RETRIES:-4}"
done
cat > "$folder/agent.sh" << AGENT
#!/bin/bash
host=\$1; shift
case \$host in $net.1) space=$left;; *) space=$right;; esac
exec ip netns exec \$space unshare --uts bash -c "hostname \$space; \$*"
AGENT
chmod +x "$folder/agent.sh"

# What the ranks print over there does not come over a cut link, so each writes to a file of its own.
cat > "$folder/rank.sh" << RANK
#!/bin/bash
echo \$\$ > "$folder/pid.\$OMPI_COMM_WORLD_RANK"
exec "$program" --rank "link 1" 2> "$folder/rank.\$OMPI_COMM_WORLD_RANK"
RANK
chmod +x "$folder/rank.sh"

# As docs/how-to/many-ranks.md says, so that mpirun itself notices it too.
ip netns exec "$left" unshare --uts bash -c "hostname $left; export TERM=dumb; exec mpirun.openmpi \"\$@\"" x \
    --allow-run-as-root --mca plm_rsh_agent "$folder/agent.sh" --mca oob_tcp_if_include "$net.0/24" --mca btl tcp,self \
    --mca btl_tcp_if_include "$net.0/24" --mca pml ob1 --mca oob_tcp_keepalive_time 5 --mca oob_tcp_keepalive_intvl 2 \
    --mca oob_tcp_keepalive_probes 3 --bind-to none -x OMP_NUM_THREADS --host "$net.1:1,$net.2:1" -np 2 "$folder/rank.sh" \
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

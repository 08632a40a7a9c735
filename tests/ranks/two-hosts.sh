# Sourced by the scripts beside it: two hosts (network namespaces) with a link, and a job of one rank on each. Needs root, ip and Open MPI.
# make_hosts NAME NET: sets left, right and net; folder, which goes with the hosts when the script ends; and on_hosts, the command that
# runs a program on both, to be followed by more options of mpirun and the program.
make_hosts() {
    folder="$(mktemp -d)" left="$1A$$" right="$1B$$" net="$2"
    trap remove_hosts EXIT
    local host
    for host in "$left" "$right"; do ip netns add "$host" && ip -n "$host" link set lo up || exit 1; done
    ip link add veth0 netns "$left" type veth peer name veth0 netns "$right"
    ip -n "$left" addr add "$net.1/24" dev veth0
    ip -n "$right" addr add "$net.2/24" dev veth0
    for host in "$left" "$right"; do ip -n "$host" link set veth0 up; done
    cat > "$folder/agent.sh" << AGENT
#!/bin/bash
host=\$1; shift
case \$host in $net.1) space=$left;; *) space=$right;; esac
exec ip netns exec \$space unshare --uts bash -c "hostname \$space; \$*"
AGENT
    chmod +x "$folder/agent.sh"
    on_hosts=(
        ip netns exec "$left" unshare --uts bash -c "hostname $left; export TERM=dumb; exec mpirun.openmpi \"\$@\"" x
        --allow-run-as-root --mca plm_rsh_agent "$folder/agent.sh" --mca oob_tcp_if_include "$net.0/24" --mca btl tcp,self
        --mca btl_tcp_if_include "$net.0/24" --mca pml ob1 --bind-to none -x OMP_NUM_THREADS --host "$net.1:1,$net.2:1" -np 2
    )
}

remove_hosts() {
    ip netns del "$left" || true
    ip netns del "$right" || true
    rm -rf "$folder"
}

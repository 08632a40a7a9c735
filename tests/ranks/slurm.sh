#!/usr/bin/env bash
# A small training under Slurm, on a cluster of two hosts (network namespaces) with four tasks: with PMIx and Open MPI, and with PMI2 and
# MPICH; with a rank killed, with the signal of --signal=USR1, with a batch script that goes on in another start, with tasks that do not
# know each other, and with a host whose link is set down. Prints what came out; fails unless all adapters are those of one process.
# KEEP=FOLDER keeps the logs there.
# Needs root and the Debian packages slurm-wlm, munge, libpmix-dev, openmpi-bin, mpich, iproute2 and bc.
# Build first: dotnet build src/LongLora.Cli -c Release
set -u
export OMP_NUM_THREADS=1
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
program="${LONGLORA:-$root/src/LongLora.Cli/bin/Release/net10.0/LongLora.Cli}"
source "$here/two-hosts.sh"
make_hosts sl 10.90.0
failed=0

# The cluster: one munged, the controller on the left host, and a slurmd on each, with a folder for PMIx of its own.
end_cluster() {
    local pid
    for pid in $(cat "$folder"/*.pid 2> /dev/null); do kill "$pid" 2> /dev/null; done
    sleep 1
    remove_hosts
}
trap end_cluster EXIT
chmod 755 "$folder"
mkdir -p "$folder"/{state,spool/"$left",spool/"$right",pmix}
dd if=/dev/urandom of="$folder/munge.key" bs=1 count=1024 status=none
chmod 400 "$folder/munge.key"
munged --force --socket="$folder/munge" --key-file="$folder/munge.key" --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" \
    --seed-file="$folder/munge.seed" || exit 1
cat > "$folder/cgroup.conf" << CONF
CgroupAutomount=no
IgnoreSystemd=yes
CgroupPlugin=cgroup/v1
CONF
cat > "$folder/slurm.conf" << CONF
ClusterName=test
SlurmctldHost=$left($net.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd-%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd-%n.log
TmpFS=$folder/pmix
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1
ReturnToService=2
SlurmdTimeout=300
SlurmdParameters=config_overrides
NodeName=$left NodeAddr=$net.1 CPUs=4
NodeName=$right NodeAddr=$net.2 CPUs=4
PartitionName=main Nodes=ALL Default=YES State=UP
CONF
on() { # HOST PROGRAM...: on that host, with its own name
    local host="$1"
    shift
    SLURM_CONF="$folder/slurm.conf" ip netns exec "$host" unshare --uts bash -c "hostname $host; exec \"\$@\"" x "$@"
}
on "$left" slurmctld -f "$folder/slurm.conf" || exit 1
for host in "$left" "$right"; do
    mkdir -p "$folder/pmix-$host"
    SLURM_CONF="$folder/slurm.conf" nsenter --net="/run/netns/$host" unshare --uts --mount bash -c "hostname $host
        mount --bind '$folder/pmix-$host' '$folder/pmix' && mount --rbind /sys/fs/cgroup /mnt &&
            mount -t sysfs sysfs /sys && mount --rbind /mnt /sys/fs/cgroup && exec slurmd -N $host -f '$folder/slurm.conf'" ||
        { cat "$folder"/slurmd-*.log >&2; exit 1; }
done
for ((i = 0; i < 100; i++)); do
    [[ "$(on "$left" sinfo -h -o %T 2> /dev/null)" == idle ]] && break
    sleep 0.2
done

# Open MPI and UCX (MPICH) only through the link.
export OMPI_MCA_btl_tcp_if_include="$net.0/24" OMPI_MCA_btl=tcp,self OMPI_MCA_pml=ob1 UCX_TLS=tcp,self UCX_NET_DEVICES=veth0
cat "$root"/README.md "$root"/docs/*.md "$root"/docs/how-to/*.md > "$folder/text.txt"
cat > "$folder/train.sh" << TRAIN
exec "$program" train --model "$root/models/longlora-tiny" --data "$folder/text.txt" --context 512 --gradient-accumulation 6 \
    --save-every 1 --learning-rate 1e-3 --warmup-steps 2 --quiet "\$@"
TRAIN
hash_of() { sha256sum "$1/adapter/adapter_model.safetensors" 2> /dev/null | cut -c 1-12; }
report() { # NAME GOT WANTED MORE...
    [[ "$2" == "$3" ]] && local mark=ok || { local mark=FAILED; failed=1; }
    printf '%-6s %-44s %-14s %s\n' "$mark" "$1" "$2" "${*:4}"
}
seconds_since() { printf '%.1f s' "$(echo "$(date +%s.%N) - $1" | bc)"; }
steps_of() { wc -l 2> /dev/null < "$1/metrics.jsonl" || echo 0; }
wait_for_steps() { for ((i = 0; i < 600 && $(steps_of "$1") < $2; i++)); do sleep 0.05; done; }
start() { # PMI TASKS OUTPUT STEPS MORE...: on both hosts
    timeout 240 "${on_left[@]}" srun --mpi="$1" -N 2 -n "$2" bash "$folder/train.sh" --output "$3" --steps "$4" "${@:5}" \
        < /dev/null > "$3.log" 2>&1
}
on_left=(env SLURM_CONF="$folder/slurm.conf" ip netns exec "$left")

bash "$folder/train.sh" --output "$folder/one" --steps 6 > "$folder/one.log" 2>&1
expected="$(hash_of "$folder/one")"
echo "one process: $expected; $("${on_left[@]}" srun --version)"
for pmi in pmix pmi2; do
    for tasks in 2 4; do
        start "$pmi" "$tasks" "$folder/$pmi-$tasks" 6
        report "$pmi, $tasks tasks on two hosts" "$(hash_of "$folder/$pmi-$tasks")" "$expected" "$(grep -o '[0-9]* ranks.*' "$folder/$pmi-$tasks.log")"
    done
done

start none 4 "$folder/none" 6
report "tasks that do not know each other" "$?" 2 "$(grep -m 1 -o 'Cannot start.*' "$folder/none.log" | cut -c 1-70), $(grep -c 'Cannot start' "$folder/none.log") time"

for pmi in pmix pmi2; do
    output="$folder/kill-$pmi"
    start "$pmi" 4 "$output" 6 &
    job=$!
    wait_for_steps "$output" 2
    begin="$(date +%s.%N)"
    kill -9 "$(grep -A 3 '"rank": 3,' "$output/ranks.json" | grep -o '"pid": [0-9]*' | grep -o '[0-9]*')"
    wait "$job"
    code=$? time="$(seconds_since "$begin")"
    mv "$output.log" "$output-killed.log"
    start "$pmi" 2 "$output" 6 --resume
    report "$pmi, rank 3 killed, resumed on 2 tasks" "$(hash_of "$output")" "$expected" \
        "exit code $code after $time: $(grep -m 1 -E 'The job is ended' "$output-killed.log" | cut -c 1-100)"
done

# The how-to's batch script: USR1 before the time ends, and another start of the same job goes on.
cat > "$folder/job.sh" << JOB
#!/bin/bash
srun --mpi=pmix bash "$folder/train.sh" --output "$folder/batch" --steps 6 --resume
code=\$?
echo "start \${SLURM_RESTART_COUNT:-0}: \$code" >> "$folder/starts"
if [[ \$code == 130 || \$code == 75 || \$code == 137 ]]; then scontrol requeue "\$SLURM_JOB_ID"; fi
exit \$code
JOB
id="$("${on_left[@]}" sbatch --parsable -N 2 -n 4 --requeue --open-mode=append -o "$folder/batch.log" "$folder/job.sh")"
wait_for_steps "$folder/batch" 2
"${on_left[@]}" scancel --signal=USR1 "$id"
for ((i = 0; i < 300; i++)); do
    [[ -d "$folder/batch/adapter" ]] && break
    sleep 0.2
done
sleep 2
report "batch job, USR1, requeued" "$(hash_of "$folder/batch")" "$expected" "$(paste -s -d ';' "$folder/starts")"
"${on_left[@]}" scancel "$id" 2> /dev/null

output="$folder/link"
start pmix 4 "$output" 20 &
job=$!
wait_for_steps "$output" 2
begin="$(date +%s.%N)"
ip -n "$left" link set veth0 down
pids=($(grep -o '"pid": [0-9]*' "$output/ranks.json" | grep -o '[0-9]*'))
for ((i = 0; i < 300; i++)); do
    left_over=0
    for pid in "${pids[@]}"; do [[ -e "/proc/$pid" ]] && left_over=$((left_over + 1)); done
    [[ $left_over == 0 ]] && break
    sleep 0.1
done
report "link down, ranks that are left" "$left_over" 0 "after $(seconds_since "$begin"): $(grep -m 1 -E 'The job is ended' "$output.log" | cut -c 1-100)"
ip -n "$left" link set veth0 up
[[ "${KEEP:-}" ]] && cp -r "$folder" "$KEEP"
kill "$job" 2> /dev/null
exit "$failed"

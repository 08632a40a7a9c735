# Sourced by the scripts beside it: a server of the bundled model. It sets root, work, server (its process) and address.
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
start_server() { # start_server [PROGRAM]: LongLora.Cli.dll of a Release build
    local program="${1:-$root/src/LongLora.Cli/bin/Release/net10.0/LongLora.Cli.dll}"
    work="$(mktemp -d "${TMPDIR:-/tmp}/longlora-server.XXXXXX")"
    OMP_NUM_THREADS=1 dotnet "$program" serve --model "$root/models/longlora-tiny" --port 0 > "$work/server" 2> "$work/error" &
    server=$!
    trap 'kill "$server" 2> /dev/null; wait "$server" 2> /dev/null; rm -rf "$work"' EXIT
    until grep -q 'Ctrl-C' "$work/server"; do
        kill -0 "$server" 2> /dev/null || { cat "$work/error"; exit 1; }
        sleep 0.2
    done
    address="$(sed -n 's/^Page: *//p' "$work/server" | sed 's:/$::')"
}
memory() { awk -v field="$1:" '$1 == field { print int($2 / 1024) }' "/proc/$server/status"; } # memory VmRSS|VmHWM: MB

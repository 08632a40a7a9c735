#!/usr/bin/env bash
# Sends harmful documents to a running server and watches its memory: scripts/reliability/hostile-uploads.sh FOLDER [PROGRAM]
# FOLDER has the documents, which this writes (500 of them):
#   LONGLORA_HOSTILE_UPLOADS=500 LONGLORA_HOSTILE_FOLDER=FOLDER tests/LongLora.Server.Tests/bin/Release/net10.0/LongLora.Server.Tests \
#       -explicit only -method '*Write_the_documents_to_a_folder'
# Each must be read or refused with status 400, and the request after it answered in under 1 s. Resident memory is that of the server
# alone, without the workers that parse. PROGRAM is LongLora.Cli.dll of a Release build. It needs bash, coreutils, curl, and Linux for /proc.
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/server.sh"
folder="${1:?the folder of the documents}"
program="${2:-}"
start_server "$program"
send() { curl -s -o /dev/null -w '%{http_code}\n' -H 'Content-Type: application/octet-stream' --data-binary "@$1" "$address/documents?name=${1##*/*-}"; }

echo '<p>words' > "$work/0-a.html"
for _ in 1 2 3; do send "$work/0-a.html" > /dev/null; done
sleep 3
idle="$(memory VmRSS)"
echo 5 > "/proc/$server/clear_refs" # the peak counts from here
begun="$SECONDS" slowest=0
halfway=0
files=("$folder"/*)
for ((i = 0; i < ${#files[@]}; i++)); do
    send "${files[i]}" >> "$work/codes"
    next="$(curl -s -o /dev/null -w '%{time_total}' "$address/health")" || { echo "The server is gone after ${files[i]}."; exit 1; }
    slowest="$(awk -v a="$slowest" -v b="$next" 'BEGIN { print (a > b ? a : b) }')"
    ((i != ${#files[@]} / 2)) || halfway="$(memory VmRSS)"
done
peak="$(memory VmHWM)"
last="$(memory VmRSS)"
sleep 3
echo "${#files[@]} documents in $((SECONDS - begun)) s; the next request took at most $slowest s; memory: idle $idle MB, after half of them" \
    "$halfway MB, after all $last MB, 3 s later $(memory VmRSS) MB, peak $peak MB"
sort "$work/codes" | uniq -c
[[ "$(grep -cvE '^(200|400)$' "$work/codes")" == 0 ]] && awk -v s="$slowest" 'BEGIN { exit !(s < 1) }'

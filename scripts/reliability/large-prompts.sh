#!/usr/bin/env bash
# Sends many large prompts to a running server at once and watches its memory: scripts/reliability/large-prompts.sh [PROMPTS] [MEGABYTES] [PROGRAM]
# Each must be refused with status 400, a small request beside them must be answered, and resident memory must stay within 600 MB of what it
# was before. PROGRAM is LongLora.Cli.dll of a Release build. It needs bash, coreutils, curl, and Linux for /proc.
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/server.sh"
prompts="${1:-50}"
megabytes="${2:-20}"
program="${3:-}"
allowed=600
start_server "$program"
ask() { curl -s -o "$work/answer-$1" -w '%{http_code} %{time_total}\n' -H 'Content-Type: application/json' --data-binary "@$2" "$address/v1/$3"; }

# Words, one long word, Chinese text, and a conversation.
repeat() { yes "$1" | tr -d '\n' | head -c $((megabytes * 1000000 / ${#1} * ${#1})); }
{ printf '{"prompt":"'; repeat 'Once upon a time there was a dog. '; printf '"}'; } > "$work/words"
{ printf '{"prompt":"'; repeat 'a'; printf '"}'; } > "$work/word"
printf '\u4e2d\u6587%.0s' {1..16000} > "$work/piece"
{ printf '{"prompt":"'; for ((i = 0; i < megabytes * 10; i++)); do cat "$work/piece"; done; printf '"}'; } > "$work/chinese"
{ printf '{"messages":[{"role":"user","content":"'; repeat 'Tell me about the dog. '; printf '"}]}'; } > "$work/chat"
echo '{"prompt":"Once upon a time","max_tokens":8}' > "$work/small"
kinds=(words word chinese chat)

ask warm "$work/small" completions > /dev/null
ask warm "$work/small" completions > /dev/null
sleep 3
idle="$(memory VmRSS)"
echo 5 > "/proc/$server/clear_refs" # the peak counts from here
senders=()
for ((i = 0; i < prompts; i++)); do
    kind="${kinds[i % ${#kinds[@]}]}"
    path=completions
    [[ "$kind" != chat ]] || path=chat/completions
    ask "$i" "$work/$kind" "$path" > "$work/code-$i" &
    senders+=($!)
done
sleep 1
beside="$(ask beside "$work/small" completions)"
wait "${senders[@]}"
peak="$(memory VmHWM)"
sleep 3
after="$(memory VmRSS)"
refused="$(cat "$work"/code-* | grep -c '^400 ')"
echo "idle $idle MB, peak $peak MB, 3 s later $after MB; $refused of $prompts prompts of $megabytes MB refused with 400;" \
    "slowest $(awk '{ print $2 }' "$work"/code-* | sort -n | tail -1) s; a small request beside them: $beside"
sort "$work"/code-* | cut -d' ' -f1 | uniq -c
grep -ho '"message":"[^"]*"' "$work"/answer-[0-3] | head -4
((peak - idle <= allowed && refused == prompts)) && [[ "$beside" == 200* ]]

#!/usr/bin/env bash
# Builds the last commit in two folders and compares every assembly of LongLora byte by byte: scripts/reliability/same-bytes.sh
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
work="$(mktemp -d "${TMPDIR:-/tmp}/longlora-bytes.XXXXXX")"
trap 'rm -rf "$work"' EXIT
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1 ContinuousIntegrationBuild=true
for folder in one "another/longer folder"; do
    git clone --quiet --no-hardlinks "$root" "$work/$folder"
    dotnet build "$work/$folder/src/LongLora.Cli" -c Release -v quiet -nologo -p:RunAnalyzers=false --disable-build-servers
done
cd "$work/one/src/LongLora.Cli/bin/Release/net10.0"
different=0
for file in LongLora*.dll LongLora*.pdb; do
    if cmp -s "$file" "$work/another/longer folder/src/LongLora.Cli/bin/Release/net10.0/$file"; then
        echo "same       $(sha256sum "$file")"
    else
        echo "DIFFERENT  $file"
        different=1
    fi
done
exit "$different"

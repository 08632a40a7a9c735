#!/usr/bin/env bash
# Makes the NuGet packages, and the longlora command as a .NET tool with the libtorch of this system inside: build/pack.sh [DIRECTORY]
# A list of everything in it, longlora.cdx.json, lies beside the packages.
# The tool is two packages: LongLora.Cli, which names the system, and LongLora.Cli.<system> with the program (150 MB). Run it on each system.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
mkdir -p "${1:-$root/packages}"
output="$(cd "${1:-$root/packages}" && pwd)"
case "$(uname -s)-$(uname -m)" in
    Linux-x86_64) system=linux-x64 ;;
    Darwin-arm64) system=osx-arm64 ;;
    MINGW*-x86_64 | MSYS*-x86_64) system=win-x64 ;;
    MINGW*-aarch64 | MSYS*-aarch64) system=win-arm64 ;;
    *) echo "There is no libtorch for $(uname -s) on $(uname -m)." >&2; exit 1 ;;
esac
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1
# The same sources give the same assemblies in every folder and on every machine with this SDK (docs/security.md).
export ContinuousIntegrationBuild=true

dotnet msbuild "$root/build/packages.proj" -t:Restore -v:quiet
dotnet msbuild "$root/build/packages.proj" -t:Pack -p:Configuration=Release "-p:PackageOutputPath=$output" -v:quiet
dotnet pack "$root/src/LongLora.Cli" -c Release -o "$output" "-p:LongLoraToolSystems=$system" -v quiet

# What is in the tool: every package with version, license and hash, in CycloneDX's format (longlora.cdx.json).
(cd "$root" && dotnet tool restore > /dev/null && dotnet tool run dotnet-CycloneDX -- src/LongLora.Cli/LongLora.Cli.csproj \
    --recursive --disable-package-restore --exclude-dev --output-format Json --output "$output" --filename longlora.cdx.json \
    --set-name LongLora.Cli > /dev/null)
ls -l "$output"

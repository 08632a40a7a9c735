#!/usr/bin/env bash
# Makes the NuGet packages, and the longlora command as a .NET tool with the libtorch of this system inside: build/pack.sh [DIRECTORY]
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

dotnet msbuild "$root/build/packages.proj" -t:Restore -v:quiet
dotnet msbuild "$root/build/packages.proj" -t:Pack -p:Configuration=Release "-p:PackageOutputPath=$output" -v:quiet
dotnet pack "$root/src/LongLora.Cli" -c Release -o "$output" "-p:LongLoraToolSystems=$system" -v quiet
ls -l "$output"

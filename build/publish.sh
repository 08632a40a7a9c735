#!/usr/bin/env bash
# Makes the longlora program for machines without .NET, as a folder and as one archive of it: build/publish.sh [DIRECTORY]
#   --system linux-x64|win-x64   what it runs on (default linux-x64); either is made on any machine
#   --torch none|cpu             none (default): LONGLORA_LIBTORCH names the torch/lib folder of a PyTorch at run time, or the active
#                                Python environment has one; cpu: libtorch for the CPU lies inside (500 MB more)
#   --tests                      also the library's tests as a program (scripts/gpu-acceptance.sh runs some of them)
# The runtime and all code are inside, compiled ahead (ReadyToRun), so that a start takes a fraction of a second.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
system=linux-x64 torch=none tests=false output=""
while [[ $# -gt 0 ]]; do
    case "$1" in
        --system | --torch)
            [[ $# -ge 2 ]] || { echo "$1 needs a value." >&2; exit 2; }
            if [[ "$1" == --system ]]; then system="$2"; else torch="$2"; fi
            shift
            ;;
        --tests) tests=true ;;
        -*) echo "There is no option $1. Use --system, --torch or --tests." >&2; exit 2 ;;
        *) output="$1" ;;
    esac
    shift
done
case "$system" in linux-x64 | win-x64) ;; *) echo "There is no system '$system'. Use linux-x64 or win-x64." >&2; exit 2 ;; esac
case "$torch" in none | cpu) ;; *) echo "There is no libtorch '$torch'. Use none or cpu." >&2; exit 2 ;; esac
mkdir -p "${output:-$root/packages}"
output="$(cd "${output:-$root/packages}" && pwd)"
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1 ContinuousIntegrationBuild=true

# Built apart, because the files between would not fit those of ./longlora and of the tests.
publish() {
    rm -rf "$2"
    dotnet publish "$root/$1" -c Release -r "$system" --artifacts-path "$root/artifacts" -o "$2" -v quiet \
        -p:TorchBackend="$torch" -p:SelfContained=true -p:PublishSelfContained=true -p:PublishReadyToRun="$3"
    # What debuggers and compilers read; a trace of a stack shows methods without them.
    find "$2" -maxdepth 1 \( -name '*.pdb' -o -name '*.xml' -o -name 'createdump*' \) -delete
}

# The licenses of what is inside ask to go with it: .NET's own beside this one.
add_licenses() {
    local packages name version file
    mkdir -p "$1/licenses"
    cp "$root/LICENSE" "$1/licenses/LongLora.txt"
    packages="$(dotnet nuget locals global-packages --list | sed 's/^global-packages: //')"
    version="$(grep -m1 -oE '"version": "[^"]+"' "$1/LongLora.Cli.runtimeconfig.json" | cut -d'"' -f4)"
    for name in microsoft.netcore.app.runtime microsoft.aspnetcore.app.runtime; do
        while read -r file; do
            cp "$file" "$1/licenses/$name.$(basename "${file,,}")"
        done < <(find "$packages/$name.$system/$version" -maxdepth 1 \( -iname 'license.txt' -o -iname 'third-party-notices.txt' \))
    done
}

# The text of the quickstart, for machines without an SDK.
add_documentation() {
    local pack target
    pack="$(find "$(dirname "$(readlink -f "$(command -v dotnet)")")/packs/Microsoft.NETCore.App.Ref" -mindepth 1 -maxdepth 1 | sort -V | tail -1)"
    find "$pack" -name '*.xml' | while read -r file; do
        target="$1/packs/Microsoft.NETCore.App.Ref/$(basename "$pack")/${file#"$pack"/}"
        mkdir -p "$(dirname "$target")"
        cp "$file" "$target"
    done
}

# The same files give the same archive.
archive() {
    if [[ "$system" == win-* ]]; then
        dotnet msbuild "$root/build/packages.proj" -t:Zip "-p:Folder=$output/$1" "-p:Archive=$output/$1.zip" -v:quiet
    else
        local time
        time="$(git -C "$root" log -1 --format=%ct 2> /dev/null || echo 0)"
        tar -C "$output" --sort=name --mtime="@$time" --owner=0 --group=0 --numeric-owner -cJf "$output/$1.tar.xz" "$1"
    fi
}

suffix="$system"
if [[ "$torch" != none ]]; then
    suffix="$system-$torch"
fi
program="longlora-$suffix"
publish src/LongLora.Cli "$output/$program" true
end=""
if [[ "$system" == win-* ]]; then
    end=.exe
fi
mv "$output/$program/LongLora.Cli$end" "$output/$program/longlora$end"
add_licenses "$output/$program"
add_documentation "$output/$program"
archive "$program"
if [[ "$tests" == true ]]; then
    publish tests/LongLora.Tests "$output/longlora-tests-$suffix" false
    archive "longlora-tests-$suffix"
fi
du -sh "$output"/longlora-*"$suffix"*

#!/usr/bin/env bash
# Makes models/longlora-tiny from nothing: tokenizer, data, weights. Run it again to go on where it was interrupted.
#   recipes/bundled-model/make.sh BOOKS OUTPUT
# BOOKS holds the five public-domain books of books.sha256; OUTPUT gets everything, the model in OUTPUT/final/model.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
books="$(cd "${1:?the folder of the books}" && pwd)"
mkdir -p "${2:?the folder for the results}"
out="$(cd "$2" && pwd)"
longlora="$here/../../longlora"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # sums depend on the number of threads; the bundled weights were made with 1
(cd "$books" && sha256sum --check --quiet "$here/books.sha256")

darwin="$books/Charles_Darwin_On_the_Origin_of_Species.txt"
octopus="$books/Frank_Norris_The_Octopus.txt"
copperfield="$books/Charles_Dickens_David_Copperfield.txt"
middlemarch="$books/George_Eliot_Middlemarch.txt"
whale="$books/Herman_Melville_Moby_Dick.txt"

once() { # once FILE COMMAND...: runs the command unless the file is there
    [[ -e "$1" ]] || "${@:2}"
}
train() { # train NAME STEPS OPTIONS...
    once "$out/$1/model/config.json" "$longlora" train --resume --output "$out/$1" --steps "$2" --tuning full --attention full --gradient-accumulation 1 "${@:3}"
}

# Text. The documentation is that of the SDK that is installed; the bundled model saw .NET 10.0.12's.
once "$out/practice.jsonl" "$longlora" data practice --documents 3000 --characters 1200 --seed 7 --output "$out/practice.jsonl"
once "$out/sdk-some.jsonl" "$longlora" data sdk-docs --every 8 --offset 1 --output "$out/sdk-some.jsonl"
once "$out/sdk.jsonl" "$longlora" data sdk-docs --every 2 --offset 1 --output "$out/sdk.jsonl"
once "$out/sdk-test.jsonl" "$longlora" data sdk-docs --every 80 --offset 4 --output "$out/sdk-test.jsonl" # not among the former
once "$out/tokenizer/tokenizer.json" "$longlora" tokenizer train --data "$out/practice.jsonl" "$out/sdk-some.jsonl" "$darwin" "$octopus" --vocabulary-size 2048 --output "$out/tokenizer"

# The first five trainings read numbers as pairs of digits from the left, an older rule for which engines have no name.
pairs() {
    mkdir -p "$out/pairs"
    cp "$out/tokenizer/tokenizer_config.json" "$out/pairs"
    sed 's/"Regex": ".*"/"Regex": "'"'"'(?:[sdmt]|ll|ve|re)| ?\\\\p{L}+|\\\\p{N}{1,2}| ?[^\\\\s\\\\p{L}\\\\p{N}]+|\\\\s+(?!\\\\S)|\\\\s+"/' \
        "$out/tokenizer/tokenizer.json" > "$out/pairs/tokenizer.json"
}
once "$out/pairs/tokenizer.json" pairs

# Windows, each with its own mixture; the weights are those of repetition, facts, pass key, lines, topics, conversations.
windows() { # windows NAME TOKENIZER OPTIONS...
    once "$out/$1.bin" "$longlora" data windows --tokenizer "$out/$2" --output "$out/$1.bin" "${@:3}"
}
windows first pairs --data "$out/sdk-some.jsonl" "$octopus" --context 64 --windows 30000 --generated 0.9 --weights 5 4 1 0.5 0 --seed 1
windows second pairs --data "$out/sdk.jsonl" "$octopus" "$darwin" "$copperfield" "$middlemarch" "$whale" --context 256 --windows 27200 --generated 0.65 --weights 1.5 3 1.5 2 2.5 --seed 3
windows third pairs --data "$out/sdk.jsonl" "$octopus" "$darwin" "$copperfield" "$middlemarch" "$whale" --context 256 --windows 6000 --generated 0.72 --weights 0.5 2 1 2 5 --seed 4
windows fourth pairs --data "$out/sdk.jsonl" "$whale" "$octopus" "$darwin" "$middlemarch" "$copperfield" --context 512 --windows 17600 --generated 0.6 --weights 0.5 2 1 3 3 --seed 5
windows fifth pairs --data "$out/sdk.jsonl" "$octopus" "$darwin" "$copperfield" "$middlemarch" "$whale" --context 512 --windows 8000 --generated 0.6 --weights 0.2 1 1 3 0.5 5 --seed 6
windows sixth tokenizer --data "$out/sdk.jsonl" "$octopus" "$darwin" "$copperfield" "$middlemarch" "$whale" --context 512 --windows 3200 --generated 0.6 --weights 0.4 1 2 3 0.5 3 --seed 7

# Copying is learnt on short windows, which is where it can be found at all; the context then grows.
train first 1875 --from-scratch "$here/config.json" --tokenizer "$out/pairs" --data "$out/first.bin" --context 64 --batch-size 16 --learning-rate 2e-3 --warmup-steps 50 --save-every 300
train second 900 --model "$out/first/model" --rope-scaling default --data "$out/second.bin" --context 256 --batch-size 4 --learning-rate 1.5e-3 --warmup-steps 30
train third 1500 --model "$out/second/model" --rope-scaling default --data "$out/third.bin" --context 256 --batch-size 4 --learning-rate 1.5e-3 --warmup-steps 20 --schedule cosine
train fourth 4400 --model "$out/third/model" --rope-scaling default --data "$out/fourth.bin" --context 512 --batch-size 4 --learning-rate 1.5e-3 --warmup-steps 50 --schedule cosine
train fifth 2000 --model "$out/fourth/model" --rope-scaling default --data "$out/fifth.bin" --context 512 --batch-size 4 --learning-rate 1e-3 --warmup-steps 50 --schedule cosine

# The same weights learn the tokenizer's rule as engines have it: GPT-2's.
retokenized() {
    mkdir -p "$out/retokenized"
    cp "$out/fifth/model/"{config.json,model.safetensors,chat_template.jinja} "$out/tokenizer/"* "$out/retokenized"
}
once "$out/retokenized/model.safetensors" retokenized
train final 800 --model "$out/retokenized" --rope-scaling default --data "$out/sixth.bin" --context 512 --batch-size 4 --learning-rate 7e-4 --warmup-steps 20 --schedule cosine

for task in passkey topics lines; do
    "$longlora" evaluate $task --model "$out/final/model" --lengths 512,1024,2048,4096 --trials 50 --seed 1000 --json "$out/$task.json"
done
"$longlora" evaluate perplexity --model "$out/final/model" --data "$out/sdk-test.jsonl" --context 256,512,1024,2048,4096 --max-tokens 40000 --json "$out/perplexity-sdk.json"

using System.Globalization;
using BenchmarkDotNet.Running;
using LongLora.Benchmarks;
using LongLora.Runtime;

// `tokenizers BOOKS MODEL...` reads a folder of books once, from a cold start.
if (args is ["tokenizers", var books, .. var models])
{
    TokenizerThroughput.Run(books, models);
    return;
}
LibTorch.EnsureLoaded();

// `llama-cpp MODEL PROMPT TOKENS` compares with llama.cpp: a folder, and two numbers of tokens.
if (args is ["llama-cpp", var folder, var prompt, var tokens])
{
    LlamaCppComparison.Run(folder, int.Parse(prompt, CultureInfo.InvariantCulture), int.Parse(tokens, CultureInfo.InvariantCulture));
    return;
}

// In this process: a generated project would build without the native library that this one has.
BenchmarkSwitcher.FromAssembly(typeof(AttentionBenchmarks).Assembly).Run(["--inProcess", .. args]);

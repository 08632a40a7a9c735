using BenchmarkDotNet.Running;
using LongLora.Benchmarks;
using LongLora.Runtime;

LibTorch.EnsureLoaded();
// In this process: a generated project would build without the native library that this one has.
BenchmarkSwitcher.FromAssembly(typeof(AttentionBenchmarks).Assembly).Run(["--inProcess", .. args]);

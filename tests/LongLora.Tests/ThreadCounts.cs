namespace LongLora.Tests;

/// <summary>
/// Tests that change the number of libtorch's threads, which run alone: MKL has one number for the whole process, and the last bits of its
/// products depend on it.
/// </summary>
[CollectionDefinition(nameof(ThreadCounts), DisableParallelization = true)]
public sealed class ThreadCounts;

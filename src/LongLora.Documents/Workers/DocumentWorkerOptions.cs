using LongLora.Runtime;

namespace LongLora.Documents.Workers;

/// <summary>What a worker process may use for one file. A file that needs more is refused.</summary>
public sealed record DocumentWorkerOptions
{
    /// <summary>Memory of a worker in bytes, at least 64 MiB. Default 1 GiB.</summary>
    public long MemoryBytes { get; init; } = 1 << 30;

    /// <summary>Processor time for a file of any size. Default 5 s.</summary>
    public TimeSpan Time { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Further processor time for each MiB of the file, and for each 8 MiB of its text. Default 10 s.</summary>
    public TimeSpan TimePerMebibyte { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Most characters of one document. A table may have any number of documents. Default 256 Mi.</summary>
    public long DocumentCharacters { get; init; } = 256 << 20;

    /// <summary>Workers that are kept for the next file. While more files than that are read at once, there are more. Default 4.</summary>
    public int Kept { get; init; } = 4;

    /// <summary>How long a worker is kept that has nothing to do. Default 60 s.</summary>
    public TimeSpan KeptTime { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>Checks all options.</summary>
    /// <exception cref="ConfigurationException">Says what is wrong.</exception>
    public void Validate()
    {
        if (MemoryBytes < 64 << 20)
            throw new ConfigurationException($"The memory of a worker is {MemoryBytes} bytes; it must be at least {64 << 20}.");
        if (Time <= TimeSpan.Zero || TimePerMebibyte < TimeSpan.Zero)
            throw new ConfigurationException($"The time of a worker is {Time} and {TimePerMebibyte} per MiB; it must be positive.");
        if (DocumentCharacters < 1)
            throw new ConfigurationException($"The most characters of a document are {DocumentCharacters}; it must be at least 1.");
        if (Kept < 0 || KeptTime < TimeSpan.Zero)
            throw new ConfigurationException($"{Kept} workers are kept for {KeptTime}; neither may be negative.");
    }
}

namespace LongLora.Cli.Terminal;

/// <summary>Where keys come from.</summary>
internal interface IKeys
{
    /// <summary>Whether a key has already arrived, as in the middle of a paste.</summary>
    bool HasMore { get; }

    /// <summary>Waits for the next key.</summary>
    /// <exception cref="OperationCanceledException">The wait was canceled.</exception>
    ConsoleKeyInfo Read(CancellationToken cancellation);
}

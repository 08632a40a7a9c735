using System.Text;
using LongLora.Runtime;

namespace LongLora.Cli;

/// <summary>Where a command writes its messages: each is shown with at most <see cref="MessageText.Most"/> characters.</summary>
/// <param name="inner">Receives them.</param>
internal sealed class MessageWriter(TextWriter inner) : TextWriter
{
    /// <inheritdoc/>
    public override Encoding Encoding => inner.Encoding;

    /// <inheritdoc/>
    public override void Write(char value) => inner.Write(value);

    /// <inheritdoc/>
    public override void Write(string? value) => inner.Write(value);

    /// <inheritdoc/>
    public override void WriteLine(string? value) => inner.WriteLine(value is null ? null : MessageText.Bound(value));

    /// <inheritdoc/>
    public override void Flush() => inner.Flush();
}

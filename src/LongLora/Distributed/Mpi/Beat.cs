using System.Runtime.CompilerServices;
using System.Text;

namespace LongLora.Distributed;

/// <summary>What a rank says about itself twice a second, as it goes over the wire.</summary>
internal struct Beat
{
    /// <summary>Pieces of work done.</summary>
    internal long Ticks;

    /// <summary>Operations that have ended.</summary>
    internal long Ended;

    /// <summary>Number of the operation that the rank waits for; -1 if it does not wait.</summary>
    internal long WaitsFor;

    /// <summary>Bytes of that operation.</summary>
    internal long Bytes;

    /// <summary>Longest time without a tick.</summary>
    internal long LimitMilliseconds;

    private Letters _text;

    /// <summary>The phase, or the operation that is waited for; long ones are cut.</summary>
    internal string What
    {
        readonly get => Encoding.UTF8.GetString(((ReadOnlySpan<byte>)_text).TrimEnd((byte)0));
        set
        {
            Span<byte> text = _text;
            text.Clear();
            Encoding.UTF8.GetEncoder().Convert(value, text, flush: true, out _, out _, out _);
        }
    }

    [InlineArray(56)]
    private struct Letters
    {
        private byte _first;
    }
}

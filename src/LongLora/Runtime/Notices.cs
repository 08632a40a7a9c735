namespace LongLora.Runtime;

/// <summary>
/// Sentences that the owner of some files should know and that no caller has to act on, such as "was edited". Whoever runs a command or a
/// training receives them for its own calls; without a receiver they are lost.
/// </summary>
internal static class Notices
{
    private static readonly AsyncLocal<Receiver?> s_receiver = new();

    /// <summary>Sends the notices of this call, and of the threads that it starts, to a receiver until the result is disposed of.</summary>
    /// <param name="tell">Told each sentence once.</param>
    public static IDisposable Receive(Action<string> tell)
    {
        var receiver = new Receiver(tell, s_receiver.Value);
        s_receiver.Value = receiver;
        return receiver;
    }

    /// <summary>Tells a sentence.</summary>
    public static void Tell(string sentence) => s_receiver.Value?.Tell(sentence);

    private sealed class Receiver(Action<string> tell, Receiver? outer) : IDisposable
    {
        private readonly HashSet<string> _told = new(StringComparer.Ordinal);

        public void Tell(string sentence)
        {
            lock (_told)
            {
                if (!_told.Add(sentence))
                    return;
            }
            tell(sentence);
        }

        public void Dispose() => s_receiver.Value = outer;
    }
}

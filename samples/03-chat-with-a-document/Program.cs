// Asks a local model about a document, through Microsoft.Extensions.AI: the document is in the conversation, the answer streams, and a
// second question does not read the document again.
// Run it: dotnet run -c Release --project samples/03-chat-with-a-document [-- DOCUMENT [MODEL [ADAPTER]]]
// Without arguments it writes a note with a pass key and lets the small bundled model find it. With a model of yours, ask what you like.
using LongLora.Documents;
using LongLora.Extensions.AI;
using LongLora.Generation;
using Microsoft.Extensions.AI;

var document = args.Length > 0 ? args[0] : WriteNote();
var model = args.Length > 1 ? args[1] : Path.Combine(AppContext.BaseDirectory, "models", "longlora-tiny");
using var client = LongLoraChatClient.Open(new ChatModelOptions { Model = model, Adapter = args.Length > 2 ? args[2] : null });
var options = new ChatOptions { MaxOutputTokens = args.Length > 1 ? 300 : 8, Temperature = 0 };

// The first question brings the document; from then on it is part of the conversation.
List<ChatMessage> conversation = [];
var text = DocumentText.Read(document) + "\n\n";
Console.WriteLine($"{Path.GetFileName(document)}: {text.Length:N0} characters. Ask; an empty line ends. Ctrl-C stops an answer.");

CancellationTokenSource? answering = null;
Console.CancelKeyPress += (_, e) =>
{
    e.Cancel = answering is not null; // while nothing is being said, it ends the program
    answering?.Cancel();
};
for (var question = Ask(); question is { Length: > 0 }; question = Ask())
{
    conversation.Add(new ChatMessage(ChatRole.User, text + question));
    text = "";
    var updates = new List<ChatResponseUpdate>();
    using (answering = new CancellationTokenSource())
    {
        try
        {
            await foreach (var update in client.GetStreamingResponseAsync(conversation, options, answering.Token))
            {
                Console.Write(update.Text);
                updates.Add(update);
            }
        }
        catch (OperationCanceledException)
        {
            Console.Write(" ... stopped");
        }
    }
    answering = null;
    conversation.AddMessages(updates);
    if (updates.ToChatResponse().Usage is { } usage)
        Console.WriteLine(
            $"\n[{usage.InputTokenCount} tokens read, {usage.CachedInputTokenCount} of them known from before; {usage.OutputTokenCount} "
                + $"said]"
        );
}

static string? Ask()
{
    Console.Write("> ");
    return Console.ReadLine();
}

static string WriteNote()
{
    var path = Path.Combine(Path.GetTempPath(), "longlora-note.txt");
    const string Filler = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. ";
    const string Task =
        "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. I will quiz you about the important "
        + "information there.";
    const string Key = "The pass key is 71432. Remember it. 71432 is the pass key.";
    File.WriteAllText(path, $"{Task}\n{Filler}{Filler}\n{Key}\n{Filler}{Filler}{Filler}");
    Console.WriteLine("A note with a pass key. Ask: What is the pass key? The pass key is");
    return path;
}

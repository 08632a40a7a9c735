// Serves a model from an application of one's own: OpenAI's API and the page come from LongLora.Server, and an endpoint of ours stands
// beside them. Run it: dotnet run -c Release --project samples/04-serve [-- MODEL [PORT]]; then open the address that it prints, or
//   curl 'http://127.0.0.1:8080/pass-key' --data-binary 'The pass key is 71432. Remember it. 71432 is the pass key.'
// Without arguments it serves the small bundled model.
using LongLora.Extensions.AI;
using LongLora.Generation;
using LongLora.Server;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;

using var model = ChatModel.Open(
    new ChatModelOptions
    {
        Model = args.Length > 0 ? args[0] : Path.Combine(AppContext.BaseDirectory, "models", "longlora-tiny"),
        KeptConversations = 4, // four documents can be asked about in turn, each read once
    }
);
var options = new ServerOptions { Port = args.Length > 1 ? int.Parse(args[1]) : 8080 };

await using var app = ChatServer.Create(options, model, builder => builder.Services.AddSingleton(model.AsIChatClient()));

// Ours: a text comes in, and the number that it hides goes out. Whoever goes away is not answered any further.
app.MapPost("/pass-key", async (HttpRequest request, IChatClient client, CancellationToken gone) =>
{
    var text = await new StreamReader(request.Body).ReadToEndAsync(gone);
    var answer = await client.GetResponseAsync(
        $"{text}\nWhat is the pass key? The pass key is",
        new ChatOptions { MaxOutputTokens = 8 },
        gone
    );
    return new { passKey = answer.Text.Trim(), tokens = answer.Usage!.InputTokenCount };
});

await app.StartAsync();
Console.WriteLine($"{model.Name} at {app.Urls.First()}; Enter ends it.");
Console.ReadLine();
await app.StopAsync();

using LongLora.Generation;
using LongLora.Runtime;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;

namespace LongLora.Extensions.AI;

/// <summary>Short ways to an <see cref="IChatClient"/> over a local model.</summary>
public static class LongLoraChatClientExtensions
{
    /// <summary>The model as a chat client.</summary>
    /// <param name="model">The model; it has a chat template.</param>
    /// <param name="ownsModel">Whether the model is disposed with the client. Default: it is not.</param>
    /// <param name="defaults">
    /// What holds where <see cref="ChatOptions"/> say nothing; null for greedy answers of at most 256 tokens.
    /// </param>
    /// <exception cref="ConfigurationException">The model has no chat template, or a default is wrong.</exception>
    public static IChatClient AsIChatClient(this ChatModel model, bool ownsModel = false, GenerationOptions? defaults = null) =>
        new LongLoraChatClient(model, ownsModel, defaults);

    /// <summary>
    /// Adds one model for the whole application, as <see cref="ChatModel"/> and as <see cref="IChatClient"/>; it is opened when it is
    /// first asked for.
    /// </summary>
    /// <param name="services">The services of the application.</param>
    /// <param name="options">What the model is made of.</param>
    /// <param name="defaults">
    /// What holds where <see cref="ChatOptions"/> say nothing; null for greedy answers of at most 256 tokens.
    /// </param>
    public static IServiceCollection AddLongLora(
        this IServiceCollection services,
        ChatModelOptions options,
        GenerationOptions? defaults = null
    )
    {
        ArgumentNullException.ThrowIfNull(options);
        return services
            .AddSingleton(_ => ChatModel.Open(options))
            .AddSingleton(provider => provider.GetRequiredService<ChatModel>().AsIChatClient(defaults: defaults));
    }
}

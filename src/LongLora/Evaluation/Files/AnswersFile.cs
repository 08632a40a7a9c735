namespace LongLora.Evaluation;

/// <summary>The loss on the answers of conversations.</summary>
internal sealed record AnswersFile() : ModelEvaluationFile(KindName)
{
    internal const string KindName = "answers";

    /// <summary>Mean loss in nats over the tokens of all answers together.</summary>
    public required double Loss { get; init; }

    /// <summary>exp(loss).</summary>
    public double Perplexity => Math.Exp(Loss);

    /// <summary>Scored tokens.</summary>
    public required long Tokens { get; init; }

    /// <summary>Examples with at least one scored token.</summary>
    public required int Examples { get; init; }

    /// <summary>Examples that greedy decoding would answer word for word.</summary>
    public required int Exact { get; init; }
}

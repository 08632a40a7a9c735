using LongLora.Attention;
using LongLora.Data;
using LongLora.Evaluation;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Tests.Models;
using static TorchSharp.torch;

namespace LongLora.Tests.Evaluation;

public class AnswerLossTests
{
    [Fact]
    public void Evaluate_counts_the_answers_that_greedy_decoding_would_write()
    {
        using var scope = NewDisposeScope();
        using var model = LlamaGoldenTests.LoadTiny();
        int[] question = [1, 5, 9, 40];
        var greedy = question.ToList();
        for (var i = 0; i < 6; i++)
            greedy.Add((int)Likeliest(model, greedy));
        TrainingExample Example(IEnumerable<int> ids) =>
            new([.. ids], [.. ids.Select((id, i) => i < question.Length ? TrainingExample.IgnoredLabel : id)], "x");
        var wrong = greedy.Take(greedy.Count - 1).Append((greedy[^1] + 1) % 128);
        var result = AnswerLoss.Evaluate(
            model,
            [Example(greedy), Example(wrong), new(question, [.. question.Select(_ => TrainingExample.IgnoredLabel)], "x")]
        );
        Assert.Equal((12, 2, 1), (result.Tokens, result.Examples, result.Exact));
    }

    private static long Likeliest(CausalLanguageModel model, List<int> ids)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        using var positions = RotaryEmbedding.Create(model.Config, ids.Count, model.Device);
        var hidden = model.Forward(
            tensor(ids.Select(i => (long)i).ToArray(), [1, ids.Count]),
            new ForwardContext(new FullAttention(), positions)
        );
        return model.Head.Forward(hidden.squeeze(0)[ids.Count - 1].unsqueeze(0)).argmax().item<long>();
    }
}

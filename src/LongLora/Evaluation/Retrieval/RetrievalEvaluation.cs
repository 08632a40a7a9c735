using System.Text.Json;
using LongLora.Distributed;
using LongLora.Generation;
using LongLora.Loading;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Runtime;
using LongLora.Tokenization;
using LongLora.Training;
using static TorchSharp.torch;

namespace LongLora.Evaluation;

/// <summary>
/// Asks a model questions about generated documents of given lengths, with full attention. Several ranks share the questions, and all get
/// the answers that one would get: those to one question do not depend on what else was asked.
/// </summary>
internal static class RetrievalEvaluation
{
    private static readonly TimeSpan s_longestQuestion = TimeSpan.FromMinutes(30);

    /// <summary>Measures one length.</summary>
    /// <param name="model">The model.</param>
    /// <param name="tokenizer">Its tokenizer: lengths are counted in its tokens.</param>
    /// <param name="task">The task.</param>
    /// <param name="length">Maximum tokens of document, question and answer together; documents are as long as possible.</param>
    /// <param name="trials">Number of questions; their seeds count up from <paramref name="seed"/>.</param>
    /// <param name="seed">Seed for the first document.</param>
    /// <param name="scoring">How answers are judged.</param>
    /// <param name="progress">Receives every answer of this rank.</param>
    /// <param name="ends">
    /// Tokens that end answers; null for those of config and tokenizer. <see cref="LoadedModel.EndTokens"/> has all.
    /// </param>
    /// <param name="ranks">The ranks that share the questions; null for this one alone.</param>
    /// <param name="cancellation">Checked between chunks of a document; by several ranks between questions.</param>
    /// <exception cref="ConfigurationException">Not even the shortest document fits, or a number is out of range.</exception>
    public static RetrievalAtLength Run(
        CausalLanguageModel model,
        ITokenizer tokenizer,
        RetrievalTask task,
        int length,
        int trials,
        int seed,
        RetrievalScoring scoring = RetrievalScoring.Generate,
        IProgress<RetrievalTrial>? progress = null,
        IReadOnlyList<int>? ends = null,
        ICommunicator? ranks = null,
        CancellationToken cancellation = default
    )
    {
        if (trials < 1)
            throw new ConfigurationException($"trials is {trials}, but there must be at least 1 question at each length.");
        if (seed < 0)
            throw new ConfigurationException($"seed is {seed}; it must be 0 or more.");
        if (seed > int.MaxValue - (trials - 1))
            throw new ConfigurationException(
                $"seed is {seed}, and each of {trials} questions has the next one. It must be at most {int.MaxValue - (trials - 1)}."
            );
        CheckShortest(task.ForLength(length), tokenizer, seed, length);
        ranks ??= SingleProcess.Instance;
        IReadOnlyList<(int, RetrievalCase)> questions = [];
        ranks.OnAll("making questions", () => questions = MakeQuestions(task, tokenizer, length, trials, seed, ranks, cancellation));
        return Ask(model, tokenizer, task, questions, length, scoring, progress, ends, ranks, cancellation);
    }

    /// <summary>
    /// Questions of one length, with their seeds: the same for every model with this tokenizer. Of several ranks each gets its own.
    /// </summary>
    internal static IReadOnlyList<(int Seed, RetrievalCase Question)> MakeQuestions(
        RetrievalTask task,
        ITokenizer tokenizer,
        int length,
        int trials,
        int seed,
        ICommunicator? ranks = null,
        CancellationToken cancellation = default
    )
    {
        var questions = new List<(int, RetrievalCase)>();
        for (var i = ranks?.Rank ?? 0; i < trials; i += ranks?.Size ?? 1)
        {
            cancellation.ThrowIfCancellationRequested();
            questions.Add((seed + i, Fit(task, tokenizer, seed + i, length, cancellation)));
            Liveness.Tick();
        }
        return questions;
    }

    /// <summary>Asks given questions word for word, whatever their length.</summary>
    /// <param name="model">The model.</param>
    /// <param name="tokenizer">Its tokenizer.</param>
    /// <param name="task">How answers are judged.</param>
    /// <param name="questions">The questions; results have their index as the seed.</param>
    /// <param name="scoring">How answers are judged.</param>
    /// <param name="progress">Receives every answer of this rank.</param>
    /// <param name="ends">
    /// Tokens that end answers; null for those of config and tokenizer. <see cref="LoadedModel.EndTokens"/> has all.
    /// </param>
    /// <param name="ranks">The ranks that share the questions; null for this one alone.</param>
    /// <param name="cancellation">Checked between chunks of a document; by several ranks between questions.</param>
    /// <returns>The length is that of the longest question, with its answer.</returns>
    public static RetrievalAtLength Ask(
        CausalLanguageModel model,
        ITokenizer tokenizer,
        RetrievalTask task,
        IReadOnlyList<RetrievalCase> questions,
        RetrievalScoring scoring = RetrievalScoring.Generate,
        IProgress<RetrievalTrial>? progress = null,
        IReadOnlyList<int>? ends = null,
        ICommunicator? ranks = null,
        CancellationToken cancellation = default
    )
    {
        if (questions.Count == 0)
            throw new ConfigurationException("There are no questions to ask.");
        ranks ??= SingleProcess.Instance;
        var longest = questions.Max(q => tokenizer.Encode(q.Prompt, addSpecial: true).Count) + task.AnswerTokens;
        return Ask(
            model,
            tokenizer,
            task,
            [.. questions.Select((question, i) => (i, question)).Where(q => q.i % ranks.Size == ranks.Rank)],
            longest,
            scoring,
            progress,
            ends,
            ranks,
            cancellation
        );
    }

    /// <summary>
    /// Asks prepared questions, of several ranks each its own. Progress is reported in the order in which they are asked; results are those
    /// of all ranks, in the order of the seeds.
    /// </summary>
    internal static RetrievalAtLength Ask(
        CausalLanguageModel model,
        ITokenizer tokenizer,
        RetrievalTask task,
        IReadOnlyList<(int Seed, RetrievalCase Question)> questions,
        int length,
        RetrievalScoring scoring = RetrievalScoring.Generate,
        IProgress<RetrievalTrial>? progress = null,
        IReadOnlyList<int>? ends = null,
        ICommunicator? ranks = null,
        CancellationToken cancellation = default
    )
    {
        ranks ??= SingleProcess.Instance;
        if (scoring == RetrievalScoring.Likelihood && ranks.IsAny(questions.Any(q => q.Question.Candidates.Count == 0)))
            throw new ConfigurationException(
                $"Cannot score {task.Name} by likelihood because it asks for several things at once. Set scoring to generate."
            );
        if (scoring == RetrievalScoring.Likelihood && ranks.IsAny(questions.Any(q => q.Question.Candidates.Count == 1)))
            throw new ConfigurationException(
                $"Cannot score {task.Name} by likelihood because a question has one answer to choose from, which would always be right. "
                    + "Give it at least two, or set scoring to generate."
            );
        using var generator = new TextGenerator(model, tokenizer, length + 1, ends: ends) { TakesWholeChunks = true };
        using var positions = RotaryEmbedding.Create(model.Config, length + 1, model.Device, length);
        using var firstQuestion = ranks.Phase("answering the first question", s_longestQuestion);
        using var lesson = Liveness.Learn();
        // Several ranks stop at the same question.
        var inside = ranks.Size == 1 ? cancellation : default;
        // Sorted by text, so a start that a document shares with the one before it, such as filler, is not read again.
        var sorted = questions.OrderBy(q => q.Question.Prompt, StringComparer.Ordinal).ToList();
        var done = new List<RetrievalTrial>();
        for (var i = 0; ranks.IsAny(i < sorted.Count); i++)
        {
            if (ranks.IsAny(cancellation.IsCancellationRequested))
                throw new OperationCanceledException(cancellation);
            if (i > 0)
                firstQuestion.Dispose();
            if (i >= sorted.Count)
                continue;
            done.Add(Ask(model, tokenizer, task, sorted[i], length, scoring, generator, positions, inside));
            progress?.Report(done[^1]);
        }
        return new(length, [.. Gather(ranks, done).OrderBy(trial => trial.Seed)]);
    }

    private static RetrievalTrial Ask(
        CausalLanguageModel model,
        ITokenizer tokenizer,
        RetrievalTask task,
        (int Seed, RetrievalCase Question) asked,
        int length,
        RetrievalScoring scoring,
        TextGenerator generator,
        RotaryEmbedding positions,
        CancellationToken cancellation
    )
    {
        var (seed, question) = asked;
        var ids = tokenizer.Encode(question.Prompt, addSpecial: true);
        var options = new GenerationOptions
        {
            MaxTokens = Math.Min(task.AnswerTokens, length + 1 - ids.Count),
            // Of a start that prompts share, whole chunks are not read again.
            PrefillChunk = Math.Clamp(length / 16, 128, 1024),
        };
        var answered =
            scoring == RetrievalScoring.Generate
                ? generator.Generate([ids], options, null, cancellation)[0].Text
                : FindLikeliest(model, tokenizer, question, ids, positions, length + 1, cancellation);
        var score =
            scoring == RetrievalScoring.Generate ? task.Score(question, answered)
            : answered == question.Answer ? 1
            : 0;
        return new(seed, question.Depth, ids.Count, score == 1, answered) { Score = score };
    }

    // What all ranks have found.
    private static IEnumerable<RetrievalTrial> Gather(ICommunicator ranks, List<RetrievalTrial> mine) =>
        ranks.Size == 1
            ? mine
            : ranks.GatherTexts(JsonSerializer.Serialize(mine)).SelectMany(text => JsonSerializer.Deserialize<List<RetrievalTrial>>(text)!);

    /// <summary>The longest document whose prompt and answer fit into a length.</summary>
    internal static RetrievalCase Fit(
        RetrievalTask task,
        ITokenizer tokenizer,
        int seed,
        int length,
        CancellationToken cancellation = default
    )
    {
        task = task.ForLength(length);
        CheckShortest(task, tokenizer, seed, length);
        bool Fits(int size)
        {
            cancellation.ThrowIfCancellationRequested();
            Liveness.Tick();
            return CountTokens(task, tokenizer, seed, size) <= length;
        }
        // Tokens grow with the size, but not strictly. The search finds a size that fits next to one that does not.
        int low = task.SmallestSize,
            high = low;
        var most = task.LargestSize;
        while (high < most && Fits(high = Math.Min(2 * high + 1, most)))
            low = high;
        while (high - low > 1)
        {
            var middle = low + (high - low) / 2;
            if (Fits(middle))
                low = middle;
            else
                high = middle;
        }
        return task.Make(seed, low);
    }

    private static void CheckShortest(RetrievalTask task, ITokenizer tokenizer, int seed, int length)
    {
        if (CountTokens(task, tokenizer, seed, task.SmallestSize) is var shortest && shortest > length)
            throw new ConfigurationException(
                $"A length of {length} tokens is too short for {task.Name}: its shortest question with the answer takes {shortest}."
            );
    }

    private static int CountTokens(RetrievalTask task, ITokenizer tokenizer, int seed, int size)
    {
        var made = task.Make(seed, size);
        var answer = Math.Max(task.ReservesAnswer ? task.AnswerTokens : 0, tokenizer.Encode(made.Answer).Count + 1);
        return tokenizer.Encode(made.Prompt, addSpecial: true).Count + answer;
    }

    // The prompt is read once, and each candidate continues from there.
    private static string FindLikeliest(
        CausalLanguageModel model,
        ITokenizer tokenizer,
        RetrievalCase question,
        IReadOnlyList<int> ids,
        RotaryEmbedding positions,
        int capacity,
        CancellationToken cancellation
    )
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var candidates = question.Candidates.Select(c => (Text: c, Ids: EncodeContinuation(tokenizer, question.Prompt, ids, c))).ToList();
        using var cache = new KeyValueCache(model, Math.Max(capacity, ids.Count + candidates.Max(c => c.Ids.Length)));
        const int chunk = 1024;
        var prompt = ids.Select(id => (long)id).ToArray();
        Tensor? last = null;
        for (var start = 0; start < prompt.Length; start += chunk)
        {
            cancellation.ThrowIfCancellationRequested();
            using var inner = NewDisposeScope();
            last = CachedPass
                .Read(model, prompt.AsSpan(start, Math.Min(chunk, prompt.Length - start)), cache, 0, positions, last: 1)
                .MoveToOuterDisposeScope(); // [1, D]
        }
        cache.Mark(0);
        return candidates.MinBy(c => ComputeLoss(model, cache, prompt.Length, last!, c.Ids, positions)).Text;
    }

    // The summed loss of a candidate's tokens after the prompt.
    private static double ComputeLoss(
        CausalLanguageModel model,
        KeyValueCache cache,
        int promptLength,
        Tensor last,
        long[] answer,
        RotaryEmbedding positions
    )
    {
        using var scope = NewDisposeScope();
        cache.Truncate(0, promptLength);
        var hidden =
            // -> [a, D]
            answer.Length == 1
                ? last
                : cat([last, CachedPass.Read(model, answer.AsSpan(0, answer.Length - 1), cache, 0, positions)], 0);
        return ChunkedCrossEntropy.ComputeLosses(model.ApplyHead(hidden), tensor(answer, device: model.Device)).sum().item<double>();
    }

    // Tokens of a text after the prompt, if no token spans the boundary.
    private static long[] EncodeContinuation(ITokenizer tokenizer, string prompt, IReadOnlyList<int> ids, string answer)
    {
        var both = tokenizer.Encode(prompt + answer, addSpecial: true);
        return both.Take(ids.Count).SequenceEqual(ids)
            ? [.. both.Skip(ids.Count).Select(id => (long)id)]
            : [.. tokenizer.Encode(answer).Select(id => (long)id)];
    }
}

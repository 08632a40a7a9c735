namespace LongLora.Generation;

/// <summary>Extensions for the pieces of an answer.</summary>
internal static class AnswerPieces
{
    /// <summary>Waits for the whole answer.</summary>
    /// <param name="answer">Its pieces, as <see cref="ChatModel"/> gives them.</param>
    /// <param name="cancellation">Ends the generation.</param>
    /// <returns>The result that the last piece has.</returns>
    /// <exception cref="ArgumentException">The pieces end without a result: they are not a whole answer.</exception>
    public static async Task<GenerationResult> WholeAsync(
        this IAsyncEnumerable<AnswerPiece> answer,
        CancellationToken cancellation = default
    )
    {
        GenerationResult? result = null;
        await foreach (var piece in answer.WithCancellation(cancellation).ConfigureAwait(false))
            result = piece.Result;
        return result ?? throw new ArgumentException("The pieces end without a result: they are not a whole answer.", nameof(answer));
    }
}

namespace LongLora.Layers;

/// <summary>Makes the matrices of a model in another form than dense.</summary>
internal interface IProjectionSource
{
    /// <summary>The matrix of a linear layer; null if it should be dense.</summary>
    /// <param name="source">Provides the weights.</param>
    /// <param name="name">Module name without <c>.weight</c>.</param>
    /// <param name="outputs">O.</param>
    /// <param name="inputs">I.</param>
    /// <param name="bias">Makes b [O], or returns null if the layer has none. Call it once.</param>
    IProjection? Make(WeightSource source, string name, long outputs, long inputs, Func<Weight?> bias);

    /// <summary>
    /// A dense matrix as its file stores it, for products of few rows, which then read fewer bytes; null if it is stored dense.
    /// </summary>
    /// <param name="source">Provides the weights.</param>
    /// <param name="name">The name of the matrix, with <c>.weight</c>.</param>
    /// <param name="outputs">O.</param>
    /// <param name="inputs">I.</param>
    IProjection? FindStored(WeightSource source, string name, long outputs, long inputs);

    /// <summary>The matrices of all experts of a stack; null to have them dense, as they are stored.</summary>
    /// <param name="source">Gives the weights.</param>
    /// <param name="stack">The tensor that holds them.</param>
    /// <param name="experts">E.</param>
    IReadOnlyList<IProjection>? MakeStack(WeightSource source, ExpertStack stack, int experts);
}

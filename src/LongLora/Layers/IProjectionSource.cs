namespace LongLora.Layers;

/// <summary>Makes matrices of a model in another form than dense ones.</summary>
public interface IProjectionSource
{
    /// <summary>The matrix of a linear layer; null to have it dense.</summary>
    /// <param name="source">Gives the weights.</param>
    /// <param name="name">Module name without <c>.weight</c>.</param>
    /// <param name="outputs">O.</param>
    /// <param name="inputs">I.</param>
    /// <param name="bias">Makes b [O], or gives null where the layer has none; to be called once.</param>
    IProjection? Make(WeightSource source, string name, long outputs, long inputs, Func<Weight?> bias);

    /// <summary>The matrices of all experts of a stack; null to have them dense, as they are stored.</summary>
    /// <param name="source">Gives the weights.</param>
    /// <param name="stack">The tensor that holds them.</param>
    /// <param name="experts">E.</param>
    IReadOnlyList<IProjection>? MakeStack(WeightSource source, ExpertStack stack, int experts);
}

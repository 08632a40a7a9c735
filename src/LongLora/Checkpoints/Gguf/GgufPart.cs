using LongLora.Configs;
using static TorchSharp.torch;

namespace LongLora.Checkpoints;

/// <summary>
/// A kind of tensor in both layouts, and how its numbers stand in the file. Of the steps from Hugging Face's tensor to the file's, first
/// comes <see cref="View"/>, then the order of rows and columns, then <see cref="Values"/>.
/// </summary>
/// <param name="Name">Hugging Face's full name in a layer; <c>{e}</c> stands for the number of an expert, whose matrices the file
/// stacks.</param>
/// <param name="Stored">The name in a block of the file.</param>
internal sealed record GgufPart(string Name, string Stored)
{
    /// <summary>Stands for the number of an expert.</summary>
    public const string Expert = "{e}";

    /// <summary>Of each row of the viewed tensor its row in the file; null where the orders are the same.</summary>
    public Func<ModelConfig, int[]>? Rows { get; init; }

    /// <summary>The same of columns.</summary>
    public Func<ModelConfig, int[]>? Columns { get; init; }

    /// <summary>The part of Hugging Face's tensor that the file's tensor holds, as a view of it; null for the whole one.</summary>
    public Func<Tensor, Tensor>? View { get; init; }

    /// <summary>Hugging Face's dimensions from the file's, where there is a <see cref="View"/>.</summary>
    public Func<IReadOnlyList<long>, long[]>? Shape { get; init; }

    /// <summary>What becomes of each number on its way into the file, and back; null where it stays.</summary>
    public (Func<Tensor, Tensor> ToFile, Func<Tensor, Tensor> FromFile)? Values { get; init; }

    /// <summary>Whether the file stacks the tensors of all experts.</summary>
    public bool IsStacked { get; } = Name.Contains(Expert, StringComparison.Ordinal);

    /// <summary>Whether the file's numbers are Hugging Face's, row by row, so that their blocks can be used as they are.</summary>
    public bool IsPlain => Columns is null && View is null && Values is null;
}

using LongLora.Configs;

namespace LongLora.Checkpoints;

/// <summary>
/// A model as it is stored: what exports copy from the model that they begin with, and what a plan is made from. Reads only headers.
/// </summary>
internal interface IModelFiles
{
    /// <summary>The folder or the file.</summary>
    string Path { get; }

    /// <summary>The architecture.</summary>
    ModelConfig Config { get; }

    /// <summary>The architecture as the text of a <c>config.json</c>, for <see cref="ModelConfigWriter.Update"/>.</summary>
    string ConfigText { get; }

    /// <summary>Full paths of the files that decide what the model computes: config and weights.</summary>
    IReadOnlyList<string> ContentFiles { get; }

    /// <summary>Name, shape and type of every tensor, in the order of the files.</summary>
    IReadOnlyDictionary<string, TensorInfo> Tensors { get; }

    /// <summary>
    /// Writes what a changed copy of the model needs beside config and weights: tokenizer, chat template, generation settings.
    /// </summary>
    /// <param name="folder">The folder of the copy.</param>
    void CopyCompanions(string folder);
}

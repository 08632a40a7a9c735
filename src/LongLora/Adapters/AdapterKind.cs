namespace LongLora.Adapters;

/// <summary>In which form a low-rank update is trained.</summary>
public enum AdapterKind
{
    /// <summary>LoRA (arXiv 2106.09685): W + s B A, B zero at first.</summary>
    Lora,

    /// <summary>DoRA (arXiv 2402.09353): the direction of each row of W + s B A, times a trained magnitude.</summary>
    Dora,

    /// <summary>PiSSA (arXiv 2404.02948): LoRA that begins at the principal singular vectors of W, which are taken out of W.</summary>
    Pissa,
}

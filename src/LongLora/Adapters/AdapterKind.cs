namespace LongLora.Adapters;

/// <summary>The form of the low-rank updates.</summary>
public enum AdapterKind
{
    /// <summary>LoRA (arXiv 2106.09685): W + s B A, where B starts at zero.</summary>
    Lora,

    /// <summary>DoRA (arXiv 2402.09353): the direction of each row of W + s B A, times a trained magnitude.</summary>
    Dora,

    /// <summary>PiSSA (arXiv 2404.02948): LoRA that starts from the principal singular vectors of W, which are subtracted from W.</summary>
    Pissa,
}

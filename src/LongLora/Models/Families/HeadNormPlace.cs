namespace LongLora.Models;

/// <summary>Where a norm over queries or keys is applied, and over what.</summary>
internal enum HeadNormPlace
{
    /// <summary>Over each head, before positions (Qwen3, Gemma 3).</summary>
    EachHead,

    /// <summary>Over all heads of a token together, before positions (OLMo 2).</summary>
    WholeWidth,

    /// <summary>Over each head, after positions (Hunyuan).</summary>
    AfterRotation,
}

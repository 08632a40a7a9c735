namespace LongLora.Attention;

/// <summary>Which tokens a position may look at while training (LongLoRA, section 3.2). Inference always uses full attention.</summary>
public enum AttentionKind
{
    /// <summary>S²-Attn: half of the heads in groups, the other half in groups shifted by half a group.</summary>
    ShiftedSparse,

    /// <summary>Every earlier token.</summary>
    Full,

    /// <summary>Groups without the shift: the ablation that shows why the shift is needed.</summary>
    Grouped,

    /// <summary>Half of the heads in groups, the other half in groups of every second token: an ablation at the cost of S²-Attn.</summary>
    Dilated,
}

namespace LongLora.Attention;

/// <summary>Which tokens a position may look at in training (LongLoRA, section 3.2). Inference always uses full attention.</summary>
public enum AttentionKind
{
    /// <summary>S²-Attn: half of the heads in groups, the other half in groups shifted by half a group.</summary>
    ShiftedSparse,

    /// <summary>Every earlier token.</summary>
    Full,

    /// <summary>Groups without the shift: an ablation that shows why the shift is needed.</summary>
    Grouped,

    /// <summary>
    /// Half of the heads in groups, the other half in groups of every second token: an ablation with the cost of S²-Attn.
    /// </summary>
    Dilated,
}

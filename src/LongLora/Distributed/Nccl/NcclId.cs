namespace LongLora.Distributed;

/// <summary>Names a group of ranks to NCCL (<c>ncclUniqueId</c>): made by one of them, told to the others by other means.</summary>
internal unsafe struct NcclId
{
    internal const int Size = 128;

    internal fixed byte Bytes[Size];
}

using System.Buffers.Binary;

namespace LongLora.Checkpoints;

/// <summary>The checksum of zip archives (CRC-32 of ISO 3309, reflected, polynomial 0xEDB88320), eight bytes at a time by tables.</summary>
internal static class Crc32
{
    private const int Slices = 8;
    private static readonly uint[][] s_tables = MakeTables();

    /// <summary>Continues a checksum with <paramref name="bytes"/>; start with 0.</summary>
    public static uint Add(uint sum, ReadOnlySpan<byte> bytes)
    {
        var t = s_tables;
        sum = ~sum;
        for (; bytes.Length >= Slices; bytes = bytes[Slices..])
        {
            var (low, high) = (BinaryPrimitives.ReadUInt32LittleEndian(bytes) ^ sum, BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]));
            sum =
                t[7][low & 0xFF]
                ^ t[6][(low >> 8) & 0xFF]
                ^ t[5][(low >> 16) & 0xFF]
                ^ t[4][low >> 24]
                ^ t[3][high & 0xFF]
                ^ t[2][(high >> 8) & 0xFF]
                ^ t[1][(high >> 16) & 0xFF]
                ^ t[0][high >> 24];
        }
        foreach (var b in bytes)
            sum = (sum >> 8) ^ t[0][(sum ^ b) & 0xFF];
        return ~sum;
    }

    private static uint[][] MakeTables()
    {
        var tables = Enumerable.Range(0, Slices).Select(_ => new uint[256]).ToArray();
        for (var i = 0u; i < 256; i++)
        {
            var value = i;
            for (var bit = 0; bit < 8; bit++)
                value = (value & 1) != 0 ? (value >> 1) ^ 0xEDB88320 : value >> 1;
            tables[0][i] = value;
        }
        for (var slice = 1; slice < Slices; slice++)
        {
            for (var i = 0; i < 256; i++)
                tables[slice][i] = (tables[slice - 1][i] >> 8) ^ tables[0][tables[slice - 1][i] & 0xFF];
        }
        return tables;
    }
}

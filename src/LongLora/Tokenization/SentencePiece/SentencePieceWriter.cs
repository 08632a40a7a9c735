using Google.Protobuf;
using LongLora.Runtime;

namespace LongLora.Tokenization;

/// <summary>Writes a SentencePiece <c>tokenizer.model</c>: what <see cref="SentencePieceFile"/> reads, by the same field numbers.</summary>
internal static class SentencePieceWriter
{
    /// <summary>The special pieces by id; null where there is none.</summary>
    public readonly record struct Roles(int? Unknown, int? Bos, int? Eos, int? Pad);

    /// <summary>Writes a file.</summary>
    /// <param name="path">The file to make or replace.</param>
    /// <param name="pieces">The pieces, by id.</param>
    /// <param name="isUnigram">Whether it is a Unigram model, or BPE.</param>
    /// <param name="roles">The special pieces.</param>
    /// <param name="characterMap">precompiled_charsmap; empty for none.</param>
    /// <param name="addDummyPrefix">Whether a space is written in front of a text.</param>
    /// <param name="removeExtraWhitespaces">Whether neighboring spaces become one.</param>
    public static void Write(
        string path,
        IReadOnlyList<Piece> pieces,
        bool isUnigram,
        Roles roles,
        byte[] characterMap,
        bool addDummyPrefix,
        bool removeExtraWhitespaces
    )
    {
        var bytes = Message(model =>
        {
            foreach (var piece in pieces)
                WriteNested(model, 1, nested => WritePiece(nested, piece));
            WriteNested(model, 2, nested => WriteTrainer(nested, pieces, isUnigram, roles));
            WriteNested(model, 3, nested =>
            {
                WriteText(nested, 1, characterMap.Length == 0 ? "identity" : "custom");
                WriteBytes(nested, 2, characterMap);
                WriteInteger(nested, 3, addDummyPrefix ? 1 : 0);
                WriteInteger(nested, 4, removeExtraWhitespaces ? 1 : 0);
                WriteInteger(nested, 5, 1);
            });
        });
        AtomicFile.Write(path, stream => stream.Write(bytes));
    }

    private static void WritePiece(CodedOutputStream message, Piece piece)
    {
        WriteText(message, 1, piece.Text);
        message.WriteTag(2, WireFormat.WireType.Fixed32);
        message.WriteFloat(piece.Score);
        WriteInteger(message, 3, (int)piece.Kind);
    }

    private static void WriteTrainer(CodedOutputStream message, IReadOnlyList<Piece> pieces, bool isUnigram, Roles roles)
    {
        WriteInteger(message, 3, isUnigram ? 1 : 2);
        WriteInteger(message, 4, pieces.Count);
        WriteInteger(message, 35, pieces.Any(p => p.Kind == PieceKind.Byte) ? 1 : 0);
        // id and piece of unk, bos, eos and pad; -1 for none.
        foreach (var (at, id) in new[] { roles.Unknown, roles.Bos, roles.Eos, roles.Pad }.Index())
        {
            WriteInteger(message, 40 + at, id ?? -1);
            if (id is { } known)
                WriteText(message, 45 + at, pieces[known].Text);
        }
    }

    private static byte[] Message(Action<CodedOutputStream> write)
    {
        using var bytes = new MemoryStream();
        using (var output = new CodedOutputStream(bytes, leaveOpen: true))
            write(output);
        return bytes.ToArray();
    }

    private static void WriteNested(CodedOutputStream message, int field, Action<CodedOutputStream> write) =>
        WriteBytes(message, field, Message(write));

    private static void WriteInteger(CodedOutputStream message, int field, int value)
    {
        message.WriteTag(field, WireFormat.WireType.Varint);
        message.WriteInt32(value);
    }

    private static void WriteText(CodedOutputStream message, int field, string value)
    {
        message.WriteTag(field, WireFormat.WireType.LengthDelimited);
        message.WriteString(value);
    }

    private static void WriteBytes(CodedOutputStream message, int field, byte[] value)
    {
        message.WriteTag(field, WireFormat.WireType.LengthDelimited);
        message.WriteBytes(ByteString.CopyFrom(value));
    }
}

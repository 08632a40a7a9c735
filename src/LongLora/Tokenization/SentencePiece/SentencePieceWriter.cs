using System.Buffers;
using System.Buffers.Binary;
using System.Text;
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
        var model = new Message();
        foreach (var piece in pieces)
            model.Nested(1, new Message().Text(1, piece.Text).Float(2, piece.Score).Integer(3, (int)piece.Kind));
        var trainer = new Message()
            .Integer(3, isUnigram ? 1 : 2)
            .Integer(4, pieces.Count)
            .Integer(35, pieces.Any(p => p.Kind == PieceKind.Byte) ? 1 : 0);
        // id and piece of unk, bos, eos and pad; -1 for none.
        foreach (var (at, id) in new[] { roles.Unknown, roles.Bos, roles.Eos, roles.Pad }.Index())
        {
            trainer.Integer(40 + at, id ?? -1);
            if (id is { } known)
                trainer.Text(45 + at, pieces[known].Text);
        }
        model.Nested(2, trainer);
        model.Nested(
            3,
            new Message()
                .Text(1, characterMap.Length == 0 ? "identity" : "custom")
                .Bytes(2, characterMap)
                .Integer(3, addDummyPrefix ? 1 : 0)
                .Integer(4, removeExtraWhitespaces ? 1 : 0)
                .Integer(5, 1)
        );
        AtomicFile.Write(path, stream => stream.Write(model.Written));
    }

    /// <summary>One protobuf message (the wire format of protobuf.dev/programming-guides/encoding).</summary>
    private sealed class Message
    {
        private readonly ArrayBufferWriter<byte> _buffer = new();

        public ReadOnlySpan<byte> Written => _buffer.WrittenSpan;

        public Message Integer(int field, long value)
        {
            Varint((ulong)field << 3);
            Varint((ulong)value);
            return this;
        }

        public Message Float(int field, float value)
        {
            Varint((ulong)field << 3 | 5);
            Span<byte> bytes = stackalloc byte[4];
            BinaryPrimitives.WriteSingleLittleEndian(bytes, value);
            _buffer.Write(bytes);
            return this;
        }

        public Message Text(int field, string value) => Bytes(field, Encoding.UTF8.GetBytes(value));

        public Message Nested(int field, Message value) => Bytes(field, value.Written);

        public Message Bytes(int field, ReadOnlySpan<byte> value)
        {
            Varint((ulong)field << 3 | 2);
            Varint((ulong)value.Length);
            _buffer.Write(value);
            return this;
        }

        private void Varint(ulong value)
        {
            for (; value >= 0x80; value >>= 7)
                _buffer.Write([(byte)(value | 0x80)]);
            _buffer.Write([(byte)value]);
        }
    }
}

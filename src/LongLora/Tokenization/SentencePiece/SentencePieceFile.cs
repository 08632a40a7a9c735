using System.Buffers.Binary;
using System.Text;
using LongLora.Runtime;

namespace LongLora.Tokenization;

/// <summary>Kinds of pieces in a tokenizer.model, with the file's numbers.</summary>
internal enum PieceKind
{
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

/// <summary>One piece. Its id is its index in the file.</summary>
internal readonly record struct Piece(string Text, float Score, PieceKind Kind);

/// <summary>
/// The content of a SentencePiece <c>tokenizer.model</c>: a protobuf of <c>sentencepiece_model.proto</c>. It is read field by field,
/// because it consists only of numbers, strings and nested messages. Fields not named below do not change the ids of a text.
/// </summary>
internal sealed class SentencePieceFile
{
    public List<Piece> Pieces { get; } = [];

    /// <summary>trainer_spec.model_type: 1 Unigram, 2 BPE, 3 word, 4 character.</summary>
    public int ModelType { get; private set; } = 1;

    public bool SpaceAsSuffix { get; private set; }

    public string BosPiece { get; private set; } = "<s>";

    public string EosPiece { get; private set; } = "</s>";

    public string PadPiece { get; private set; } = "<pad>";

    public bool ByteFallback { get; private set; }

    /// <summary>What an unknown token is decoded to.</summary>
    public string UnknownSurface { get; private set; } = " \u2047 ";

    /// <summary>normalizer_spec.precompiled_charsmap; empty for the identity.</summary>
    public byte[] CharacterMap { get; private set; } = [];

    public bool AddDummyPrefix { get; private set; } = true;

    public bool RemoveExtraWhitespaces { get; private set; } = true;

    public bool EscapeWhitespaces { get; private set; } = true;

    public bool HasDenormalizer { get; private set; }

    private bool HasTrainer { get; set; }

    /// <summary>
    /// Whether a file may be a SentencePiece model: it begins with a piece (field 1), or it is empty and so at least not of another type.
    /// </summary>
    public static bool IsLikely(string path)
    {
        using var stream = TokenizerFiles.Open(path);
        return stream.ReadByte() is 0x0A or < 0;
    }

    /// <summary>Reads a file.</summary>
    /// <exception cref="CheckpointException">It is damaged or not a SentencePiece model.</exception>
    public static SentencePieceFile Read(string path)
    {
        var file = new SentencePieceFile();
        try
        {
            file.ReadModel(new Message(TokenizerFiles.ReadAllBytes(path)));
        }
        catch (Exception e) when (e is FormatException or DecoderFallbackException)
        {
            throw new CheckpointException($"{path} is damaged or not a SentencePiece model: {e.Message}. Download the file again.", e);
        }
        // The trainer's settings come after the pieces. A truncated file lacks them, even if it was cut between two pieces.
        if (file.Pieces.Count == 0 || !file.HasTrainer)
            throw new CheckpointException(
                $"{path} is damaged or not a SentencePiece model: it ends after {file.Pieces.Count} pieces. Download the file " + $"again."
            );
        return file;
    }

    private void ReadModel(Message message)
    {
        while (message.Next(out var field))
        {
            if (field == 1)
                Pieces.Add(ReadPiece(message.ReadNested()));
            else if (field == 2)
                ReadTrainer(message.ReadNested());
            else if (field == 3)
                ReadNormalizer(message.ReadNested());
            else if (field == 5)
                HasDenormalizer = HasCharacterMap(message.ReadNested());
            else
                message.Skip();
        }
    }

    private static Piece ReadPiece(Message message)
    {
        var piece = new Piece("", 0, PieceKind.Normal);
        while (message.Next(out var field))
        {
            if (field == 1)
                piece = piece with { Text = message.ReadText() };
            else if (field == 2)
                piece = piece with { Score = message.ReadFloat() };
            else if (field == 3)
                piece = piece with { Kind = (PieceKind)message.ReadInteger() };
            else
                message.Skip();
        }
        if (piece.Text.Length == 0 || !Enum.IsDefined(piece.Kind) || !float.IsFinite(piece.Score))
            throw new FormatException($"impossible piece \"{piece.Text}\" of type {(int)piece.Kind} with score {piece.Score}");
        return piece;
    }

    private void ReadTrainer(Message message)
    {
        HasTrainer = true;
        while (message.Next(out var field))
        {
            switch (field)
            {
                case 3:
                    ModelType = (int)message.ReadInteger();
                    break;
                case 24:
                    SpaceAsSuffix = message.ReadInteger() != 0;
                    break;
                case 35:
                    ByteFallback = message.ReadInteger() != 0;
                    break;
                case 44:
                    UnknownSurface = message.ReadText();
                    break;
                case 46:
                    BosPiece = message.ReadText();
                    break;
                case 47:
                    EosPiece = message.ReadText();
                    break;
                case 48:
                    PadPiece = message.ReadText();
                    break;
                default:
                    message.Skip();
                    break;
            }
        }
    }

    private void ReadNormalizer(Message message)
    {
        while (message.Next(out var field))
        {
            switch (field)
            {
                case 2:
                    CharacterMap = message.ReadBytes().ToArray();
                    break;
                case 3:
                    AddDummyPrefix = message.ReadInteger() != 0;
                    break;
                case 4:
                    RemoveExtraWhitespaces = message.ReadInteger() != 0;
                    break;
                case 5:
                    EscapeWhitespaces = message.ReadInteger() != 0;
                    break;
                default:
                    message.Skip();
                    break;
            }
        }
    }

    private static bool HasCharacterMap(Message message)
    {
        var found = false;
        while (message.Next(out var field))
        {
            if (field == 2)
                found |= message.ReadBytes().Length > 0;
            else
                message.Skip();
        }
        return found;
    }

    /// <summary>A cursor over one protobuf message (the wire format of protobuf.dev/programming-guides/encoding).</summary>
    private ref struct Message(ReadOnlySpan<byte> bytes)
    {
        private static readonly UTF8Encoding s_strict = new(false, throwOnInvalidBytes: true);
        private readonly ReadOnlySpan<byte> _bytes = bytes;
        private int _position;
        private int _wireType;

        /// <summary>Moves to the next field; false at the end.</summary>
        public bool Next(out int field)
        {
            field = 0;
            if (_position >= _bytes.Length)
                return false;
            var tag = ReadVarint();
            (field, _wireType) = ((int)(tag >> 3), (int)(tag & 7));
            return tag is > 7 and <= uint.MaxValue ? true : throw new FormatException($"impossible field at byte {_position}");
        }

        public long ReadInteger()
        {
            Expect(0);
            return (long)ReadVarint();
        }

        public float ReadFloat()
        {
            Expect(5);
            return BinaryPrimitives.ReadSingleLittleEndian(Take(4));
        }

        public ReadOnlySpan<byte> ReadBytes()
        {
            Expect(2);
            var length = ReadVarint();
            return length <= (ulong)_bytes.Length
                ? Take((int)length)
                : throw new FormatException($"field of {length} bytes at byte {_position} of {_bytes.Length}");
        }

        public string ReadText() => s_strict.GetString(ReadBytes());

        public Message ReadNested() => new(ReadBytes());

        public void Skip()
        {
            switch (_wireType)
            {
                case 0:
                    ReadVarint();
                    break;
                case 1:
                    Take(8);
                    break;
                case 2:
                    ReadBytes();
                    break;
                case 5:
                    Take(4);
                    break;
                default:
                    throw new FormatException($"impossible field at byte {_position}");
            }
        }

        private void Expect(int wireType)
        {
            if (_wireType != wireType)
                throw new FormatException($"field of the wrong type at byte {_position}");
        }

        private ReadOnlySpan<byte> Take(int length)
        {
            if (length > _bytes.Length - _position)
                throw new FormatException($"it ends at byte {_bytes.Length}, inside a field");
            _position += length;
            return _bytes.Slice(_position - length, length);
        }

        private ulong ReadVarint()
        {
            var value = 0UL;
            for (var shift = 0; shift < 64; shift += 7)
            {
                var b = Take(1)[0];
                value |= (ulong)(b & 0x7F) << shift;
                if (b < 0x80)
                    return value;
            }
            throw new FormatException($"impossible number at byte {_position}");
        }
    }
}

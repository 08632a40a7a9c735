using System.Buffers.Binary;
using System.Text;
using LongLora.Runtime;

namespace LongLora.Tokenization;

/// <summary>Kinds of pieces in a tokenizer.model; the numbers are the file's.</summary>
internal enum PieceKind
{
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

/// <summary>One piece: its id is its place in the file.</summary>
internal readonly record struct Piece(string Text, float Score, PieceKind Kind);

/// <summary>
/// What a SentencePiece <c>tokenizer.model</c> holds: a protobuf of <c>sentencepiece_model.proto</c>, read here field by field because
/// nothing more than numbers, strings and nesting occurs in it. Fields that are not named below do not change the ids of a text.
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
    /// Whether a file may be a SentencePiece model: it begins with a piece (field 1), or is empty and so at least not of another kind.
    /// </summary>
    public static bool IsLikely(string path)
    {
        using var stream = TokenizerFiles.Open(path);
        return stream.ReadByte() is 0x0A or < 0;
    }

    /// <summary>What another file says of a Unigram model.</summary>
    /// <param name="pieces">The pieces, by id.</param>
    /// <param name="map">precompiled_charsmap.</param>
    /// <param name="addDummyPrefix">Whether a space is written in front of a text.</param>
    /// <param name="removeExtraWhitespaces">Whether neighboring spaces become one.</param>
    public static SentencePieceFile Unigram(IEnumerable<Piece> pieces, byte[] map, bool addDummyPrefix, bool removeExtraWhitespaces)
    {
        var file = new SentencePieceFile
        {
            ModelType = 1,
            CharacterMap = map,
            AddDummyPrefix = addDummyPrefix,
            RemoveExtraWhitespaces = removeExtraWhitespaces,
            HasTrainer = true,
        };
        file.Pieces.AddRange(pieces);
        file.ByteFallback = file.Pieces.Count(p => p.Kind == PieceKind.Byte) == 256;
        return file;
    }

    /// <summary>Reads a file.</summary>
    /// <exception cref="CheckpointException">It is not a SentencePiece model, or damaged.</exception>
    public static SentencePieceFile Read(string path)
    {
        var file = new SentencePieceFile();
        try
        {
            file.ReadModel(new Message(TokenizerFiles.ReadAllBytes(path)));
        }
        catch (Exception e) when (e is FormatException or DecoderFallbackException)
        {
            throw new CheckpointException($"{path} is not a SentencePiece model, or damaged: {e.Message}. Fetch the file again.", e);
        }
        // The trainer's settings follow the pieces: a file that was cut off lacks them, even where it was cut between two pieces.
        if (file.Pieces.Count == 0 || !file.HasTrainer)
            throw new CheckpointException(
                $"{path} is not a SentencePiece model, or damaged: it holds {file.Pieces.Count} pieces and ends there. Fetch the file "
                    + $"again."
            );
        return file;
    }

    private void ReadModel(Message message)
    {
        while (message.Next(out var field))
        {
            if (field == 1)
                Pieces.Add(ReadPiece(message.Nested()));
            else if (field == 2)
                ReadTrainer(message.Nested());
            else if (field == 3)
                ReadNormalizer(message.Nested());
            else if (field == 5)
                HasDenormalizer = HasCharacterMap(message.Nested());
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
                piece = piece with { Text = message.Text() };
            else if (field == 2)
                piece = piece with { Score = message.Float() };
            else if (field == 3)
                piece = piece with { Kind = (PieceKind)message.Integer() };
            else
                message.Skip();
        }
        if (piece.Text.Length == 0 || !Enum.IsDefined(piece.Kind) || !float.IsFinite(piece.Score))
            throw new FormatException($"the piece \"{piece.Text}\" of type {(int)piece.Kind} and score {piece.Score}");
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
                    ModelType = (int)message.Integer();
                    break;
                case 24:
                    SpaceAsSuffix = message.Integer() != 0;
                    break;
                case 35:
                    ByteFallback = message.Integer() != 0;
                    break;
                case 44:
                    UnknownSurface = message.Text();
                    break;
                case 46:
                    BosPiece = message.Text();
                    break;
                case 47:
                    EosPiece = message.Text();
                    break;
                case 48:
                    PadPiece = message.Text();
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
                    CharacterMap = message.Bytes().ToArray();
                    break;
                case 3:
                    AddDummyPrefix = message.Integer() != 0;
                    break;
                case 4:
                    RemoveExtraWhitespaces = message.Integer() != 0;
                    break;
                case 5:
                    EscapeWhitespaces = message.Integer() != 0;
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
                found |= message.Bytes().Length > 0;
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

        /// <summary>Goes to the next field; false at the end.</summary>
        public bool Next(out int field)
        {
            field = 0;
            if (_position >= _bytes.Length)
                return false;
            var tag = Varint();
            (field, _wireType) = ((int)(tag >> 3), (int)(tag & 7));
            return tag is > 7 and <= uint.MaxValue ? true : throw new FormatException($"an impossible field at byte {_position}");
        }

        public long Integer()
        {
            Expect(0);
            return (long)Varint();
        }

        public float Float()
        {
            Expect(5);
            return BinaryPrimitives.ReadSingleLittleEndian(Take(4));
        }

        public ReadOnlySpan<byte> Bytes()
        {
            Expect(2);
            var length = Varint();
            return length <= (ulong)_bytes.Length
                ? Take((int)length)
                : throw new FormatException($"a field of {length} bytes at byte {_position} of {_bytes.Length}");
        }

        public string Text() => s_strict.GetString(Bytes());

        public Message Nested() => new(Bytes());

        public void Skip()
        {
            switch (_wireType)
            {
                case 0:
                    Varint();
                    break;
                case 1:
                    Take(8);
                    break;
                case 2:
                    Bytes();
                    break;
                case 5:
                    Take(4);
                    break;
                default:
                    throw new FormatException($"an impossible field at byte {_position}");
            }
        }

        private void Expect(int wireType)
        {
            if (_wireType != wireType)
                throw new FormatException($"a field of the wrong type at byte {_position}");
        }

        private ReadOnlySpan<byte> Take(int length)
        {
            if (length > _bytes.Length - _position)
                throw new FormatException($"it ends at byte {_bytes.Length}, inside a field");
            _position += length;
            return _bytes.Slice(_position - length, length);
        }

        private ulong Varint()
        {
            var value = 0UL;
            for (var shift = 0; shift < 64; shift += 7)
            {
                var b = Take(1)[0];
                value |= (ulong)(b & 0x7F) << shift;
                if (b < 0x80)
                    return value;
            }
            throw new FormatException($"an impossible number at byte {_position}");
        }
    }
}

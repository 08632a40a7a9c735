using System.Text;
using Google.Protobuf;
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
/// What a SentencePiece <c>tokenizer.model</c> holds: a protobuf of <c>sentencepiece_model.proto</c>, read field by field. Fields that are
/// not named below do not change the ids of a text.
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

    /// <summary>What decoding does with the space that the normalizer writes before a text.</summary>
    public LeadingSpace LeadingSpace =>
        RemoveExtraWhitespaces ? LeadingSpace.StripWhileEmpty
        : AddDummyPrefix ? LeadingSpace.StripOnce
        : LeadingSpace.Keep;

    /// <summary>What another file says of a model.</summary>
    /// <param name="isUnigram">Whether it is a Unigram model, or BPE.</param>
    /// <param name="pieces">The pieces, by id.</param>
    /// <param name="map">precompiled_charsmap.</param>
    /// <param name="addDummyPrefix">Whether a space is written in front of a text.</param>
    /// <param name="removeExtraWhitespaces">Whether neighboring spaces become one.</param>
    public static SentencePieceFile Of(
        bool isUnigram,
        IEnumerable<Piece> pieces,
        byte[] map,
        bool addDummyPrefix,
        bool removeExtraWhitespaces
    )
    {
        var file = new SentencePieceFile
        {
            ModelType = isUnigram ? 1 : 2,
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
    /// <exception cref="CheckpointException">It is damaged or not a SentencePiece model.</exception>
    public static SentencePieceFile Read(string path)
    {
        var file = new SentencePieceFile();
        try
        {
            file.ReadModel(new CodedInputStream(TokenizerFiles.ReadAllBytes(path)));
        }
        catch (Exception e) when (e is FormatException or InvalidProtocolBufferException or DecoderFallbackException)
        {
            throw new CheckpointException(
                $"{path} is damaged or not a SentencePiece model: {e.Message.TrimEnd('.')}. Download the file again.",
                e
            );
        }
        // The trainer's settings come after the pieces. A truncated file lacks them, even if it was cut between two pieces.
        if (file.Pieces.Count == 0 || !file.HasTrainer)
            throw new CheckpointException(
                $"{path} is damaged or not a SentencePiece model: it ends after {file.Pieces.Count} pieces. Download the file again."
            );
        return file;
    }

    private void ReadModel(CodedInputStream input)
    {
        while (input.ReadTag() is > 0 and var tag)
        {
            switch (WireFormat.GetTagFieldNumber(tag))
            {
                case 1:
                    Pieces.Add(ReadPiece(Nested(input, tag)));
                    break;
                case 2:
                    ReadTrainer(Nested(input, tag));
                    break;
                case 3:
                    ReadNormalizer(Nested(input, tag));
                    break;
                case 5:
                    HasDenormalizer = HasCharacterMap(Nested(input, tag));
                    break;
                default:
                    input.SkipLastField();
                    break;
            }
        }
    }

    private static Piece ReadPiece(CodedInputStream input)
    {
        var piece = new Piece("", 0, PieceKind.Normal);
        while (input.ReadTag() is > 0 and var tag)
        {
            switch (WireFormat.GetTagFieldNumber(tag))
            {
                case 1:
                    piece = piece with { Text = Text(input, tag) };
                    break;
                case 2:
                    piece = piece with { Score = Float(input, tag) };
                    break;
                case 3:
                    piece = piece with { Kind = (PieceKind)Integer(input, tag) };
                    break;
                default:
                    input.SkipLastField();
                    break;
            }
        }
        if (piece.Text.Length == 0 || !Enum.IsDefined(piece.Kind) || !float.IsFinite(piece.Score))
            throw new FormatException($"impossible piece \"{piece.Text}\" of type {(int)piece.Kind} with score {piece.Score}");
        return piece;
    }

    private void ReadTrainer(CodedInputStream input)
    {
        HasTrainer = true;
        while (input.ReadTag() is > 0 and var tag)
        {
            switch (WireFormat.GetTagFieldNumber(tag))
            {
                case 3:
                    ModelType = Integer(input, tag);
                    break;
                case 24:
                    SpaceAsSuffix = Integer(input, tag) != 0;
                    break;
                case 35:
                    ByteFallback = Integer(input, tag) != 0;
                    break;
                case 44:
                    UnknownSurface = Text(input, tag);
                    break;
                case 46:
                    BosPiece = Text(input, tag);
                    break;
                case 47:
                    EosPiece = Text(input, tag);
                    break;
                case 48:
                    PadPiece = Text(input, tag);
                    break;
                default:
                    input.SkipLastField();
                    break;
            }
        }
    }

    private void ReadNormalizer(CodedInputStream input)
    {
        while (input.ReadTag() is > 0 and var tag)
        {
            switch (WireFormat.GetTagFieldNumber(tag))
            {
                case 2:
                    CharacterMap = Bytes(input, tag).ToByteArray();
                    break;
                case 3:
                    AddDummyPrefix = Integer(input, tag) != 0;
                    break;
                case 4:
                    RemoveExtraWhitespaces = Integer(input, tag) != 0;
                    break;
                case 5:
                    EscapeWhitespaces = Integer(input, tag) != 0;
                    break;
                default:
                    input.SkipLastField();
                    break;
            }
        }
    }

    private static bool HasCharacterMap(CodedInputStream input)
    {
        var found = false;
        while (input.ReadTag() is > 0 and var tag)
        {
            if (WireFormat.GetTagFieldNumber(tag) == 2)
                found |= Bytes(input, tag).Length > 0;
            else
                input.SkipLastField();
        }
        return found;
    }

    private static int Integer(CodedInputStream input, uint tag) => Expect(input, tag, WireFormat.WireType.Varint).ReadInt32();

    private static float Float(CodedInputStream input, uint tag) => Expect(input, tag, WireFormat.WireType.Fixed32).ReadFloat();

    private static string Text(CodedInputStream input, uint tag) => Expect(input, tag, WireFormat.WireType.LengthDelimited).ReadString();

    private static ByteString Bytes(CodedInputStream input, uint tag) =>
        Expect(input, tag, WireFormat.WireType.LengthDelimited).ReadBytes();

    private static CodedInputStream Nested(CodedInputStream input, uint tag) => Bytes(input, tag).CreateCodedInput();

    // The library reads whatever type it is asked for, also where the file has another one.
    private static CodedInputStream Expect(CodedInputStream input, uint tag, WireFormat.WireType type) =>
        WireFormat.GetTagWireType(tag) == type ? input : throw new FormatException($"field of the wrong type before byte {input.Position}");
}

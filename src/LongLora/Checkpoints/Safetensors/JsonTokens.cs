using System.Text.Json;

namespace LongLora.Checkpoints;

/// <summary>
/// The tokens of a JSON text of known length at a stream's position. They are read through a small buffer that grows only for a single long
/// token, so memory follows what is really there and not what a file claims.
/// </summary>
internal ref struct JsonTokens
{
    private readonly Stream _stream;
    private byte[] _buffer;
    private int _filled;
    private long _remaining;
    private Utf8JsonReader _reader;

    public JsonTokens(Stream stream, long length)
    {
        _stream = stream;
        _remaining = length;
        _buffer = new byte[Math.Min(length, 1 << 16)];
        _reader = new Utf8JsonReader([], isFinalBlock: false, default);
        Fill();
    }

    /// <summary>Reads the next token, which must have this type.</summary>
    public void Expect(JsonTokenType type, string what)
    {
        if (ReadNext() != type)
            throw MakeUnexpectedError(what, type.ToString());
    }

    /// <summary>Reads the end of the text.</summary>
    public void ExpectEnd()
    {
        if (Advance())
            throw MakeUnexpectedError("the end", "nothing");
    }

    /// <summary>Reads the name of the next property; null at the end of the object.</summary>
    public string? ReadName() =>
        ReadNext() switch
        {
            JsonTokenType.PropertyName => GetText("a name"),
            _ => null,
        };

    /// <summary>Reads the next value, a string.</summary>
    public string ReadText(string what)
    {
        Expect(JsonTokenType.String, what);
        return GetText(what);
    }

    /// <summary>Reads the next value, a list of at most <paramref name="limit"/> integers from 0 on.</summary>
    public List<long> ReadIntegers(string what, int limit)
    {
        Expect(JsonTokenType.StartArray, what);
        var list = new List<long>();
        while (ReadNext() != JsonTokenType.EndArray)
        {
            if (_reader.TokenType != JsonTokenType.Number || !_reader.TryGetInt64(out var number) || number < 0)
                throw MakeUnexpectedError(what, "integers from 0 to 2^63 - 1");
            if (list.Count == limit)
                throw new JsonException($"{what} has more than {limit} numbers");
            list.Add(number);
        }
        return list;
    }

    private readonly string GetText(string what)
    {
        try
        {
            return _reader.GetString()!;
        }
        catch (InvalidOperationException e)
        {
            // Utf8JsonReader throws this for bytes that are not UTF-8 and for half of a surrogate pair.
            throw new JsonException($"{what} is not valid UTF-8", e);
        }
    }

    private JsonTokenType ReadNext() => Advance() ? _reader.TokenType : throw new JsonException("it ends too early");

    private bool Advance()
    {
        while (!_reader.Read())
        {
            if (_reader.IsFinalBlock)
                return false;
            Fill();
        }
        return true;
    }

    private void Fill()
    {
        var consumed = (int)_reader.BytesConsumed;
        var left = _filled - consumed;
        Buffer.BlockCopy(_buffer, consumed, _buffer, 0, left);
        if (left == _buffer.Length)
            Array.Resize(ref _buffer, (int)Math.Min(2L * _buffer.Length, left + _remaining));
        var wanted = (int)Math.Min(_buffer.Length - left, _remaining);
        _stream.ReadExactly(_buffer, left, wanted);
        _remaining -= wanted;
        _filled = left + wanted;
        _reader = new Utf8JsonReader(_buffer.AsSpan(0, _filled), isFinalBlock: _remaining == 0, _reader.CurrentState);
    }

    private readonly JsonException MakeUnexpectedError(string what, string expected) =>
        new($"{what}: {expected} expected, {_reader.TokenType} seen");
}

using System.Text.Json;
using LongLora.Runtime;

namespace LongLora.Data;

/// <summary>
/// The objects of a JSON file: the elements of one array, or objects one after the other, on separate lines or not. The first character
/// decides which, not the file name: many published <c>.json</c> files contain lines. Only one object is in memory at a time.
/// </summary>
internal sealed class JsonRecords : IRecordReader
{
    /// <inheritdoc/>
    public IReadOnlyList<string> Extensions { get; } = [".json", ".jsonl", ".ndjson"];

    /// <inheritdoc/>
    public IEnumerable<DataRecord> ReadRecords(Stream stream, string file)
    {
        var values = new Values(new Utf8Stream(stream, file), file);
        while (values.ReadNext() is { } value)
        {
            using var document = JsonRecord.Parse(value.Bytes, value.Origin, value.IsLast);
            if (document.RootElement.ValueKind != JsonValueKind.Object)
                throw new DataException($"{value.Origin}: the record must be a JSON object, but it is {document.RootElement.ValueKind}.");
            yield return new DataRecord(document.RootElement, value.Origin);
        }
    }

    // Finds where values begin and end. The parser reads their content.
    private sealed class Values(Stream stream, string file)
    {
        private const int FirstCheck = 1 << 20;

        private byte[] _buffer = new byte[1 << 16];
        private int _at,
            _end;
        private long _line = 1,
            _records,
            _lastLine;
        private bool _begun,
            _inArray,
            _arrayEnded,
            _ended;

        public (ReadOnlyMemory<byte> Bytes, string Origin, bool IsLast)? ReadNext()
        {
            if (!_begun)
                Begin();
            while (Peek(0) is { } next && next is (byte)',' or (byte)' ' or (byte)'\t' or (byte)'\r' or (byte)'\n')
                Skip();
            // Files with everything on one line are common. There the line number alone does not help.
            var origin = _line == _lastLine ? $"{file}:{_line} (record {_records + 1:N0})" : $"{file}:{_line}";
            if (Peek(0) is not { } first)
                return _inArray && !_arrayEnded
                    ? throw new DataException($"{origin}: the file ends inside its array. It is truncated. Download it again.")
                    : null;
            if (first == ']' && _inArray && !_arrayEnded)
            {
                _arrayEnded = true;
                Skip();
                return ReadNext();
            }
            if (_arrayEnded)
                throw new DataException($"{origin}: there is something after the end of the array.");
            var length = MeasureValue();
            var value = _buffer.AsMemory(_at, length);
            _lastLine = _line += value.Span.Count((byte)'\n');
            _records++;
            _at += length;
            return (value, origin, _ended);
        }

        private void Begin()
        {
            _begun = true;
            if (Peek(2) == 0xBF && Peek(0) == 0xEF && Peek(1) == 0xBB)
                _at += 3;
            while (Peek(0) is (byte)' ' or (byte)'\t' or (byte)'\r' or (byte)'\n')
                Skip();
            _inArray = Peek(0) == '[';
            if (_inArray)
                _at++;
        }

        private void Skip() => _line += _buffer[_at++] == '\n' ? 1 : 0;

        // What is certainly damaged ends where that shows. Otherwise one lost brace would bring the rest of the file into memory.
        private int MeasureValue()
        {
            var (depth, inText, checkedAt) = (0, false, FirstCheck);
            for (var i = 0; ; i++)
            {
                if (Peek(i) is not { } b)
                {
                    _ended = true;
                    return _end - _at;
                }
                if (i >= checkedAt)
                {
                    if (!JsonRecord.IsBeginning(_buffer.AsSpan(_at, i)))
                        return i;
                    checkedAt = 2 * i;
                }
                if (inText)
                {
                    if (b == '\n')
                        return i;
                    if (b == '\\')
                        i++;
                    else if (b == '"')
                        inText = false;
                    else
                        i += FindPlainEnd(i);
                }
                else if (b == '"')
                    inText = true;
                else if (b is (byte)'{' or (byte)'[')
                    depth++;
                else if (b is (byte)'}' or (byte)']' && --depth <= 0)
                    return depth < 0 ? i : i + 1;
                else if (depth == 0 && b is (byte)',' or (byte)'\n')
                    return i;
            }
        }

        // How many more bytes of a text can be skipped at once.
        private int FindPlainEnd(int from)
        {
            var rest = _buffer.AsSpan(_at + from + 1, _end - _at - from - 1);
            var found = rest.IndexOfAny((byte)'"', (byte)'\\', (byte)'\n');
            return found < 0 ? rest.Length : found;
        }

        private byte? Peek(int offset)
        {
            while (_at + offset >= _end)
            {
                _buffer.AsSpan(_at, _end - _at).CopyTo(_buffer);
                (_at, _end) = (0, _end - _at);
                if (_end == _buffer.Length)
                    Array.Resize(ref _buffer, 2 * _buffer.Length);
                var read = stream.Read(_buffer, _end, _buffer.Length - _end);
                if (read == 0)
                    return null;
                _end += read;
            }
            return _buffer[_at + offset];
        }
    }
}

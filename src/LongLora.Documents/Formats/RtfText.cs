using System.Globalization;
using System.Text;
using LongLora.Runtime;

namespace LongLora.Documents.Formats;

/// <summary>The walk through one file in Rich Text Format. Groups are kept on a stack of its own, so their depth is no danger.</summary>
/// <param name="source">The whole file.</param>
/// <param name="file">Its name, for messages.</param>
internal sealed class RtfText(ReadOnlyMemory<byte> source, string file)
{
    private const int DeepestGroup = 10_000;

    // Groups without text of the document. Unknown groups that begin with \* are left out too.
    private static readonly HashSet<string> s_left =
    [
        .. (
            "fonttbl colortbl stylesheet listtable listoverridetable revtbl rsidtbl filetbl info pict object objdata header headerl "
            + "headerr "
            + "headerf footer footerl footerr footerf ftnsep ftnsepc ftncn aftnsep aftnsepc aftncn themedata colorschememapping "
            + "latentstyles "
            + "datastore datafield fldinst nonshppict shprslt sp sn sv xe tc template annotation atnid atnauthor atnref private1 pgptbl "
            + "generator "
            + "xmlnstbl mmathPr bkmkstart bkmkend userprops wgrffmtfilter passwordhash fchars lchars"
        ).Split(' '),
    ];

    private static readonly Dictionary<string, string> s_letters = new()
    {
        ["tab"] = " ",
        ["emdash"] = "—",
        ["endash"] = "–",
        ["lquote"] = "‘",
        ["rquote"] = "’",
        ["ldblquote"] = "“",
        ["rdblquote"] = "”",
        ["bullet"] = "•",
        ["emspace"] = " ",
        ["enspace"] = " ",
        ["qmspace"] = " ",
        ["zwj"] = "\u200D",
        ["zwnj"] = "\u200C",
        ["ltrmark"] = "\u200E",
        ["rtlmark"] = "\u200F",
    };

    private static readonly Dictionary<int, int> s_codePages = new()
    {
        [77] = 10000,
        [128] = 932,
        [129] = 949,
        [130] = 1361,
        [134] = 936,
        [136] = 950,
        [161] = 1253,
        [162] = 1254,
        [163] = 1258,
        [177] = 1255,
        [178] = 1256,
        [186] = 1257,
        [204] = 1251,
        [222] = 874,
        [238] = 1250,
        [254] = 437,
        [255] = 850,
    };

    private enum Target
    {
        Text,
        None,
        FontTable,
        ListMark,
    }

    private record struct State(Target Target, int SkippedAfterUnicode, int Font, bool IsHidden, bool IsAlternative, int Note);

    private readonly Stack<State> _groups = new();
    private readonly Dictionary<int, int> _fonts = [];
    private readonly List<BlockText> _notes = [];
    private readonly BlockText _text = new();
    private readonly List<byte> _bytes = [];
    private readonly StringBuilder _listMark = new();
    private State _state = new(Target.Text, 1, 0, false, false, -1);
    private int _at,
        _codePage = 1252,
        _toSkip,
        _heading,
        _cells;
    private bool _isIgnorable,
        _isCell;
    private char _high;

    static RtfText() => Encoding.RegisterProvider(CodePagesEncodingProvider.Instance);

    /// <summary>The text.</summary>
    /// <exception cref="DataException">The groups are nested absurdly deep, or one is not closed.</exception>
    public string Read()
    {
        var bytes = source.Span;
        while (_at < bytes.Length)
        {
            var b = bytes[_at++];
            switch (b)
            {
                case (byte)'{':
                    Open();
                    break;
                case (byte)'}':
                    Close();
                    break;
                case (byte)'\\':
                    ReadControl(bytes);
                    break;
                case (byte)'\r' or (byte)'\n' or 0:
                    break;
                default:
                    AddByte(b);
                    break;
            }
        }
        Flush();
        if (_groups.Count > 0)
            throw new DataException(
                $"Cannot read {file} because it ends inside {_groups.Count} groups. It is truncated. Download it again."
            );
        var text = _text.ToString();
        for (var i = 0; i < _notes.Count; i++)
            text += string.Create(CultureInfo.InvariantCulture, $"\n\n[^{i + 1}]: {_notes[i].ToString().ReplaceLineEndings(" ")}");
        return text;
    }

    private BlockText Output => _state.Note < 0 ? _text : _notes[_state.Note];

    private void Open()
    {
        Flush();
        _toSkip = 0;
        if (_groups.Count >= DeepestGroup)
            throw new DataException($"Cannot read {file} because its groups are nested more than {DeepestGroup:N0} deep. It is damaged.");
        _groups.Push(_state);
        // The older of two forms of a text.
        if (_state.IsAlternative)
            _state = _state with { Target = Target.None, IsAlternative = false };
    }

    private void Close()
    {
        Flush();
        _toSkip = 0;
        if (!_groups.TryPop(out var outer))
            return;
        if (_state.Target == Target.ListMark && outer.Target != Target.ListMark)
        {
            var mark = _listMark.ToString().Trim();
            Output.SetMark(mark.Any(char.IsLetterOrDigit) ? mark + " " : "- ");
            _listMark.Clear();
        }
        _state = outer;
    }

    private void ReadControl(ReadOnlySpan<byte> bytes)
    {
        if (_at >= bytes.Length)
            return;
        var b = bytes[_at];
        if (!char.IsAsciiLetter((char)b))
        {
            _at++;
            ReadSymbol(b, bytes);
            return;
        }
        var start = _at;
        while (_at < bytes.Length && char.IsAsciiLetter((char)bytes[_at]))
            _at++;
        var word = Encoding.ASCII.GetString(bytes[start.._at]);
        start = _at;
        if (_at < bytes.Length && bytes[_at] == '-')
            _at++;
        while (_at < bytes.Length && char.IsAsciiDigit((char)bytes[_at]))
            _at++;
        int? number = int.TryParse(bytes[start.._at], NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value)
            ? value
            : null;
        if (_at < bytes.Length && bytes[_at] == ' ')
            _at++;
        if (word == "bin")
        {
            _at = (int)Math.Min(bytes.Length, (long)_at + Math.Max(0, number ?? 0));
            return;
        }
        // Signs after \u for readers that do not know Unicode: a control word counts as one of them.
        if (_toSkip > 0 && word != "u")
        {
            _toSkip--;
            return;
        }
        var isIgnorable = _isIgnorable;
        _isIgnorable = false;
        if (word != "u")
            Flush();
        Apply(word, number, isIgnorable);
    }

    private void ReadSymbol(byte symbol, ReadOnlySpan<byte> bytes)
    {
        switch (symbol)
        {
            case (byte)'*':
                _isIgnorable = true;
                break;
            case (byte)'\'' when _at + 2 <= bytes.Length:
                if (byte.TryParse(bytes.Slice(_at, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var code))
                    AddByte(code);
                _at += 2;
                break;
            case (byte)'\\' or (byte)'{' or (byte)'}':
                AddByte(symbol);
                break;
            case (byte)'~':
                Flush();
                AddText("\u00A0");
                break;
            case (byte)'_':
                Flush();
                AddText("-");
                break;
            case (byte)'\n' or (byte)'\r':
                Flush();
                EndParagraph();
                break;
        }
    }

    private void AddByte(byte b)
    {
        if (_toSkip > 0)
            _toSkip--;
        else if (_state.Target != Target.None)
            _bytes.Add(b);
    }

    private void Flush()
    {
        if (_bytes.Count == 0)
            return;
        var page = _fonts.GetValueOrDefault(_state.Font, _codePage);
        string text;
        try
        {
            text = Encoding.GetEncoding(page).GetString([.. _bytes]);
        }
        catch (Exception e) when (e is ArgumentException or NotSupportedException)
        {
            throw new DataException($"Cannot read {file} because its code page {page} is unknown. Save it as .docx.", e);
        }
        _bytes.Clear();
        AddText(text);
    }

    private void AddText(string text)
    {
        if (_state.IsHidden || text.Length == 0)
            return;
        if (_state.Target == Target.ListMark)
            _listMark.Append(text);
        if (_state.Target != Target.Text)
            return;
        if (_heading > 0 && _state.Note < 0)
        {
            _text.SetMark(new string('#', Math.Min(_heading, 6)) + " ");
            _heading = 0;
        }
        for (; _cells > 0 && _state.Note < 0; _cells--)
            _text.AddInline(" | ");
        Output.AddInline(text);
    }

    private void EndParagraph()
    {
        if (_state.Target != Target.Text)
            return;
        if (_isCell || _state.Note >= 0)
            Output.AddInline(" ");
        else
            _text.EndBlock();
        _heading = 0;
    }

    private void Apply(string word, int? number, bool isIgnorable)
    {
        switch (word)
        {
            case "u":
                AddUnicode(number ?? 0);
                return;
            case "uc":
                _state.SkippedAfterUnicode = Math.Max(0, number ?? 1);
                return;
            case "ansicpg":
                _codePage = number is null or 0 ? 1252 : number.Value;
                return;
            case "mac":
                _codePage = 10000;
                return;
            case "pc" or "pca":
                _codePage = word == "pc" ? 437 : 850;
                return;
            case "f":
                _state.Font = number ?? 0;
                return;
            case "fcharset":
                if (_state.Target == Target.FontTable && s_codePages.TryGetValue(number ?? 0, out var page))
                    _fonts[_state.Font] = page;
                return;
            case "plain":
                _state.IsHidden = false;
                return;
            case "v" or "deleted":
                _state.IsHidden = number != 0;
                return;
            case "upr":
                _state.IsAlternative = true;
                return;
            case "ud":
                _state = _state with { Target = Target.Text, IsAlternative = false };
                return;
            case "fonttbl":
                _state.Target = Target.FontTable;
                return;
            case "listtext" or "pntext":
                _state.Target = _state.Target == Target.Text ? Target.ListMark : _state.Target;
                return;
            case "shpinst" or "shptxt" or "shp":
                return;
            case "footnote" when _state.Target == Target.Text:
                BeginNote();
                return;
        }
        if (s_left.Contains(word) || isIgnorable)
            _state.Target = Target.None;
        else if (s_letters.TryGetValue(word, out var letter))
            AddText(letter);
        else
            Layout(word, number);
    }

    private void Layout(string word, int? number)
    {
        if (_state.Target != Target.Text)
            return;
        switch (word)
        {
            case "par" or "sect" or "page":
                EndParagraph();
                break;
            case "line":
                if (_isCell || _state.Note >= 0)
                    Output.AddInline(" ");
                else
                    _text.EndLine();
                break;
            case "pard":
                (_isCell, _heading) = (false, 0);
                break;
            case "intbl":
                _isCell = true;
                break;
            case "outlinelevel":
                _heading = number is >= 0 and < 9 ? number.Value + 1 : 0;
                break;
            case "cell" or "nestcell":
                _cells++;
                break;
            case "row" or "nestrow":
                _cells = 0;
                _text.EndLine();
                break;
        }
    }

    private void AddUnicode(int number)
    {
        if (_toSkip > 0)
        {
            _toSkip--;
            return;
        }
        Flush();
        _toSkip = _state.SkippedAfterUnicode;
        if (number == 0 || _state.Target == Target.None)
            return;
        // Numbers above 32,767 are written as negative ones. Letters of symbol fonts are in the private area.
        var letter = (char)(number < 0 ? number + 65536 : number);
        if (char.IsHighSurrogate(letter))
            _high = letter;
        else if (char.IsLowSurrogate(letter) && _high != 0)
        {
            AddText(new string([_high, letter]));
            _high = '\0';
        }
        else
            AddText(letter is >= '\uE000' and <= '\uF8FF' ? "•" : letter.ToString());
    }

    private void BeginNote()
    {
        _notes.Add(new BlockText());
        AddText(string.Create(CultureInfo.InvariantCulture, $"[^{_notes.Count}]"));
        _state.Note = _notes.Count - 1;
    }
}

using LongLora.Runtime;

namespace LongLora.Tests.Runtime;

public class MessageTextTests
{
    [Fact]
    public void Bound_leaves_a_short_message_as_it_is()
    {
        var message = "Cannot read 'é.txt':\n\tthe file is empty. 😀";
        Assert.Equal(message, MessageText.Bound(message));
        Assert.Equal(new string('x', 500), MessageText.Bound(new string('x', 500)));
    }

    [Fact]
    public void Bound_keeps_what_is_wrong_and_what_to_do()
    {
        for (var length = 450; length < 100_000; length = (length * 5 / 4) + 1)
        {
            var shown = MessageText.Bound($"role is '{new string('x', length)}'. Use one of these.");
            Assert.InRange(shown.Length, 450, 500);
            Assert.StartsWith("role is 'xxx", shown, StringComparison.Ordinal);
            Assert.EndsWith("xxx'. Use one of these.", shown, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Bound_cuts_no_character_and_shows_none_that_controls_a_terminal()
    {
        for (var at = 0; at < 2; at++)
        {
            var shown = MessageText.Bound(new string('x', at) + string.Concat(Enumerable.Repeat("😀", 400)));
            Assert.InRange(shown.Length, 480, 500);
            Assert.DoesNotContain('\uFFFD', System.Text.Encoding.UTF8.GetString(System.Text.Encoding.UTF8.GetBytes(shown)));
        }
        Assert.Equal("a\uFFFD[31mb", MessageText.Bound("a\u001b[31mb"));
    }
}

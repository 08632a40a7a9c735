using LongLora.Studies;
using LongLora.Tokenization;

namespace LongLora.Tests.Studies;

public class QuickstartTests
{
    [Fact]
    public void Texts_without_documentation_are_generated_and_say_so()
    {
        var tokenizer = TokenizerLoader.Load(SharedMaterial.Golden("stories260K-hf"));
        var (train, test, origin) = Quickstart.CollectTexts(tokenizer, 1, []);
        Assert.Contains("generated text, because there is no documentation of .NET here", origin, StringComparison.Ordinal);
        Assert.True(test.Sum(t => t.Count) > 3 * 4096, "several windows of the long context");
        Assert.True(train.Sum(t => t.Count) > 3 * 4096);
        Assert.Equal(test, Quickstart.CollectTexts(tokenizer, 1, []).Test);
        Assert.NotEqual(test, Quickstart.CollectTexts(tokenizer, 2, []).Test);
    }
}

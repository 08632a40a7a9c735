using LongLora.Runtime;

namespace LongLora.Cli.Tests;

public class OpenSslTests
{
    [Theory]
    [InlineData(null, "libssl.so.3")]
    [InlineData("", "libssl.so.1.1")]
    [InlineData("4", "libssl.so.4")]
    public void Require_any_version_that_dotnet_takes_will_do(string? version, string installed) =>
        OpenSsl.Require(version, name => name == installed);

    [Fact]
    public void Require_none_is_refused_with_what_to_install()
    {
        var error = Assert.Throws<ConfigurationException>(() => OpenSsl.Require("4", _ => false));
        Assert.Contains("none of libssl.so.4, libssl.so.3, libssl.so.1.1 can be loaded", error.Message, StringComparison.Ordinal);
        Assert.Contains("apt-get install libssl3", error.Message, StringComparison.Ordinal);
    }
}

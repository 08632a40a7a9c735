using Microsoft.Playwright;

namespace LongLora.Server.Tests;

/// <summary>
/// The page in a real browser: Debian's Chromium, or the one that CHROMIUM names. Screenshots lie in <c>screenshots/</c> beside the
/// tests.
/// </summary>
public class PageTests
{
    private const string Question = "What is the pass key? The pass key is";
    private static readonly string s_document =
        string.Join(' ', Enumerable.Repeat("The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.", 4))
        + "\n\nThe pass key is 48213. Remember it. 48213 is the pass key.\n\nThe grass is green. The sky is blue. The sun is yellow. "
        + "Here we go. There and back again.";

    static PageTests() => Assertions.SetDefaultExpectTimeout(30_000); // on a busy machine too

    private static string? Chromium { get; } =
        new[]
        {
            Environment.GetEnvironmentVariable("CHROMIUM"),
            "/usr/bin/chromium",
            "/usr/bin/chromium-browser",
            "/usr/bin/google-chrome",
        }.FirstOrDefault(File.Exists);

    private static string Screenshot(string name) =>
        Path.Combine(Directory.CreateDirectory(Path.Combine(AppContext.BaseDirectory, "screenshots")).FullName, name);

    [Fact]
    public async Task Document_is_dropped_asked_about_answered_stopped_and_asked_again()
    {
        Assert.SkipWhen(Chromium is null, "There is no Chromium here (Debian: apt install chromium); CHROMIUM can name one.");
        await using var server = await RunningServer.Start(
            o => o with { Defaults = new() { MaxTokens = 8 } },
            Path.Combine(AppContext.BaseDirectory, "models", "longlora-tiny")
        );
        using var playwright = await Playwright.CreateAsync();
        await using var browser = await playwright.Chromium.LaunchAsync(new() { ExecutablePath = Chromium, Args = ["--no-sandbox"] });
        var page = await browser.NewPageAsync(
            new()
            {
                ViewportSize = new() { Width = 1200, Height = 800 },
            }
        );
        var faults = new List<string>();
        page.Console += (_, message) =>
        {
            if (message.Type == "error")
                faults.Add(message.Text);
        };
        page.PageError += (_, error) => faults.Add(error);
        await page.GotoAsync(server.Address.ToString());
        await Assertions.Expect(page.Locator("#model")).ToHaveTextAsync("longlora-tiny, 512 tokens of context");
        await page.ScreenshotAsync(new() { Path = Screenshot("empty.png") });

        // Dropped as by a hand, not through the file input.
        var transfer = await page.EvaluateHandleAsync(
            "text => { const all = new DataTransfer(); all.items.add(new File([text], 'notes.txt', { type: 'text/plain' })); return all; }",
            s_document
        );
        await page.DispatchEventAsync("#drop", "drop", new { dataTransfer = transfer });
        await Assertions.Expect(page.Locator("#documents")).ToContainTextAsync("notes.txt");
        var tokens = server.Model.Tokenizer.Encode(s_document).Count;
        await Assertions.Expect(page.Locator("#room")).ToHaveTextAsync($"{tokens} of 512 tokens, {Math.Round(100.0 * tokens / 512)} %");

        await page.FillAsync("#question", Question);
        await page.PressAsync("#question", "Enter");
        await Assertions.Expect(page.Locator(".answer")).ToHaveTextAsync(new System.Text.RegularExpressions.Regex("^48213"));
        await Assertions.Expect(page.Locator(".facts")).ToContainTextAsync("tokens read");
        await page.ClickAsync("summary");
        await Assertions.Expect(page.Locator("blockquote").First).ToContainTextAsync("The pass key is 48213.");
        await page.ScreenshotAsync(new() { Path = Screenshot("answered.png") });

        // A long answer is stopped as soon as it begins; what there is of it stays, and the next question can be asked.
        await page.RouteAsync("**/v1/chat/completions", async route =>
            await route.ContinueAsync(
                new()
                {
                    PostData = System.Text.Encoding.UTF8.GetBytes(
                        route.Request.PostData!.Replace("\"stream\":true", "\"stream\":true,\"max_tokens\":250", StringComparison.Ordinal)
                    ),
                }
            )
        );
        await page.EvaluateAsync(
            "new MutationObserver(() => { const last = [...document.querySelectorAll('.answer')].pop(); if (last?.textContent.length > "
                + "5) document.getElementById('stop').click(); }).observe(document.getElementById('messages'), { childList: true, "
                + "subtree: true, characterData: true })"
        );
        var room = await page.Locator("#room").TextContentAsync();
        await page.FillAsync("#question", "The grass is green. The sky is");
        await page.ClickAsync("#send");
        await Assertions.Expect(page.Locator(".facts").Last).ToHaveTextAsync("stopped");
        await Assertions.Expect(page.Locator("#room")).Not.ToHaveTextAsync(room!); // counted, though the server sent no numbers
        Assert.InRange((await page.Locator(".answer").Last.TextContentAsync())!.Length, 1, 600);
        await Assertions.Expect(page.Locator("#send")).ToBeVisibleAsync();
        await page.ClickAsync("#again");
        await Assertions.Expect(page.Locator("#room")).ToHaveTextAsync("0 of 512 tokens, 0 %");
        Assert.Empty(faults);
    }

    private static string Event(string choice, string more = "") => $"data: {{\"choices\":[{choice}]{more}}}\n\n";

    [Fact]
    public async Task Page_keeps_what_is_dropped_meanwhile_for_the_next_question_and_says_when_an_answer_breaks_off()
    {
        Assert.SkipWhen(Chromium is null, "There is no Chromium here (Debian: apt install chromium); CHROMIUM can name one.");
        await using var server = await RunningServer.Start(o => o, Path.Combine(AppContext.BaseDirectory, "models", "longlora-tiny"));
        using var playwright = await Playwright.CreateAsync();
        await using var browser = await playwright.Chromium.LaunchAsync(new() { ExecutablePath = Chromium, Args = ["--no-sandbox"] });
        var page = await browser.NewPageAsync();
        var faults = new List<string>();
        page.PageError += (_, error) => faults.Add(error);
        await page.GotoAsync(server.Address.ToString());
        FilePayload File(string name, string text) =>
            new()
            {
                Name = name,
                MimeType = "text/plain",
                Buffer = System.Text.Encoding.UTF8.GetBytes(text),
            };

        // Two that cannot be had: both are named.
        await page.SetInputFilesAsync("#file", [File("a.zip", "?"), File("b.exe", "?")]);
        await Assertions.Expect(page.Locator("#problem")).ToContainTextAsync("a.zip");
        await Assertions.Expect(page.Locator("#problem")).ToContainTextAsync("b.exe");

        var bodies = new List<string>();
        await page.RouteAsync("**/v1/chat/completions", async route =>
        {
            bodies.Add(route.Request.PostData!);
            if (bodies.Count == 1)
            {
                await page.SetInputFilesAsync("#file", File("later.txt", "Tim had a red dog."));
                await Assertions.Expect(page.Locator("#documents")).ToContainTextAsync("later.txt");
                Assert.Equal(0, await page.Locator("#documents button").CountAsync()); // none is taken out while one is read
            }
            var usage =
                ",\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1,\"total_tokens\":4,"
                + "\"prompt_tokens_details\":{\"cached_tokens\":0}}";
            var text = Event("{\"delta\":{\"content\":\"Yes\"}}");
            await (
                bodies.Count == 3
                    ? route.AbortAsync()
                    : route.FulfillAsync(
                        new()
                        {
                            ContentType = "text/event-stream",
                            Body = bodies.Count == 1 ? text + Event("", usage) + "data: [DONE]\n\n" : text,
                        }
                    )
            );
        });
        await page.FillAsync("#question", "One?");
        await page.ClickAsync("#send");
        await Assertions.Expect(page.Locator(".facts")).ToContainTextAsync("3 tokens read");
        await page.FillAsync("#question", "Two?");
        await page.ClickAsync("#send");
        await Assertions.Expect(page.Locator(".facts").Last).ToHaveTextAsync("broken off");
        await Assertions.Expect(page.Locator("#failure")).ToContainTextAsync("broke off");
        Assert.DoesNotContain("red dog", bodies[0], StringComparison.Ordinal);
        Assert.Contains("red dog", bodies[1], StringComparison.Ordinal);
        await page.FillAsync("#question", "Three?");
        await page.ClickAsync("#send");
        await Assertions.Expect(page.Locator("#failure")).ToContainTextAsync("does not answer");
        await Assertions.Expect(page.Locator("#question")).ToHaveValueAsync("Three?"); // to ask again
        Assert.Empty(faults);
    }

    [Fact]
    public async Task Model_is_chosen_where_there_are_several()
    {
        Assert.SkipWhen(Chromium is null, "There is no Chromium here (Debian: apt install chromium); CHROMIUM can name one.");
        await using var server = await RunningServer.Start(
            o => o with { Defaults = new() { MaxTokens = 4 } },
            Path.Combine(AppContext.BaseDirectory, "models", "longlora-tiny"),
            beside: "org/law"
        );
        using var playwright = await Playwright.CreateAsync();
        await using var browser = await playwright.Chromium.LaunchAsync(new() { ExecutablePath = Chromium, Args = ["--no-sandbox"] });
        var page = await browser.NewPageAsync(
            new()
            {
                ViewportSize = new() { Width = 390, Height = 700 },
            }
        );
        await page.GotoAsync(server.Address.ToString());
        var choice = page.GetByLabel("Model");
        await Assertions.Expect(choice.Locator("option")).ToHaveTextAsync(["longlora-tiny", "org/law"]);
        await Assertions.Expect(page.Locator("#model")).ToHaveTextAsync("512 tokens");
        foreach (var name in (string[])["longlora-tiny", "org/law"])
        {
            await choice.SelectOptionAsync(name);
            var answered = page.WaitForResponseAsync("**/v1/chat/completions");
            await page.GetByLabel("Your question").FillAsync("Hi");
            await page.GetByRole(AriaRole.Button, new() { Name = "Ask" }).ClickAsync();
            Assert.Contains($"\"model\":\"{name}\"", (await answered).Request.PostData);
            await Assertions.Expect(choice).ToBeEnabledAsync();
        }
        await page.ScreenshotAsync(new() { Path = Screenshot("several-models.png") });
    }

    [Fact]
    public async Task Page_fits_a_phone_in_the_dark_and_says_what_is_wrong()
    {
        Assert.SkipWhen(Chromium is null, "There is no Chromium here (Debian: apt install chromium); CHROMIUM can name one.");
        await using var server = await RunningServer.Start(
            o =>
                o with
                {
                    ApiKey = "secret",
                    Defaults = new() { MaxTokens = 8 },
                },
            Path.Combine(AppContext.BaseDirectory, "models", "longlora-tiny")
        );
        using var playwright = await Playwright.CreateAsync();
        await using var browser = await playwright.Chromium.LaunchAsync(new() { ExecutablePath = Chromium, Args = ["--no-sandbox"] });
        var page = await browser.NewPageAsync(
            new()
            {
                ViewportSize = new() { Width = 390, Height = 844 },
                ColorScheme = ColorScheme.Dark,
                DeviceScaleFactor = 2,
            }
        );
        await page.GotoAsync(server.Address.ToString());
        await page.FillAsync("#key", "secret");
        await page.PressAsync("#key", "Enter");
        await Assertions.Expect(page.Locator("#model")).ToContainTextAsync("512 tokens of context");
        var folder = Directory.CreateTempSubdirectory("longlora-test-").FullName;
        await File.WriteAllTextAsync(
            Path.Combine(folder, "long.txt"),
            string.Concat(Enumerable.Repeat(s_document, 9)),
            TestContext.Current.CancellationToken
        );
        await File.WriteAllTextAsync(Path.Combine(folder, "notes.txt"), s_document, TestContext.Current.CancellationToken);
        await page.SetInputFilesAsync("#file", Path.Combine(folder, "long.txt"));
        await Assertions.Expect(page.GetByRole(AriaRole.Alert)).ToContainTextAsync("long.txt has");
        await page.SetInputFilesAsync("#file", Path.Combine(folder, "notes.txt"));
        await page.GetByLabel("Your question").FillAsync(Question);
        await page.GetByRole(AriaRole.Button, new() { Name = "Ask" }).ClickAsync();
        await Assertions.Expect(page.Locator(".facts")).ToContainTextAsync("tokens read");
        Assert.True(
            await page.EvaluateAsync<bool>("document.documentElement.scrollWidth <= window.innerWidth"),
            "the page is wider than the phone"
        );
        await page.ScreenshotAsync(new() { Path = Screenshot("phone.png") });
        // By keyboard alone: from the question on to the buttons.
        await page.FocusAsync("#question");
        await page.Keyboard.PressAsync("Tab");
        Assert.Equal("again", await page.EvaluateAsync<string>("document.activeElement.id"));
        await page.Keyboard.PressAsync("Enter");
        await Assertions.Expect(page.Locator("#documents li")).ToHaveCountAsync(0);
        Directory.Delete(folder, recursive: true);
    }
}

using System.Globalization;
using LongLora.Loading;
using LongLora.Runtime;

namespace LongLora.Hub.Tests;

/// <summary>What goes wrong on the way: nothing that is not whole and right may be taken for the model.</summary>
public sealed class TroubleTests : HubPullTest
{
    private static readonly string[] s_needed = ["LICENSE", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(499)]
    [InlineData(RangeBytes - 1)]
    public async Task Connection_that_is_cut_in_every_range_is_continued_where_it_was(int after)
    {
        var commit = Hub.Commit(Repository, MakeFiles());
        var cuts = 5;
        Hub.CutAfter = path =>
            path.EndsWith(".safetensors", StringComparison.Ordinal) && Interlocked.Decrement(ref cuts) >= 0 ? after : null;
        await PullAsync();
        AssertWhole(commit, s_needed);
        Assert.True(cuts < 0);
    }

    [Theory]
    [InlineData("config.json", 3)]
    [InlineData("tokenizer.json", 1)]
    [InlineData("model.safetensors", 0)]
    public async Task Small_files_are_continued_too(string cut, int after)
    {
        var commit = Hub.Commit(Repository, MakeFiles(weights: 900)); // less than a range
        var cuts = 2;
        Hub.CutAfter = path => path == cut && Interlocked.Decrement(ref cuts) >= 0 ? after : null;
        await PullAsync();
        AssertWhole(commit, s_needed);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(700)]
    public async Task Pull_that_fails_leaves_no_model_and_the_next_one_continues(int after)
    {
        var commit = Hub.Commit(Repository, MakeFiles());
        // The third range never comes further than this.
        Hub.Refuse = context =>
            FakeHub.IsStore(context)
            && context.Request.Headers.Range.ToString().StartsWith("bytes=2", StringComparison.Ordinal)
            && (after == 0 || !context.Request.Headers.Range.ToString().StartsWith("bytes=2000", StringComparison.Ordinal))
            && FakeHub.Answer(context, 403);
        Hub.CutAfter = path => after > 0 && path.EndsWith(".safetensors", StringComparison.Ordinal) ? after : null;
        var failed = await Assert.ThrowsAsync<CheckpointException>(() => PullAsync(Options with { Connections = 1 }));
        Assert.Contains("run the same command again", failed.Message, StringComparison.Ordinal);
        Assert.False(Directory.Exists(Path.Combine(Model, "snapshots")));
        Assert.False(File.Exists(Main));
        Assert.Throws<CheckpointException>(() => new HubCache(Cache).FindModel(HubName.Parse(Name)!));

        Hub.Refuse = null;
        Hub.CutAfter = _ => null;
        Hub.Requests.Clear();
        var result = await PullAsync();
        AssertWhole(commit, s_needed);
        Assert.True(result.FetchedBytes < 4500, result.FetchedBytes.ToString(CultureInfo.InvariantCulture));
        Assert.DoesNotContain(Hub.Requests, r => r.Range == "bytes=0-999");
    }

    [Fact]
    public async Task Content_that_is_not_that_of_its_hash_is_never_named()
    {
        var commit = Hub.Commit(Repository, MakeFiles());
        Hub.Change = bytes => bytes.Length < 4500 ? bytes : [.. bytes[..4499], (byte)~bytes[4499]];
        var failed = await Assert.ThrowsAsync<CheckpointException>(() => PullAsync());
        Assert.Contains("model.safetensors of 'org/model' came with another content", failed.Message, StringComparison.Ordinal);
        Assert.False(Directory.Exists(Path.Combine(Model, "snapshots")));
        var hash = FakeHub.Hash("model.safetensors", MakeFiles()["model.safetensors"]);
        Assert.Empty(Directory.GetFiles(Path.Combine(Model, "blobs"), hash + "*"));
        Hub.Change = bytes => bytes;
        await PullAsync();
        AssertWhole(commit, s_needed);
    }

    [Fact]
    public async Task Small_file_with_another_content_is_refused_too()
    {
        Hub.Commit(Repository, MakeFiles());
        Hub.Change = bytes => bytes is [(byte)'{', .., (byte)'}'] and { Length: > 20 } ? [.. bytes[..^2], (byte)'8', (byte)'}'] : bytes;
        var failed = await Assert.ThrowsAsync<CheckpointException>(() => PullAsync());
        Assert.Contains("config.json of 'org/model' came with another content", failed.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Damaged_part_of_an_earlier_download_is_thrown_away()
    {
        var commit = await BeginAsync();
        var partial = Assert.Single(Directory.GetFiles(Path.Combine(Model, "blobs"), "*.longlora.incomplete"));
        using (var file = File.OpenWrite(partial))
            file.Write(new byte[10]);
        var result = await PullAsync();
        AssertWhole(commit, s_needed);
        Assert.Contains(result.Notes, n => n.Contains("model.safetensors was not right", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Server_that_refuses_to_continue_is_asked_from_the_start_and_not_for_ever()
    {
        var commit = await BeginAsync();
        var refusals = 1;
        Hub.Refuse = context =>
            FakeHub.IsStore(context)
            && context.Request.Headers.Range.Count > 0
            && Interlocked.Decrement(ref refusals) >= 0
            && FakeHub.Answer(context, 416, null, ("Content-Range", "bytes */10"));
        await PullAsync();
        AssertWhole(commit, s_needed);

        var second = Hub.Commit(Repository, MakeFiles(seed: 4));
        refusals = int.MaxValue;
        var failed = await Assert.ThrowsAsync<CheckpointException>(() => PullAsync());
        Assert.Contains("the server has no bytes from", failed.Message, StringComparison.Ordinal);
        Hub.Refuse = null;
        await PullAsync();
        AssertWhole(second, s_needed);
    }

    [Fact]
    public async Task Partial_file_of_another_program_is_left_alone()
    {
        var commit = Hub.Commit(Repository, MakeFiles());
        var stale = Path.Combine(Model, "blobs", FakeHub.Hash("model.safetensors", MakeFiles()["model.safetensors"]) + ".incomplete");
        Directory.CreateDirectory(Path.GetDirectoryName(stale)!);
        // Longer than the file: a client that continued it would ask for bytes behind its end.
        await File.WriteAllBytesAsync(stale, new byte[9999], Stop);
        await PullAsync();
        Assert.Equal(9999, new FileInfo(stale).Length);
        File.Delete(stale);
        AssertWhole(commit, s_needed);
    }

    [Fact]
    public async Task Blob_that_another_program_left_damaged_is_fetched_again()
    {
        var commit = Hub.Commit(Repository, MakeFiles());
        await PullAsync();
        var blob = Path.Combine(Model, "blobs", FakeHub.Hash("model.safetensors", MakeFiles()["model.safetensors"]));
        await File.WriteAllBytesAsync(blob, new byte[4500], Stop);
        var result = await PullAsync();
        AssertWhole(commit, s_needed);
        Assert.Equal(4500, result.FetchedBytes);
        Assert.Contains("model.safetensors in the cache had another content", Assert.Single(result.Notes), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Copies_in_place_of_links_are_checked_and_kept()
    {
        var commit = Hub.Commit(Repository, MakeFiles());
        await PullAsync();
        var file = Path.Combine(Model, "snapshots", commit, "model.safetensors");
        var blob = Path.Combine(Model, "blobs", FakeHub.Hash("model.safetensors", MakeFiles()["model.safetensors"]));
        File.Delete(file);
        File.Move(blob, file); // as on a Windows without the right to links
        Assert.Equal(0, (await PullAsync()).FetchedBytes);
        Assert.Null(new FileInfo(file).LinkTarget);
        await File.WriteAllBytesAsync(file, new byte[4500], Stop);
        Assert.Equal(4500, (await PullAsync()).FetchedBytes);
        AssertWhole(commit, s_needed);
    }

    [Fact]
    public async Task Server_without_ranges_is_read_in_one_stream()
    {
        var commit = Hub.Commit(Repository, MakeFiles());
        Hub.KnowsRanges = false;
        var cuts = 1;
        Hub.CutAfter = path =>
            path.EndsWith(".safetensors", StringComparison.Ordinal) && Interlocked.Decrement(ref cuts) == 0 ? 2345 : null;
        await PullAsync();
        AssertWhole(commit, s_needed);
    }

    [Fact]
    public async Task Server_error_is_no_leave_to_use_an_old_copy()
    {
        var first = Hub.Commit(Repository, MakeFiles());
        await PullAsync();
        Hub.Commit(Repository, MakeFiles(seed: 6));
        Hub.Refuse = context => FakeHub.Answer(context, 500);
        var failed = await Assert.ThrowsAsync<CheckpointException>(() => PullAsync());
        Assert.Contains("answers 500", failed.Message, StringComparison.Ordinal);
        Assert.Equal(first, await File.ReadAllTextAsync(Main, Stop));
        AssertWhole(first, s_needed);
    }

    [Theory]
    [InlineData(500)]
    [InlineData(502)]
    [InlineData(429)]
    public async Task Temporary_failures_are_repeated(int status)
    {
        var commit = Hub.Commit(Repository, MakeFiles());
        var failures = 3;
        Hub.Refuse = context => Interlocked.Decrement(ref failures) >= 0 && FakeHub.Answer(context, status, null, ("Retry-After", "0"));
        await PullAsync();
        AssertWhole(commit, s_needed);
    }

    [Theory]
    [InlineData(401, "GatedRepo", null, "is gated: its authors ask")]
    [InlineData(403, "GatedRepo", "secret", "the account of your token may not read it")]
    [InlineData(401, "RepoNotFound", null, "has no model 'org/model' that you may see")]
    [InlineData(404, "RepoNotFound", "secret", "check that the account of your token may read it")]
    [InlineData(404, "RevisionNotFound", null, "has no revision 'main'")]
    [InlineData(404, "EntryNotFound", null, "has no file")]
    [InlineData(401, null, "secret", "does not accept your access token")]
    [InlineData(403, null, null, "forbids access")]
    [InlineData(429, null, null, "too many requests")]
    public async Task Refusal_says_what_to_do(int status, string? code, string? token, string expected)
    {
        Hub.Commit(Repository, MakeFiles());
        Hub.Refuse = context => FakeHub.Answer(context, status, code, ("Retry-After", "300"));
        var failed = await Assert.ThrowsAnyAsync<LongLoraException>(() => PullAsync(Options with { Token = token }));
        Assert.Contains(expected, failed.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("secret", failed.ToString(), StringComparison.Ordinal);
        Assert.Equal(status == 429, failed.Message.Contains("in 5 min", StringComparison.Ordinal));
        Assert.Single(Hub.Requests); // neither repeated nor waited for
        Assert.False(Directory.Exists(Model));
    }

    [Fact]
    public async Task Model_that_is_gated_file_by_file_is_refused()
    {
        Hub.Commit(Repository, MakeFiles());
        Hub.Refuse = context =>
            context.Request.Path.Value!.Contains("/resolve/", StringComparison.Ordinal) && FakeHub.Answer(context, 403, "GatedRepo");
        var failed = await Assert.ThrowsAsync<ConfigurationException>(() => PullAsync());
        Assert.Contains("is gated", failed.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Server_that_cannot_be_reached_is_named()
    {
        var gone = Options with { Endpoint = new("http://localhost:1") };
        var failed = await Assert.ThrowsAsync<CheckpointException>(() => PullAsync(gone));
        Assert.Contains("localhost cannot be reached", failed.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Network_that_is_forbidden_is_not_opened()
    {
        Hub.Commit(Repository, MakeFiles());
        await Assert.ThrowsAsync<ConfigurationException>(() => PullAsync(Options with { IsOffline = true }));
        Assert.Empty(Hub.Requests);
    }

    [Fact]
    public async Task Answer_without_a_hash_or_of_another_commit_is_refused()
    {
        Hub.Commit(Repository, MakeFiles());
        Hub.ChangeHeaders = headers => headers["X-Repo-Commit"] = new string('a', 40);
        Assert.Contains(
            "another commit".Split(' ')[1],
            (await Assert.ThrowsAsync<CheckpointException>(() => PullAsync())).Message,
            StringComparison.Ordinal
        );
        Hub.ChangeHeaders = headers =>
        {
            headers.Remove("X-Linked-Etag");
            headers.ETag = "\"not-a-hash\"";
        };
        var failed = await Assert.ThrowsAsync<CheckpointException>(() => PullAsync());
        Assert.Contains("does not say its length and hash", failed.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("../../evil.json")]
    [InlineData("/etc/evil.json")]
    [InlineData("a/../../evil.json")]
    [InlineData("C:evil.json")]
    public async Task Path_that_leaves_the_folder_is_refused(string path)
    {
        var files = MakeFiles();
        files[path] = [1];
        Hub.Commit(Repository, files);
        var failed = await Assert.ThrowsAsync<CheckpointException>(() => PullAsync());
        Assert.Contains(path, failed.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Disk_without_room_is_refused_before_anything_is_fetched()
    {
        Hub.Commit(Repository, MakeFiles());
        var failed = await Assert.ThrowsAsync<ConfigurationException>(() => PullAsync(Options with { FindFreeBytes = _ => 4000 }));
        Assert.Contains("free", failed.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(Hub.Requests, r => r.Address.Host != "localhost");
        await PullAsync(Options with { FindFreeBytes = _ => 6000 });
        await PullAsync(Options with { FindFreeBytes = _ => 0 }); // nothing is missing
    }

    [Fact]
    public async Task Two_at_once_in_one_cache_fetch_each_byte_once()
    {
        var commit = Hub.Commit(Repository, MakeFiles());
        var both = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Task.Run(() => PullAsync(), Stop)));
        AssertWhole(commit, s_needed);
        Assert.Equal(both[0].AllBytes, both.Sum(r => r.FetchedBytes));
    }

    [Fact]
    public async Task Blob_that_another_process_gets_is_waited_for()
    {
        var commit = Hub.Commit(Repository, MakeFiles());
        var hash = FakeHub.Hash("model.safetensors", MakeFiles()["model.safetensors"]);
        var path = Path.Combine(Cache, ".locks", "models--org--model", hash + ".lock");
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        var told = new TaskCompletionSource();
        Task<PullResult> pull;
        using (new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None))
        {
            pull = HubPull.RunAsync(
                Options,
                new Listener(p =>
                {
                    if (p.Waiting is not null)
                        told.TrySetResult();
                }),
                Stop
            );
            await told.Task.WaitAsync(Stop);
            Assert.False(pull.IsCompleted);
            Assert.False(Directory.Exists(Path.Combine(Model, "snapshots")));
        }
        await pull;
        AssertWhole(commit, s_needed);
    }

    [Fact]
    public async Task Pull_that_is_stopped_keeps_what_has_come()
    {
        var commit = Hub.Commit(Repository, MakeFiles());
        using var stop = new CancellationTokenSource();
        var listener = new Listener(p =>
        {
            if (p.DoneBytes > 2000)
                stop.Cancel();
        });
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() =>
            HubPull.RunAsync(Options with { Connections = 1 }, listener, stop.Token)
        );
        Assert.False(Directory.Exists(Path.Combine(Model, "snapshots")));
        var result = await PullAsync();
        AssertWhole(commit, s_needed);
        Assert.True(result.FetchedBytes <= 3500, result.FetchedBytes.ToString(CultureInfo.InvariantCulture));
    }

    // A download of which the first two ranges have come.
    private async Task<string> BeginAsync()
    {
        var commit = Hub.Commit(Repository, MakeFiles());
        Hub.Refuse = context =>
            FakeHub.IsStore(context)
            && context.Request.Headers.Range.ToString().StartsWith("bytes=2", StringComparison.Ordinal)
            && FakeHub.Answer(context, 403);
        await Assert.ThrowsAsync<CheckpointException>(() => PullAsync(Options with { Connections = 1 }));
        Hub.Refuse = null;
        return commit;
    }

    private sealed class Listener(Action<PullProgress> tell) : IProgress<PullProgress>
    {
        public void Report(PullProgress value) => tell(value);
    }
}

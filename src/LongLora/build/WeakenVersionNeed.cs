// Compiled twice: as an MSBuild task by LongLora.targets (against .NET Standard 2.0) and into the tests.
#nullable disable
using System;
using System.Collections.Generic;
using System.IO;
using System.Text;
using Microsoft.Build.Framework;

namespace LongLora.Build
{
    /// <summary>
    /// Marks one symbol-version requirement of an ELF library as weak (VER_FLG_WEAK in vna_flags; System V ABI, Linux Standard Base
    /// "Symbol Versioning"), so that the dynamic loader accepts an older C++ runtime. libLibTorchSharp.so asks for GLIBCXX_3.4.32, which
    /// Debian 12, Ubuntu 22.04 and RHEL 9 lack, although nothing in it uses a symbol of that version. The file is replaced, never written
    /// in place: it may be a hard link into the package cache. A file that is not understood, or that does use the version, is left alone.
    /// </summary>
    public class WeakenVersionNeed : Microsoft.Build.Utilities.Task
    {
        [Required]
        public ITaskItem[] Libraries { get; set; } = Array.Empty<ITaskItem>();

        [Required]
        public string VersionName { get; set; } = "";

        public override bool Execute()
        {
            foreach (var item in Libraries)
            {
                var path = item.ItemSpec;
                try
                {
                    var image = File.ReadAllBytes(path);
                    switch (ElfVersionNeed.Weaken(image, VersionName, out var reason))
                    {
                        case WeakenResult.Changed:
                            Replace(path, image);
                            Log.LogMessage(MessageImportance.Low, "{0}: {1} is now optional.", path, VersionName);
                            break;
                        case WeakenResult.Refused:
                            Log.LogWarning(
                                "{0} was left as it is: {1}. It may fail to load on systems without {2}.",
                                path,
                                reason,
                                VersionName
                            );
                            break;
                    }
                }
                catch (IOException e)
                {
                    Log.LogError("Cannot mend {0}: {1}", path, e.Message);
                }
            }
            return !Log.HasLoggedErrors;
        }

        private static void Replace(string path, byte[] image)
        {
            // Two builds at once have a file each, and each replaces the library in one step: nobody sees a part of it, or none.
            var aside = path + "." + Guid.NewGuid().ToString("N") + ".mended";
            try
            {
                File.WriteAllBytes(aside, image);
                // The copy step compares time and size: with the same time it does not bring the old file back at every build.
                File.SetLastWriteTimeUtc(aside, File.GetLastWriteTimeUtc(path));
                File.Replace(aside, path, null);
            }
            finally
            {
                File.Delete(aside);
            }
        }
    }

    public enum WeakenResult
    {
        Changed,
        NothingToDo,
        Refused,
    }

    /// <summary>Reads just enough of a 64-bit little-endian ELF file to find and mark one version requirement.</summary>
    public static class ElfVersionNeed
    {
        private const uint DynamicSymbols = 11,
            Relocations = 4,
            VersionNeeds = 0x6ffffffe,
            VersionTable = 0x6fffffff;
        private const ushort WeakFlag = 2;

        /// <summary>
        /// Marks <paramref name="versionName"/> weak in <paramref name="image"/>; says in <paramref name="reason"/> why it did not.
        /// </summary>
        public static WeakenResult Weaken(byte[] image, string versionName, out string reason)
        {
            try
            {
                return WeakenChecked(image, versionName, out reason);
            }
            catch (Exception e) when (e is ArgumentException || e is IndexOutOfRangeException || e is OverflowException)
            {
                reason = "its ELF tables are not understood";
                return WeakenResult.Refused;
            }
        }

        private static WeakenResult WeakenChecked(byte[] image, string versionName, out string reason)
        {
            reason = "it is not a 64-bit little-endian ELF file";
            if (
                image.Length < 64
                || image[0] != 0x7f
                || image[1] != 'E'
                || image[2] != 'L'
                || image[3] != 'F'
                || image[4] != 2
                || image[5] != 1
            )
                return WeakenResult.Refused;

            var sections = Sections(image);
            var needs = sections.Find(s => s.Type == VersionNeeds);
            if (needs == null)
            {
                reason = "it requires no symbol versions";
                return WeakenResult.NothingToDo;
            }
            var names = sections[(int)needs.Link];
            var entry = FindNeed(image, needs, names, versionName);
            if (entry < 0)
            {
                reason = "it does not require " + versionName;
                return WeakenResult.NothingToDo;
            }
            var flags = BitConverter.ToUInt16(image, entry + 4);
            if ((flags & WeakFlag) != 0)
            {
                reason = "already weak";
                return WeakenResult.NothingToDo;
            }
            var user = FirstRelocatedSymbol(image, sections, BitConverter.ToUInt16(image, entry + 6));
            if (user != null)
            {
                reason = "it uses " + user + " of version " + versionName;
                return WeakenResult.Refused;
            }
            image[entry + 4] = (byte)(flags | WeakFlag);
            reason = "";
            return WeakenResult.Changed;
        }

        // Offset of the Elf64_Vernaux {hash u32, flags u16, other u16, name u32, next u32} of that name, or -1.
        private static int FindNeed(byte[] image, Section needs, Section names, string versionName)
        {
            for (var need = needs.Offset; ; )
            {
                var aux = need + (int)BitConverter.ToUInt32(image, need + 8);
                for (var left = BitConverter.ToUInt16(image, need + 2); left > 0; left--)
                {
                    if (Text(image, names.Offset + (int)BitConverter.ToUInt32(image, aux + 8)) == versionName)
                        return aux;
                    aux += (int)BitConverter.ToUInt32(image, aux + 12);
                }
                var next = (int)BitConverter.ToUInt32(image, need + 12);
                if (next == 0)
                    return -1;
                need += next;
            }
        }

        // Name of a symbol of this version that a relocation refers to, or null.
        private static string FirstRelocatedSymbol(byte[] image, List<Section> sections, ushort version)
        {
            var table = sections.Find(s => s.Type == VersionTable) ?? throw new ArgumentException("no version table");
            var symbols = sections.Find(s => s.Type == DynamicSymbols) ?? throw new ArgumentException("no dynamic symbols");
            var names = sections[(int)symbols.Link];
            foreach (var section in sections)
            {
                if (section.Type != Relocations || sections[(int)section.Link] != symbols)
                    continue;
                for (var at = section.Offset; at < section.Offset + section.Size; at += 24)
                {
                    var symbol = (int)(BitConverter.ToUInt64(image, at + 8) >> 32);
                    if ((BitConverter.ToUInt16(image, table.Offset + 2 * symbol) & 0x7fff) == version)
                        return Text(image, names.Offset + (int)BitConverter.ToUInt32(image, symbols.Offset + 24 * symbol));
                }
            }
            return null;
        }

        private static List<Section> Sections(byte[] image)
        {
            var start = checked((int)BitConverter.ToUInt64(image, 40));
            int size = BitConverter.ToUInt16(image, 58),
                count = BitConverter.ToUInt16(image, 60);
            if (size != 64 || count == 0)
                throw new ArgumentException("unusual section table");
            var sections = new List<Section>();
            for (var i = 0; i < count; i++)
            {
                var at = start + i * size;
                sections.Add(
                    new Section
                    {
                        Type = BitConverter.ToUInt32(image, at + 4),
                        Offset = checked((int)BitConverter.ToUInt64(image, at + 24)),
                        Size = checked((int)BitConverter.ToUInt64(image, at + 32)),
                        Link = BitConverter.ToUInt32(image, at + 40),
                    }
                );
            }
            return sections;
        }

        private static string Text(byte[] image, int at)
        {
            var end = Array.IndexOf(image, (byte)0, at);
            return Encoding.ASCII.GetString(image, at, end - at);
        }

        private sealed class Section
        {
            public uint Type,
                Link;
            public int Offset,
                Size;
        }
    }
}

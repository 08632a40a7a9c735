using System.Collections.Immutable;
using System.Reflection;
using System.Reflection.Emit;
using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;
using TorchSharp;

namespace LongLora.Tests.Architecture;

/// <summary>
/// Reads the compiled code: no method of the library but those of <c>Runtime/Scalars</c> makes a TorchSharp scalar, or calls one of
/// TorchSharp's methods that makes one inside (docs/decisions/0006).
/// </summary>
public class ScalarRuleTests
{
    [Fact]
    public void Library_makes_no_scalar_that_may_be_collected_in_use()
    {
        var inside = Calls(typeof(torch).Assembly).ToLookup(c => c.Caller, c => c.Callee);
        var makers = inside.Where(calls => calls.Any(MakesScalar)).Select(calls => calls.Key).ToHashSet();
        while (
            inside.Where(calls => !makers.Contains(calls.Key) && calls.Any(makers.Contains)).Select(calls => calls.Key).ToList()
                is { Count: > 0 } more
        )
            makers.UnionWith(more);
        Assert.Contains("Tensor.add_(Tensor)", makers); // the reader sees what it should
        Assert.DoesNotContain("Tensor.add_(Tensor,Scalar)", makers);

        var found = Calls(typeof(FineTune).Assembly)
            .Where(c => (MakesScalar(c.Callee) || makers.Contains(c.Callee)) && !c.Place.StartsWith("Scalars", StringComparison.Ordinal))
            .Select(c => $"{c.Place} {c.Caller} calls {c.Callee}");
        Assert.Empty(found.Distinct());
    }

    private static bool MakesScalar(string method) =>
        method.StartsWith("Scalar.op_Implicit", StringComparison.Ordinal)
        || method.StartsWith("Scalar..ctor", StringComparison.Ordinal)
        || method.StartsWith("ScalarExtensionMethods.ToScalar", StringComparison.Ordinal);

    // Every call in an assembly; a place is the outermost type.
    private static IEnumerable<(string Place, string Caller, string Callee)> Calls(Assembly assembly)
    {
        using var file = new PEReader(File.OpenRead(assembly.Location));
        var reader = file.GetMetadataReader();
        foreach (var method in reader.MethodDefinitions.Select(reader.GetMethodDefinition).Where(m => m.RelativeVirtualAddress != 0))
        {
            var place = reader.GetTypeDefinition(method.GetDeclaringType());
            while (!place.GetDeclaringType().IsNil)
                place = reader.GetTypeDefinition(place.GetDeclaringType());
            foreach (var (kind, token) in MethodTokens.Read(file.GetMethodBody(method.RelativeVirtualAddress).GetILBytes()!))
            {
                if (kind == OperandType.InlineMethod && Name(reader, token) is { } callee)
                    yield return (reader.GetString(place.Name), Name(reader, method), callee);
            }
        }
    }

    private static string Name(MetadataReader reader, MethodDefinition method) =>
        Name(TypeName(reader, method.GetDeclaringType()), reader.GetString(method.Name), method.DecodeSignature(new TypeNames(), null));

    private static string? Name(MetadataReader reader, EntityHandle method)
    {
        if (method.Kind == HandleKind.MethodSpecification)
            method = reader.GetMethodSpecification((MethodSpecificationHandle)method).Method;
        if (method.Kind == HandleKind.MethodDefinition)
            return Name(reader, reader.GetMethodDefinition((MethodDefinitionHandle)method));
        var member = reader.GetMemberReference((MemberReferenceHandle)method);
        return Name(TypeName(reader, member.Parent), reader.GetString(member.Name), member.DecodeMethodSignature(new TypeNames(), null));
    }

    private static string Name(string type, string method, MethodSignature<string> signature) =>
        $"{type}.{method}({string.Join(',', signature.ParameterTypes)})";

    private static string TypeName(MetadataReader reader, EntityHandle type) =>
        type.Kind switch
        {
            HandleKind.TypeReference => reader.GetString(reader.GetTypeReference((TypeReferenceHandle)type).Name),
            HandleKind.TypeDefinition => reader.GetString(reader.GetTypeDefinition((TypeDefinitionHandle)type).Name),
            _ => "",
        };

    private sealed class TypeNames : ISignatureTypeProvider<string, object?>
    {
        public string GetArrayType(string elementType, ArrayShape shape) => elementType + "[,]";

        public string GetByReferenceType(string elementType) => elementType + "&";

        public string GetFunctionPointerType(MethodSignature<string> signature) => "*";

        public string GetGenericInstantiation(string genericType, ImmutableArray<string> typeArguments) =>
            $"{genericType}<{string.Join(';', typeArguments)}>";

        public string GetGenericMethodParameter(object? genericContext, int index) => $"!!{index}";

        public string GetGenericTypeParameter(object? genericContext, int index) => $"!{index}";

        public string GetModifiedType(string modifier, string unmodifiedType, bool isRequired) => unmodifiedType;

        public string GetPinnedType(string elementType) => elementType;

        public string GetPointerType(string elementType) => elementType + "*";

        public string GetPrimitiveType(PrimitiveTypeCode typeCode) => typeCode.ToString();

        public string GetSZArrayType(string elementType) => elementType + "[]";

        public string GetTypeFromDefinition(MetadataReader reader, TypeDefinitionHandle handle, byte rawTypeKind) =>
            TypeName(reader, handle);

        public string GetTypeFromReference(MetadataReader reader, TypeReferenceHandle handle, byte rawTypeKind) => TypeName(reader, handle);

        public string GetTypeFromSpecification(
            MetadataReader reader,
            object? genericContext,
            TypeSpecificationHandle handle,
            byte rawTypeKind
        ) => "";
    }
}

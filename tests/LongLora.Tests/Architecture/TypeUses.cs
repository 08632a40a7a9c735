using System.Collections.Immutable;
using System.Reflection;
using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;

namespace LongLora.Tests.Architecture;

/// <summary>One outermost type of an assembly that uses another one of the same assembly.</summary>
internal readonly record struct TypeUse(string UserNamespace, string User, string UsedNamespace, string Used);

/// <summary>
/// Reads from a compiled assembly which of its types use which others: as base types and interfaces, in constraints, fields, signatures,
/// attributes, local variables, catch clauses, and in the bodies of methods. Nested types, and with them what the compiler makes of
/// lambdas and iterators, count as the type that they lie in.
/// </summary>
internal sealed class TypeUses : ISignatureTypeProvider<ImmutableArray<TypeDefinitionHandle>, object?>
{
    private readonly PEReader _file;
    private readonly MetadataReader _reader;

    private TypeUses(PEReader file) => (_file, _reader) = (file, file.GetMetadataReader());

    /// <summary>All uses, each once.</summary>
    internal static IReadOnlyList<TypeUse> Read(Assembly assembly)
    {
        using var file = new PEReader(File.OpenRead(assembly.Location));
        var uses = new TypeUses(file);
        return
        [
            .. uses
                ._reader.TypeDefinitions.SelectMany(type => uses.UsedBy(type).Select(used => uses.Use(type, used)))
                .Where(use => (use.UserNamespace, use.User) != (use.UsedNamespace, use.Used))
                .Distinct(),
        ];
    }

    private TypeUse Use(TypeDefinitionHandle user, TypeDefinitionHandle used)
    {
        var (from, to) = (Outermost(user), Outermost(used));
        return new(
            _reader.GetString(from.Namespace),
            _reader.GetString(from.Name),
            _reader.GetString(to.Namespace),
            _reader.GetString(to.Name)
        );
    }

    private TypeDefinition Outermost(TypeDefinitionHandle handle)
    {
        var type = _reader.GetTypeDefinition(handle);
        return type.GetDeclaringType() is { IsNil: false } outer ? Outermost(outer) : type;
    }

    private IEnumerable<TypeDefinitionHandle> UsedBy(TypeDefinitionHandle handle)
    {
        var type = _reader.GetTypeDefinition(handle);
        var fields = type.GetFields().Select(_reader.GetFieldDefinition).ToList();
        return
        [
            .. TypesOf(type.BaseType),
            .. type.GetInterfaceImplementations().SelectMany(i => TypesOf(_reader.GetInterfaceImplementation(i).Interface)),
            .. Constraints(type.GetGenericParameters()),
            .. Attributes(type.GetCustomAttributes()),
            .. fields.SelectMany(f => f.DecodeSignature(this, null)),
            .. fields.SelectMany(f => Attributes(f.GetCustomAttributes())),
            .. type.GetProperties().SelectMany(p => Attributes(_reader.GetPropertyDefinition(p).GetCustomAttributes())),
            .. type.GetMethods().SelectMany(m => UsedBy(_reader.GetMethodDefinition(m))),
        ];
    }

    private IEnumerable<TypeDefinitionHandle> UsedBy(MethodDefinition method)
    {
        IEnumerable<TypeDefinitionHandle> used =
        [
            .. Types(method.DecodeSignature(this, null)),
            .. Constraints(method.GetGenericParameters()),
            .. Attributes(method.GetCustomAttributes()),
            .. method.GetParameters().SelectMany(p => Attributes(_reader.GetParameter(p).GetCustomAttributes())),
        ];
        if (method.RelativeVirtualAddress == 0)
            return used;
        var body = _file.GetMethodBody(method.RelativeVirtualAddress);
        return
        [
            .. used,
            .. body.LocalSignature.IsNil
                ? []
                : _reader.GetStandaloneSignature(body.LocalSignature).DecodeLocalSignature(this, null).SelectMany(t => t),
            .. body.ExceptionRegions.SelectMany(r => TypesOf(r.CatchType)),
            .. MethodTokens.Read(body.GetILBytes()!).SelectMany(t => TypesOf(t.Token)),
        ];
    }

    private IEnumerable<TypeDefinitionHandle> Constraints(GenericParameterHandleCollection parameters) =>
        parameters
            .SelectMany(p => _reader.GetGenericParameter(p).GetConstraints())
            .SelectMany(c => TypesOf(_reader.GetGenericParameterConstraint(c).Type));

    private IEnumerable<TypeDefinitionHandle> Attributes(CustomAttributeHandleCollection attributes) =>
        attributes.SelectMany(a => TypesOf(_reader.GetCustomAttribute(a).Constructor));

    // The types that a token stands for: a type itself, or the owner and the signature of a method or a field.
    private ImmutableArray<TypeDefinitionHandle> TypesOf(EntityHandle token)
    {
        if (token.IsNil)
            return [];
        switch (token.Kind)
        {
            case HandleKind.TypeDefinition:
                return [(TypeDefinitionHandle)token];
            case HandleKind.TypeSpecification:
                return _reader.GetTypeSpecification((TypeSpecificationHandle)token).DecodeSignature(this, null);
            case HandleKind.FieldDefinition:
                var field = _reader.GetFieldDefinition((FieldDefinitionHandle)token);
                return [field.GetDeclaringType(), .. field.DecodeSignature(this, null)];
            case HandleKind.MethodDefinition:
                var method = _reader.GetMethodDefinition((MethodDefinitionHandle)token);
                return [method.GetDeclaringType(), .. Types(method.DecodeSignature(this, null))];
            case HandleKind.MethodSpecification:
                var generic = _reader.GetMethodSpecification((MethodSpecificationHandle)token);
                return [.. TypesOf(generic.Method), .. generic.DecodeSignature(this, null).SelectMany(t => t)];
            case HandleKind.MemberReference:
                var member = _reader.GetMemberReference((MemberReferenceHandle)token);
                return
                [
                    .. TypesOf(member.Parent),
                    .. member.GetKind() == MemberReferenceKind.Field
                        ? member.DecodeFieldSignature(this, null)
                        : Types(member.DecodeMethodSignature(this, null)),
                ];
            default:
                return []; // a type of another assembly
        }
    }

    private static ImmutableArray<TypeDefinitionHandle> Types(MethodSignature<ImmutableArray<TypeDefinitionHandle>> signature) =>
        [.. signature.ReturnType, .. signature.ParameterTypes.SelectMany(t => t)];

    public ImmutableArray<TypeDefinitionHandle> GetArrayType(ImmutableArray<TypeDefinitionHandle> elementType, ArrayShape shape) =>
        elementType;

    public ImmutableArray<TypeDefinitionHandle> GetByReferenceType(ImmutableArray<TypeDefinitionHandle> elementType) => elementType;

    public ImmutableArray<TypeDefinitionHandle> GetFunctionPointerType(MethodSignature<ImmutableArray<TypeDefinitionHandle>> signature) =>
        [.. Types(signature)];

    public ImmutableArray<TypeDefinitionHandle> GetGenericInstantiation(
        ImmutableArray<TypeDefinitionHandle> genericType,
        ImmutableArray<ImmutableArray<TypeDefinitionHandle>> typeArguments
    ) => [.. genericType, .. typeArguments.SelectMany(t => t)];

    public ImmutableArray<TypeDefinitionHandle> GetGenericMethodParameter(object? genericContext, int index) => [];

    public ImmutableArray<TypeDefinitionHandle> GetGenericTypeParameter(object? genericContext, int index) => [];

    public ImmutableArray<TypeDefinitionHandle> GetModifiedType(
        ImmutableArray<TypeDefinitionHandle> modifier,
        ImmutableArray<TypeDefinitionHandle> unmodifiedType,
        bool isRequired
    ) => [.. modifier, .. unmodifiedType];

    public ImmutableArray<TypeDefinitionHandle> GetPinnedType(ImmutableArray<TypeDefinitionHandle> elementType) => elementType;

    public ImmutableArray<TypeDefinitionHandle> GetPointerType(ImmutableArray<TypeDefinitionHandle> elementType) => elementType;

    public ImmutableArray<TypeDefinitionHandle> GetPrimitiveType(PrimitiveTypeCode typeCode) => [];

    public ImmutableArray<TypeDefinitionHandle> GetSZArrayType(ImmutableArray<TypeDefinitionHandle> elementType) => elementType;

    public ImmutableArray<TypeDefinitionHandle> GetTypeFromDefinition(
        MetadataReader reader,
        TypeDefinitionHandle handle,
        byte rawTypeKind
    ) => [handle];

    public ImmutableArray<TypeDefinitionHandle> GetTypeFromReference(MetadataReader reader, TypeReferenceHandle handle, byte rawTypeKind) =>
        [];

    public ImmutableArray<TypeDefinitionHandle> GetTypeFromSpecification(
        MetadataReader reader,
        object? genericContext,
        TypeSpecificationHandle handle,
        byte rawTypeKind
    ) => reader.GetTypeSpecification(handle).DecodeSignature(this, genericContext);
}

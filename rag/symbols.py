"""Definitions in source code: where each function, method and class stands, and its qualified name.

Parses with tree-sitter, one small wheel per grammar, each loaded the first time its language is met. A grammar is one
entry of `GRAMMARS`. Knows nothing of chunks: `chunking` turns definitions into them. Source that does not parse still
yields whatever tree-sitter could recover, which is why nothing here can fail on bad code.
"""

import importlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from tree_sitter import Language, Node, Parser, Tree

# Deeper nesting than this is generated code or an attack; what lies below belongs to its enclosing definition.
MAX_DEPTH: Final = 150

DefinitionKind = Literal["function", "method", "class"]

# Fields that hold a definition's name, in the order tried: plain, C's declarators, object keys, class fields, `a.b = `.
_NAME_FIELDS: Final = ("name", "declarator", "key", "property", "left", "type")

# A name is for people and for the index; a computed key or a wild template may be a page long.
MAX_NAME_CHARS: Final = 120

# A signature is one line of an outline, and what the pieces of a large function repeat.
MAX_SIGNATURE_CHARS: Final = 200

# Decorators stand before a signature and are no part of it; other wrappers (`export`, `type`, `template`) are.
_DECORATED: Final = "decorated_definition"
_BODY: Final = "block"

_CPP_HEADER: Final = re.compile(r"^[ \t]*(?:class|namespace|template|using)\b", re.MULTILINE)


@dataclass(frozen=True)
class Grammar:
    """How one language marks its definitions, in tree-sitter's node types.

    `functions` and `classes` become chunks, and so do `implementations`, which lend methods to a type declared
    elsewhere; `scopes` (namespace, module) only qualify the names within. `bindings` are nodes such as
    `const f = () => ...`: definitions only when their value is one of `function_values`.
    """

    module: str
    loader: str = "language"
    functions: frozenset[str] = frozenset()
    classes: frozenset[str] = frozenset()
    implementations: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    bindings: frozenset[str] = frozenset()
    function_values: frozenset[str] = frozenset()
    wrappers: frozenset[str] = frozenset()  # nodes that enclose a definition and belong to it: decorators, export
    attached: frozenset[str] = frozenset({"comment"})  # siblings right before a definition that speak of it
    class_needs_body: bool = False  # `struct point p;` names a type without defining it


_ECMA_FUNCTIONS: Final = frozenset({"function_declaration", "generator_function_declaration", "method_definition"})
_ECMA_BINDINGS: Final = frozenset(
    {"variable_declarator", "pair", "field_definition", "public_field_definition", "assignment_expression"}
)
_ECMA_VALUES: Final = frozenset({"arrow_function", "function_expression", "generator_function"})
_ECMA_WRAPPERS: Final = frozenset(
    {"export_statement", "lexical_declaration", "variable_declaration", "expression_statement", "ambient_declaration"}
)
_ECMA_CLASSES: Final = frozenset({"class_declaration", "class"})
_TYPESCRIPT_CLASSES: Final = _ECMA_CLASSES | {
    "abstract_class_declaration",
    "interface_declaration",
    "enum_declaration",
    "type_alias_declaration",
}


def _typescript(loader: str) -> Grammar:
    return Grammar(
        module="tree_sitter_typescript",
        loader=loader,
        functions=_ECMA_FUNCTIONS,
        classes=_TYPESCRIPT_CLASSES,
        scopes=frozenset({"internal_module", "module"}),
        bindings=_ECMA_BINDINGS,
        function_values=_ECMA_VALUES,
        wrappers=_ECMA_WRAPPERS,
    )


GRAMMARS: Final[dict[str, Grammar]] = {
    "python": Grammar(
        module="tree_sitter_python",
        functions=frozenset({"function_definition"}),
        classes=frozenset({"class_definition"}),
        wrappers=frozenset({"decorated_definition"}),
    ),
    "javascript": Grammar(
        module="tree_sitter_javascript",
        functions=_ECMA_FUNCTIONS,
        classes=_ECMA_CLASSES,
        bindings=_ECMA_BINDINGS,
        function_values=_ECMA_VALUES,
        wrappers=_ECMA_WRAPPERS,
    ),
    "typescript": _typescript("language_typescript"),
    "tsx": _typescript("language_tsx"),
    "go": Grammar(
        module="tree_sitter_go",
        functions=frozenset({"function_declaration", "method_declaration"}),
        classes=frozenset({"type_spec", "type_alias"}),
        wrappers=frozenset({"type_declaration"}),
    ),
    "rust": Grammar(
        module="tree_sitter_rust",
        functions=frozenset({"function_item", "macro_definition"}),
        classes=frozenset({"struct_item", "enum_item", "union_item", "trait_item", "type_item"}),
        implementations=frozenset({"impl_item"}),
        scopes=frozenset({"mod_item"}),
        attached=frozenset({"line_comment", "block_comment", "attribute_item"}),
    ),
    "c": Grammar(
        module="tree_sitter_c",
        functions=frozenset({"function_definition"}),
        classes=frozenset({"struct_specifier", "union_specifier", "enum_specifier"}),
        wrappers=frozenset({"type_definition"}),
        class_needs_body=True,
    ),
    "cpp": Grammar(
        module="tree_sitter_cpp",
        functions=frozenset({"function_definition"}),
        classes=frozenset({"class_specifier", "struct_specifier", "union_specifier", "enum_specifier"}),
        scopes=frozenset({"namespace_definition"}),
        wrappers=frozenset({"template_declaration", "type_definition"}),
        class_needs_body=True,
    ),
    "bash": Grammar(module="tree_sitter_bash", functions=frozenset({"function_definition"})),
    "java": Grammar(
        module="tree_sitter_java",
        functions=frozenset({"method_declaration", "constructor_declaration", "compact_constructor_declaration"}),
        classes=frozenset(
            {
                "class_declaration",
                "interface_declaration",
                "enum_declaration",
                "record_declaration",
                "annotation_type_declaration",
            }
        ),
        attached=frozenset({"line_comment", "block_comment"}),
    ),
}


@dataclass(frozen=True)
class Definition:
    """One definition: 0-based inclusive rows with its decorators and leading comments, and its qualified name."""

    kind: DefinitionKind
    symbol: str
    first_row: int
    last_row: int
    signature: str  # on one line, without the body
    name_row: int
    name_span: tuple[int, int]  # bytes of the source, the end excluded; empty when it has no name


@dataclass(frozen=True)
class _Visit:
    """One node to look at: `outer` is the widest wrapper around it, `scope` the qualified name it stands in."""

    node: Node
    outer: Node
    scope: str
    in_class: bool
    depth: int
    row_above: int  # where the node around it begins
    siblings: list[Node]  # of `outer`, itself among them at `place`; to ask the parser for one costs as much as all
    place: int


def find_definitions(source: bytes, language: str, whole_rows: int) -> list[Definition]:
    """List the definitions of UTF-8 `source`, outer before inner; empty when `language` has no grammar.

    Spans nest or are disjoint, except where two definitions share a row. Functions of at most `whole_rows` rows are
    not searched for inner ones.
    """
    if language not in GRAMMARS:
        return []
    return definitions_of(parse(source, language), source, language, whole_rows)


def grammar_of(path: str, language: str, content: str) -> str | None:
    """Name the grammar for a file: nearly always its language's; None when there is none."""
    if path.lower().endswith(".tsx"):
        return "tsx"
    if language == "c" and path.endswith(".h") and _CPP_HEADER.search(content):
        return "cpp"
    return language if language in GRAMMARS else None


def parse(source: bytes, grammar: str) -> Tree:
    """Parse UTF-8 source by one of `GRAMMARS`; bad code gives a tree with errors in it."""
    return Parser(_load_language(grammar, GRAMMARS[grammar])).parse(source)


def definitions_of(tree: Tree, source: bytes, grammar: str, whole_rows: int) -> list[Definition]:
    """List the definitions of parsed `source`. See `find_definitions`."""
    return list(_walk(tree.root_node, source, GRAMMARS[grammar], whole_rows))


_languages: dict[str, Language] = {}
_languages_lock = threading.Lock()


def _load_language(name: str, grammar: Grammar) -> Language:
    with _languages_lock:
        if name not in _languages:
            module = importlib.import_module(grammar.module)
            _languages[name] = Language(getattr(module, grammar.loader)())
        return _languages[name]


def _walk(root: Node, source: bytes, grammar: Grammar, whole_rows: int) -> Iterator[Definition]:
    """Visit nodes in source order without recursion, so that no source can exhaust the Python stack."""
    stack = [_Visit(root, root, "", in_class=False, depth=0, row_above=0, siblings=[root], place=0)]
    while stack:
        visit = stack.pop()
        node, scope, in_class = visit.node, visit.scope, visit.in_class
        kind = _kind_of(node, grammar, in_class=in_class)
        if kind is not None:
            scope, in_class = _qualified(scope, node, visit.outer), kind == "class"
            first, last = _first_row(visit, grammar), max(_last_row(visit.outer), _last_row(node))
            named = _name_node(node) or node
            yield Definition(
                kind=kind,
                symbol=scope,
                first_row=first,
                last_row=last,
                signature=_signature(node, visit.outer, source),
                name_row=named.start_point[0],
                name_span=(named.start_byte, named.end_byte if named is not node else named.start_byte),
            )
            if kind != "class" and last - first < whole_rows:
                continue
        elif node.type in grammar.scopes:
            scope, in_class = _qualified(scope, node, visit.outer), False
        if _may_hold_definitions(visit, grammar) and visit.depth < MAX_DEPTH:
            stack.extend(reversed(_children(visit, grammar, scope, in_class=in_class)))


def _children(visit: _Visit, grammar: Grammar, scope: str, *, in_class: bool) -> list[_Visit]:
    children = visit.node.named_children
    wraps = visit.node.type in grammar.wrappers
    types = [child.type for child in children] if wraps else []
    row = visit.node.start_point[0]
    found = []
    for place, child in enumerate(children):
        # `const a = () => 1, b = () => 2` wraps two definitions and is the span of neither.
        is_wrapped = wraps and types.count(child.type) == 1
        found.append(
            _Visit(
                child,
                visit.outer if is_wrapped else child,
                scope,
                in_class=in_class,
                depth=visit.depth + 1,
                row_above=row,
                siblings=visit.siblings if is_wrapped else children,
                place=visit.place if is_wrapped else place,
            )
        )
    return found


def _may_hold_definitions(visit: _Visit, grammar: Grammar) -> bool:
    """Skip what stands on one row: nearly all nodes, and an inner definition there could not be a chunk of its own.

    But for Python's body of one row below its head, as in a protocol with one method. Nodes are not asked for their
    parent, which the parser looks for from the root on.
    """
    node = visit.node
    row = node.start_point[0]
    if visit.depth == 0 or row != node.end_point[0] or node.type in grammar.wrappers:
        return True
    return node.type == _BODY and row != visit.row_above


def _kind_of(node: Node, grammar: Grammar, *, in_class: bool) -> DefinitionKind | None:
    if _is_exported_class(node, grammar):
        return "class"
    if node.type in grammar.functions or _is_function_binding(node, grammar):
        is_method = in_class or node.child_by_field_name("receiver") is not None or _is_out_of_class(node)
        return "method" if is_method else "function"
    if node.type in grammar.implementations:
        return "class"
    if node.type in grammar.classes and node.start_point[0] != node.end_point[0]:
        has_body = not grammar.class_needs_body or node.child_by_field_name("body") is not None
        return "class" if has_body else None
    return None


def _is_function_binding(node: Node, grammar: Grammar) -> bool:
    if node.type not in grammar.bindings:
        return False
    value = node.child_by_field_name("value") or node.child_by_field_name("right")
    return value is not None and value.type in grammar.function_values


def _is_exported_class(node: Node, grammar: Grammar) -> bool:
    """Recognise `class API Socket {...}`, which the grammars of C and C++, knowing no macro, take for a function."""
    given, declared = node.child_by_field_name("type"), node.child_by_field_name("declarator")
    is_function = node.type in grammar.functions and given is not None and given.type in grammar.classes
    return is_function and declared is not None and declared.type == "identifier"


def _is_out_of_class(node: Node) -> bool:
    """Recognise C++'s `void Socket::close() {...}`, a method defined outside its class."""
    return _declared(node).type == "qualified_identifier"


def _declared(node: Node) -> Node:
    """Follow C's declarators, `static int *f(int)` -> `*f(int)` -> `f(int)` -> `f`, to what they declare."""
    while (inner := node.child_by_field_name("declarator")) is not None:
        node = inner
    return node


def _qualified(scope: str, node: Node, outer: Node) -> str:
    name = _name_of(node) or (_name_of(outer) if outer.type == "type_definition" else "")
    receiver = node.child_by_field_name("receiver")
    if receiver is not None:
        name = f"{_receiver_type(receiver)}.{name}"
    return ".".join(part for part in (scope, name) if part)


def _name_of(node: Node) -> str:
    named = _name_node(node)
    return _clean_name(named) if named is not None else ""


def _name_node(node: Node) -> Node | None:
    for field in _NAME_FIELDS:
        found = node.child_by_field_name(field)
        if found is not None:
            return _declared(found)
    return None


def _signature(node: Node, outer: Node, source: bytes) -> str:
    """Write what stands before the body on one line; of what has no body, the first line."""
    value = node.child_by_field_name("value") or node.child_by_field_name("right") or node
    body = value.child_by_field_name("body")
    start = node.start_byte if outer.type == _DECORATED else outer.start_byte
    end = body.start_byte if body is not None else outer.end_byte
    text = source[start : min(end, start + 4 * MAX_SIGNATURE_CHARS)].decode("utf-8", "replace")
    if body is None:
        text = text.split("\n")[0]
    return " ".join(text.split())[:MAX_SIGNATURE_CHARS].rstrip(" {:")


def _clean_name(node: Node) -> str:
    """Write a name the same way in every language: dots between its parts, no quotes, no type arguments."""
    bare = node.child_by_field_name("type") or node  # `impl<T> Stack<T>`: the type without its arguments
    text = (bare.text or b"").decode("utf-8", "replace")
    return "".join(text.replace("::", ".").strip("'\"`#[] ").split())[:MAX_NAME_CHARS]


def _receiver_type(receiver: Node) -> str:
    """Read `Stack` out of Go's `(s *Stack[T])`."""
    text = (receiver.text or b"").decode("utf-8", "replace").strip("() ")
    return text.split("[")[0].split()[-1].lstrip("*") if text else ""


def _first_row(visit: _Visit, grammar: Grammar) -> int:
    """Start at the comments and attributes that stand right above a definition, each on rows of its own."""
    first = visit.outer.start_point[0]
    for place in range(visit.place - 1, -1, -1):
        above = visit.siblings[place]
        if above.type not in grammar.attached or _last_row(above) < first - 1:
            break
        if place and _last_row(visit.siblings[place - 1]) >= above.start_point[0]:
            break
        first = above.start_point[0]
    return first


def _last_row(node: Node) -> int:
    row, column = node.end_point
    return row - 1 if column == 0 and row > node.start_point[0] else row

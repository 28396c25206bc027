"""The protocol: documents in, diagnostics, hover, completion, formatting and quick fixes out."""

from __future__ import annotations

from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer
from pygls.uris import to_fs_path
from pygls.workspace import TextDocument

from ..cortex_dsl import CortexSyntaxError, Diagnostic, Source, Span, check, format_text
from .complete import complete
from .hover import hover

KINDS = {
    "token": lsp.CompletionItemKind.Class,
    "core": lsp.CompletionItemKind.Module,
    "scaffold": lsp.CompletionItemKind.Function,
    "option": lsp.CompletionItemKind.Property,
    "value": lsp.CompletionItemKind.Value,
    "keyword": lsp.CompletionItemKind.Keyword,
    "type": lsp.CompletionItemKind.Struct,
    "recipe": lsp.CompletionItemKind.Snippet,
}
SEVERITY = {"error": lsp.DiagnosticSeverity.Error, "warning": lsp.DiagnosticSeverity.Warning}


def make_server() -> LanguageServer:
    """A server with every feature registered."""
    from ..compiler import version

    server = LanguageServer("cortexc", version(), text_document_sync_kind=lsp.TextDocumentSyncKind.Full)

    def publish(uri: str) -> None:
        document = server.workspace.get_text_document(uri)
        found = [_diagnostic(document, d) for d in findings(document)]
        server.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(uri, found, document.version))

    @server.feature(lsp.TEXT_DOCUMENT_DID_OPEN)
    def _opened(params: lsp.DidOpenTextDocumentParams) -> None:
        publish(params.text_document.uri)

    @server.feature(lsp.TEXT_DOCUMENT_DID_CHANGE)
    def _changed(params: lsp.DidChangeTextDocumentParams) -> None:
        publish(params.text_document.uri)

    @server.feature(lsp.TEXT_DOCUMENT_DID_CLOSE)
    def _closed(params: lsp.DidCloseTextDocumentParams) -> None:
        server.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(params.text_document.uri, []))

    @server.feature(lsp.TEXT_DOCUMENT_HOVER)
    def _hover(params: lsp.HoverParams) -> lsp.Hover | None:
        document = server.workspace.get_text_document(params.text_document.uri)
        found = hover(document.source, document.offset_at_position(params.position), source=_name(document))
        if found is None:
            return None
        text, span = found
        return lsp.Hover(lsp.MarkupContent(lsp.MarkupKind.Markdown, text), _range(document, span.start, span.end))

    @server.feature(lsp.TEXT_DOCUMENT_COMPLETION, lsp.CompletionOptions(["@", "(", "{", "=", ".", ":", " "]))
    def _complete(params: lsp.CompletionParams) -> lsp.CompletionList:
        document = server.workspace.get_text_document(params.text_document.uri)
        offset = document.offset_at_position(params.position)
        items = complete(document.source, offset, source=_name(document))
        made = [lsp.CompletionItem(label=i.text, kind=KINDS[i.kind], detail=i.about or None) for i in items]
        return lsp.CompletionList(is_incomplete=False, items=made)

    @server.feature(lsp.TEXT_DOCUMENT_FORMATTING)
    def _format(params: lsp.DocumentFormattingParams) -> list[lsp.TextEdit] | None:
        document = server.workspace.get_text_document(params.text_document.uri)
        try:
            canonical = format_text(document.source, source=_name(document))
        except CortexSyntaxError:
            return None  # the diagnostics say why
        if canonical == document.source:
            return []
        return [lsp.TextEdit(_range(document, 0, len(document.source)), canonical)]

    @server.feature(lsp.TEXT_DOCUMENT_CODE_ACTION, lsp.CodeActionOptions([lsp.CodeActionKind.QuickFix]))
    def _fixes(params: lsp.CodeActionParams) -> list[lsp.CodeAction]:
        document = server.workspace.get_text_document(params.text_document.uri)
        actions = []
        for found in findings(document):
            shown = _diagnostic(document, found)
            if found.fix is not None and _touches(shown.range, params.range):
                span = found.fix.span
                edit = lsp.TextEdit(_range(document, span.start, span.end), found.fix.replacement)
                title = found.help or f"replace by `{found.fix.replacement}`"
                changes = lsp.WorkspaceEdit(changes={document.uri: [edit]})
                kind = lsp.CodeActionKind.QuickFix
                actions.append(lsp.CodeAction(title, kind, [shown], edit=changes, is_preferred=True))
        return actions

    return server


def findings(document: TextDocument) -> list[Diagnostic]:
    """The complaints about a document. A file of definitions alone is right: another file includes it."""
    found = check(document.source, source=_name(document))
    return found if any(d.code != "E100" for d in found) or not document.source.strip() else []


def _name(document: TextDocument) -> str:
    return to_fs_path(document.uri) or "<pattern>"


def _diagnostic(document: TextDocument, found: Diagnostic) -> lsp.Diagnostic:
    own = found.span is not None and found.span.source.name == _name(document)
    where = _range(document, found.span.start, found.span.end) if own and found.span else _range(document, 0, 0)
    text = "\n".join([found.message, *found.notes, *([f"help: {found.help}"] if found.help else [])])
    return lsp.Diagnostic(where, text, SEVERITY[found.severity], found.code, source="cortexc")


def _range(document: TextDocument, start: int, end: int) -> lsp.Range:
    return lsp.Range(_position(document, start), _position(document, end))


def _position(document: TextDocument, offset: int) -> lsp.Position:
    """The protocol counts UTF-16 units (or what was agreed on); spans count characters."""
    source = Source(_name(document), document.source)
    at = min(offset, len(document.source))
    span = Span(source, at, at)
    position = lsp.Position(span.line - 1, span.column - 1)
    return document.position_codec.position_to_client_units(document.lines or [""], position)


def _touches(a: lsp.Range, b: lsp.Range) -> bool:
    def key(p: lsp.Position) -> tuple[int, int]:
        return p.line, p.character

    return key(a.start) <= key(b.end) and key(b.start) <= key(a.end)


def serve() -> None:
    """Serve standard input and output until the editor leaves."""
    make_server().start_io()

"""`cortexc lsp`: the language server, for editors."""

from .output import UserError


def lsp() -> None:
    """Serve an editor over standard input and output: errors, hover, completion, formatting."""
    try:
        from ..lsp.server import serve
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("pygls", "lsprotocol"):
            raise
        raise UserError("the language server needs pygls", "install it with `pip install 'cortexc[lsp]'`") from error
    serve()
